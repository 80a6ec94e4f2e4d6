import BllarseNumerics

/// The data of a run: features, whether they were stored or come from a backbone.
struct RunData {
  let dataset: FeatureDataset
  /// Which of its splits is which.
  let roles: SplitRoles
  /// The backbone; `nil` when the data are features.
  let backbone: ResidualMLP?
  let loadSeconds: Double
  let featureSeconds: Double
  /// What the user should know about the rows that are taken.
  let notes: [String]
  /// Training rows that are new in every epoch, where images are augmented.
  let augmentedTraining: AugmentedTraining?

  /// Loads what a configuration names.
  ///
  /// - Parameters:
  ///   - configuration: names a feature file, or a data set and perhaps a backbone.
  ///   - classCount: the number of classes, when it is known otherwise (from a checkpoint).
  ///   - fits: whether a head is fitted, for which there must be rows to fit and to test on; a stored
  ///     head is scored on whatever splits there are.
  ///   - parallelism: the threads to work with.
  /// - Throws: `DataError`.
  init(
    _ configuration: RunConfiguration, classCount: Int? = nil, fits: Bool = true,
    parallelism: Parallelism
  ) throws(DataError) {
    let watch = Stopwatch()
    if let path = configuration.data.featuresPath {
      // Which splits there must be is known before anything large is read.
      let file = try FeatureFile(path: path)
      let required: [String]
      if fits {
        roles = try SplitRoles(of: file.splitNames, configuration, file: path)
        required = [SplitRoles.training, roles.test] + (roles.validation.map { [$0] } ?? [])
      } else {
        roles = SplitRoles(scoring: file.splitNames)
        required = []
      }
      let whole = try file.dataset(
        requiring: required, classCount: classCount,
        with: fits ? configuration.rowArrays : RowArrays(), parallelism: parallelism)
      let limitNotes = configuration.limitNotes(
        rowCounts: Dictionary(
          uniqueKeysWithValues: whole.splitNames.map { ($0, whole[$0]?.rowCount ?? 0) }), roles)
      let roles = roles
      dataset = try whole.limited { (name, split) throws(DataError) in
        try configuration.subset(of: name, split.labels, roles, file: path)
      }
      try dataset.checkRowsThatCount()
      notes =
        limitNotes + (dataset[SplitRoles.training]?.weightNotes ?? [])
        + (fits ? dataset.unseenClassNote.map { [$0] } ?? [] : [])
      backbone = nil
      augmentedTraining = nil
      loadSeconds = watch.elapsed
      featureSeconds = 0
      return
    }
    let whole = try ImageDatasets.load(configuration.data.dataset, configuration)
    roles = try SplitRoles(of: whole.splits.map(\.name), configuration)
    let limitNotes = configuration.limitNotes(
      rowCounts: Dictionary(
        uniqueKeysWithValues: whole.splits.map { ($0.name, $0.split.labels.count) }), roles)
    let images = try whole.limited(to: configuration, roles)
    let backbone = try ImageDatasets.backbone(of: configuration.data.dataset, images, configuration)
    loadSeconds = watch.elapsed
    let featureWatch = Stopwatch()
    dataset = try images.features(through: backbone, parallelism: parallelism)
    notes = limitNotes + (fits ? dataset.unseenClassNote.map { [$0] } ?? [] : [])
    augmentedTraining =
      if let augmentation = ImageDatasets.augmentation(of: configuration.data.dataset),
        configuration.data.augments, configuration.method.has(.takesFreshRows),
        let train = images["train"]
      {
        AugmentedTraining(
          images: train, normalization: images.normalization, backbone: backbone,
          augmentation: augmentation, seed: configuration.seed, parallelism: parallelism)
      } else {
        nil
      }
    self.backbone = backbone
    featureSeconds = featureWatch.elapsed
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
    guard found == classCount else {
      throw DataError(
        .wrongShape, file: path, key: "fc",
        found: found.map { "the classifier has \($0) classes" }
          ?? "the backbone has no classifier",
        expected: "one of \(classCount) classes, for the head to start from",
        advice: "give --reinitialize, for a head that starts from zero")
    }
  }
}

/// Training images that are changed at random in every epoch, and the backbone that sees them.
struct AugmentedTraining {
  let images: ImageSplit
  let normalization: ChannelNormalization?
  let backbone: ResidualMLP
  let augmentation: Augmentation
  let seed: UInt64
  let parallelism: Parallelism

  /// The rows of an epoch, counted from 1; they depend on seed and epoch only.
  ///
  /// - Throws: `DataError` when a feature is not finite.
  func rows(epoch: Int) throws(DataError) -> FeatureSplit {
    let features = try backbone.features(
      of: images.images, normalization: normalization,
      augmentation: EpochAugmentation(augmentation, seed: seed, epoch: epoch - 1),
      parallelism: parallelism)
    return try FeatureSplit(
      features: FeatureMatrix(features), labels: images.labels, name: "train")
  }
}

/// The image data sets that have names.
public enum ImageDatasets {
  /// Their names.
  public static let names = ["digits"] + CIFARDataset.allCases.map(\.rawValue)

  /// Whether the files of a data set, and its backbone, ship with the package.
  public static func isBuiltIn(_ name: String) -> Bool { name == "digits" }

  /// What may happen to a training image: crops and mirror images for photographs, nothing for digits,
  /// which fill their frames and have no mirror image.
  public static func augmentation(of name: String) -> Augmentation? {
    CIFARDataset(rawValue: name) == nil ? nil : .naturalImages
  }

  static func load(
    _ name: String, _ configuration: RunConfiguration
  ) throws(DataError) -> ImageDataset {
    if name == "digits" {
      return try DigitsDataset.images(resources: configuration.data.resourcesPath)
    }
    let (dataset, directory) = try files(of: name, configuration)
    return try dataset.load(from: directory)
  }

  /// The sizes of a data set.
  ///
  /// - Throws: `DataError`: its files are missing or damaged.
  static func header(
    _ name: String, _ configuration: RunConfiguration
  ) throws(DataError) -> ImageHeader {
    if name == "digits" {
      let images = try DigitsDataset.images(resources: configuration.data.resourcesPath)
      let splits = images.splits.map { (name: $0.name, rowCount: $0.split.labels.count) }
      return ImageHeader(
        splits: splits, channels: 1, classCount: images.classNames.count,
        byteCount: splits.reduce(0) { $0 + $1.rowCount } * 64)
    }
    let (dataset, directory) = try files(of: name, configuration)
    return try dataset.header(in: directory)
  }

  private static func files(
    of name: String, _ configuration: RunConfiguration
  ) throws(DataError) -> (dataset: CIFARDataset, directory: String) {
    guard let dataset = CIFARDataset(rawValue: name) else { throw unknown(name) }
    guard let directory = configuration.data.directory else {
      throw DataError(
        .missingFile, found: "the data set \(name) does not ship with the package",
        advice: "name the directory of its files with --data-dir DIR")
    }
    return (dataset, directory)
  }

  /// The backbone that a configuration asks for, of the size that it asks for.
  static func backbone(
    of name: String, _ images: ImageDataset, _ configuration: RunConfiguration
  ) throws(DataError) -> ResidualMLP {
    if let named = configuration.data.namedBackbone {
      guard named.pretraining == .random else { return try named.load() }
      return ResidualMLP(
        random: named.randomConfiguration(
          channels: images.splits.first?.split.images.channels ?? 3),
        seed: configuration.seed, name: "\(named.name), seed \(configuration.seed)")
    }
    let backbone = try ResidualMLP(path: try backbonePath(of: name, configuration))
    try backbone.require(
      embeddingSize: configuration.data.embeddingSize, blockCount: configuration.data.blockCount)
    return backbone
  }

  /// The sizes of the backbone that a configuration asks for.
  ///
  /// - Throws: `DataError`: its file is missing, damaged, or of another size.
  static func backboneHeader(
    of name: String, _ images: ImageHeader, _ configuration: RunConfiguration
  ) throws(DataError) -> FileHeaders.Backbone {
    if let named = configuration.data.namedBackbone {
      guard named.pretraining != .random else {
        return FileHeaders.Backbone(
          path: named.name, configuration: named.randomConfiguration(channels: images.channels),
          classCount: nil)
      }
      let header = try named.header()
      return FileHeaders.Backbone(
        path: header.file.path, configuration: header.configuration, classCount: header.classCount)
    }
    let path = try backbonePath(of: name, configuration)
    let header = try BackboneHeader(path: path)
    try header.configuration.require(
      embeddingSize: configuration.data.embeddingSize, blockCount: configuration.data.blockCount,
      imageSize: nil, of: path)
    return FileHeaders.Backbone(
      path: path, configuration: header.configuration, classCount: header.classCount)
  }

  /// The file of the backbone that a configuration names, or of the data set's own.
  private static func backbonePath(
    of name: String, _ configuration: RunConfiguration
  ) throws(DataError) -> String {
    if let path = configuration.data.backbonePath { return path }
    if name == "digits" {
      return try DigitsDataset.backbonePath(resources: configuration.data.resourcesPath)
    }
    throw DataError(
      .missingFile, found: "the data set \(name) has no backbone of its own",
      advice: "give one with --backbone FILE, or --pretrained and --model-dir DIR")
  }

  private static func unknown(_ name: String) -> DataError {
    DataError(
      .missingKey, found: "there is no data set '\(name)'",
      expected: names.joined(separator: ", "), advice: "or give features with --features FILE")
  }
}

/// The backbone's own classifier: what predicts before a head is fitted.
struct Baseline {
  /// The classifier as a linear head over the backbone's features.
  let head: any LogitHead

  /// The classifier of a backbone; `nil` when there is none, or one of another number of classes.
  ///
  /// - Parameters:
  ///   - backbone: what made the features.
  ///   - classCount: the classes of the data.
  ///   - parallelism: the threads to work with.
  init?(_ backbone: ResidualMLP, classCount: Int, parallelism: Parallelism) {
    guard var head = backbone.classifier(classCount: classCount) else { return nil }
    head.parallelism = parallelism.cancelled(by: nil)
    self.head = head
  }

  /// The logits that the classifier gives to the rows of a split, rows x classes.
  ///
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  func logits(_ split: FeatureSplit) throws(NumericsError) -> Matrix<Float> {
    try head.logits(split.features)
  }
}

extension RunData {
  /// The classifier of the data's backbone, if it has one of these classes.
  func baseline(parallelism: Parallelism) -> Baseline? {
    backbone.flatMap {
      Baseline($0, classCount: dataset.classCount, parallelism: parallelism)
    }
  }

  /// The same, for a run that has nothing else to score.
  ///
  /// - Throws: `DataError` when there is none, which says why.
  func requiredBaseline(parallelism: Parallelism) throws(DataError) -> Baseline {
    if let baseline = baseline(parallelism: parallelism) { return baseline }
    throw Self.missingBaseline(
      of: backbone?.path ?? dataset.file, backbone?.classifierWeights?.columnCount,
      isBackbone: backbone != nil, classCount: dataset.classCount)
  }

  /// There is nothing to score without a head.
  ///
  /// - Parameters:
  ///   - path: the backbone, or the stored features.
  ///   - found: the classes of the backbone's classifier, where it has one.
  ///   - isBackbone: whether there is a backbone at all.
  ///   - classCount: the classes of the data.
  /// - Returns: the error.
  static func missingBaseline(
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

extension FineTuning {
  /// What a run of no epochs gives: the scores of the pretrained classifier.
  func scoreBaseline(
    _ data: RunData, parallelism: Parallelism, clock: Stopwatch
  ) throws -> (result: RunResult, head: any Head) {
    let head = try data.requiredBaseline(parallelism: parallelism).head
    var seconds = RunSeconds()
    (seconds.load, seconds.features) = (data.loadSeconds, data.featureSeconds)
    let outside = try OutOfDistributionRows.features(
      of: configuration, featureCount: head.featureCount)
    let watch = Stopwatch()
    let scores = try SplitEvaluations(head, on: data.dataset, data.roles, configuration)
    var metrics = try RunMetrics(
      head, on: data.dataset, data.roles, configuration, parallelism: parallelism)
    if let outside {
      try metrics.detect(outside, head, among: try data.dataset.split(data.roles.test))
    }
    seconds.evaluate = watch.elapsed
    seconds.total = clock.elapsed
    return (
      RunResult(
        train: scores.train, test: scores.test, splits: scores.scores, roles: data.roles,
        baseline: scores.scores, hasHead: false, seconds: seconds, threads: parallelism.threadCount,
        iterations: 0, metrics: metrics,
        arguments: Dictionary(
          uniqueKeysWithValues: configuration.arguments.map { ($0.name, $0.value) }),
        versions: Versions.current),
      head
    )
  }
}
