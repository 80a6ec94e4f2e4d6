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
    if let path = configuration.featuresPath {
      guard configuration.epochs > 0 || !fits else {
        throw DataError(
          .wrongShape, file: path,
          found: "--epochs 0 scores the pretrained classifier, and stored features have none",
          expected: "images and a backbone with a classifier", advice: "give --epochs 1 or more")
      }
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
        requiring: required, classCount: classCount, parallelism: parallelism)
      notes = configuration.limitNotes(
        rowCounts: Dictionary(
          uniqueKeysWithValues: whole.splitNames.map { ($0, whole[$0]?.rowCount ?? 0) }), roles)
      let roles = roles
      dataset = try whole.limited { (name, split) throws(DataError) in
        try configuration.subset(of: name, split.labels, roles, file: path)
      }
      backbone = nil
      augmentedTraining = nil
      loadSeconds = watch.elapsed
      featureSeconds = 0
      return
    }
    let whole = try ImageDatasets.load(configuration.dataset, configuration)
    roles = try SplitRoles(of: whole.splits.map(\.name), configuration)
    notes = configuration.limitNotes(
      rowCounts: Dictionary(
        uniqueKeysWithValues: whole.splits.map { ($0.name, $0.split.labels.count) }), roles)
    let images = try whole.limited(to: configuration, roles)
    let backbone = try ImageDatasets.backbone(of: configuration.dataset, images, configuration)
    loadSeconds = watch.elapsed
    let featureWatch = Stopwatch()
    dataset = try images.features(through: backbone, parallelism: parallelism)
    augmentedTraining =
      if let augmentation = ImageDatasets.augmentation(of: configuration.dataset),
        configuration.augments, configuration.takesFreshRows, let train = images["train"]
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
      of: names, test: configuration.testSplit, validation: configuration.validationSplit,
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
    guard let weights, weights.columnCount == dataset.classCount else {
      throw DataError(
        .wrongShape, file: backbone.path, key: "fc",
        found: weights.map { "the classifier has \($0.columnCount) classes" }
          ?? "the backbone has no classifier",
        expected: "one of \(dataset.classCount) classes, for the head to start from",
        advice: "give --reinitialize, for a head that starts from zero")
    }
    return weights
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
      return try DigitsDataset.images(resources: configuration.resourcesPath)
    }
    guard let dataset = CIFARDataset(rawValue: name) else { throw unknown(name) }
    guard let directory = configuration.dataDirectory else {
      throw DataError(
        .missingFile, found: "the data set \(name) does not ship with the package",
        advice: "name the directory of its files with --data-dir DIR")
    }
    return try dataset.load(from: directory)
  }

  /// The backbone that a configuration asks for, of the size that it asks for.
  static func backbone(
    of name: String, _ images: ImageDataset, _ configuration: RunConfiguration
  ) throws(DataError) -> ResidualMLP {
    if let named = configuration.namedBackbone {
      guard named.pretraining == .random else { return try named.load() }
      return ResidualMLP(
        random: ResidualMLP.Configuration(
          channels: images.splits.first?.split.images.channels ?? 3,
          imageSize: NamedBackbone.imageSize, embeddingSize: named.embeddingSize,
          blockCount: named.blockCount, hiddenSize: 4 * named.embeddingSize,
          layerNormEpsilon: 1e-5, normalization: nil),
        seed: configuration.seed, name: "\(named.name), seed \(configuration.seed)")
    }
    let backbone =
      if let path = configuration.backbonePath {
        try ResidualMLP(path: path)
      } else {
        try defaultBackbone(of: name, configuration)
      }
    try backbone.require(
      embeddingSize: configuration.embeddingSize, blockCount: configuration.blockCount)
    return backbone
  }

  private static func defaultBackbone(
    of name: String, _ configuration: RunConfiguration
  ) throws(DataError) -> ResidualMLP {
    if name == "digits" {
      return try DigitsDataset.backbone(resources: configuration.resourcesPath)
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
