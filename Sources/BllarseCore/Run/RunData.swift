import BllarseNumerics

/// The data of a run: features, whether they were stored or come from a backbone.
struct RunData {
  let dataset: FeatureDataset
  /// Which of its splits is which.
  let roles: SplitRoles
  /// The backbone; `nil` when the data are features.
  private(set) var backbone: ResidualMLP?
  /// What loading took, and the backbone.
  private(set) var seconds = RunSeconds()
  /// What the user should know about the rows that are taken.
  let notes: [String]
  /// Where images are augmented, the training rows of an epoch, counted from 1: they depend on seed and epoch
  /// only.
  private(set) var augmentedRows: ((_ epoch: Int) throws -> FeatureSplit)?

  /// Loads what a configuration names: a feature file, or a data set and perhaps a backbone.
  ///
  /// Where a head is fitted, there must be rows to fit and to test on; a stored one, whose checkpoint tells what
  /// it predicts and the number of classes, is scored on whatever splits there are.
  init(
    _ configuration: RunConfiguration, stored: (task: LearningTask, outputCount: Int)? = nil,
    execution: Execution
  ) throws(DataError) {
    let fits = stored == nil
    let watch = Stopwatch()
    let limitNotes: [String]
    if let path = configuration.data.featuresPath {
      // Which splits there must be is known before anything large is read.
      let file = try FeatureFile(path: path)
      let roles =
        fits
        ? try SplitRoles(of: file.splitNames, configuration, file: path)
        : SplitRoles(scoring: file.splitNames)
      let whole = try file.dataset(
        requiring: fits ? roles.required : [], classCount: stored?.outputCount,
        targets: configuration.targetArrays(of: stored?.task ?? configuration.task),
        with: fits ? configuration.rowArrays : RowArrays(), execution: execution)
      let taken = try configuration.subsets(
        whole.splitNames.compactMap { name in whole[name].map { (name, $0.targets) } }, roles,
        file: path)
      (dataset, limitNotes) = (whole.limited(to: taken.rows), taken.notes)
      try dataset.checkRowsThatCount()
      self.roles = roles
      seconds.load = watch.elapsed
    } else {
      let whole = try configuration.data.images()
      roles = try SplitRoles(of: whole.splits.map(\.name), configuration)
      let taken = try configuration.subsets(
        whole.splits.map { ($0.name, .classes($0.split.labels)) }, roles, file: nil)
      limitNotes = taken.notes
      let images = whole.limited(to: taken.rows)
      let backbone = try configuration.data.backbone(of: images, seed: configuration.seed)
      seconds.load = watch.elapsed
      let featureWatch = Stopwatch()
      dataset = try images.features(through: backbone, execution: execution)
      if let augmentation = ImageDatasets.augmentation(of: configuration.data.dataset),
        configuration.data.augments, configuration.method.has(.takesFreshRows),
        let train = images["train"]
      {
        augmentedRows = { epoch in
          let features = try backbone.features(
            of: train.images, normalization: images.normalization,
            augmentation: EpochAugmentation(
              augmentation: augmentation, seed: configuration.seed, epoch: epoch - 1),
            execution: execution)
          return try FeatureSplit(
            features: FeatureMatrix(features), labels: train.labels, name: SplitRoles.training)
        }
      }
      self.backbone = backbone
      seconds.features = featureWatch.elapsed
    }
    let others = [
      dataset[SplitRoles.training]?.weightNote, fits ? dataset.unseenClassNote : nil,
      fits ? dataset.constantLabelNote : nil,
      dataset.distributionNote,
    ]
    notes = limitNotes + others.compactMap { $0 }
  }
}

extension SplitRoles {
  /// The parts that a configuration gives to splits.
  ///
  /// - Throws: as ``init(of:test:validation:file:)``.
  init(
    of names: [String], _ configuration: RunConfiguration, file: String? = nil
  ) throws(DataError) {
    try self.init(
      of: names, test: configuration.data.testSplit, validation: configuration.data.validationSplit,
      file: file)
  }

  /// The splits that a fit cannot do without.
  var required: [String] { [Self.training, test] + (validation.map { [$0] } ?? []) }
}

extension RunData {
  /// Where the head starts: from the backbone's classifier, or `nil` for zero weights.
  ///
  /// - Throws: `DataError` when the backbone has no classifier of these classes.
  func initialWeights(_ configuration: RunConfiguration) throws(DataError) -> Matrix<Float>? {
    guard configuration.startsFromClassifier, let backbone else { return nil }
    let weights = backbone.classifierWeights
    try Self.requireClassifier(
      weights?.columnCount, classCount: dataset.classCount, of: backbone.path)
    return weights
  }

  /// Refuses a backbone whose classifier, if it has one, is of other classes than the data.
  static func requireClassifier(
    _ found: Int?, classCount: Int, of path: String
  ) throws(DataError) {
    try DataError.require(
      found == classCount, .wrongShape, file: path, key: "fc",
      found: found.map { "the classifier has \($0) classes" } ?? "the backbone has no classifier",
      expected: "one of \(classCount) classes, for the head to start from",
      advice: "give --reinitialize, for a head that starts from zero")
  }

  /// There is nothing to score without a head: the backbone, if there is one, has no classifier, or one of
  /// `found` classes.
  static func missingClassifier(
    of path: String?, _ found: Int?, isBackbone: Bool, classCount: Int
  ) -> DataError {
    DataError(
      .wrongShape, file: path, key: isBackbone ? "fc" : nil,
      found: "--epochs 0 scores the pretrained classifier, and "
        + (found.map { "it has \($0) classes" }
          ?? (isBackbone ? "the backbone has none" : "stored features have none")),
      expected: isBackbone
        ? "a classifier of \(classCount) classes" : "images and a backbone with a classifier",
      advice: isBackbone
        ? "give --epochs 1 or more, or a backbone that was trained on these classes"
        : "give --epochs 1 or more")
  }
}
