import BllarseNumerics

/// The data of a run: features, whether they were stored or come from a backbone.
struct RunData {
  let dataset: FeatureDataset
  /// The backbone's file; empty when the data are features.
  let backbonePath: String
  let loadSeconds: Double
  let featureSeconds: Double

  /// Loads what a configuration names.
  ///
  /// - Parameters:
  ///   - configuration: names a feature file, or a data set and perhaps a backbone.
  ///   - classCount: the number of classes, when it is known otherwise (from a checkpoint).
  ///   - splits: the splits that must be there.
  ///   - parallelism: the threads to work with.
  /// - Throws: `DataError`.
  init(
    _ configuration: RunConfiguration, classCount: Int? = nil,
    requiring splits: [String] = ["train", "test"], parallelism: Parallelism
  ) throws(DataError) {
    let watch = Stopwatch()
    if let path = configuration.featuresPath {
      dataset = try FeatureFile(path: path).dataset(
        requiring: splits, classCount: classCount, parallelism: parallelism)
      backbonePath = ""
      loadSeconds = watch.elapsed
      featureSeconds = 0
      return
    }
    let images = try ImageDatasets.load(configuration.dataset, configuration)
    let backbone =
      if let path = configuration.backbonePath {
        try ResidualMLP(path: path)
      } else {
        try ImageDatasets.defaultBackbone(of: configuration.dataset, configuration)
      }
    loadSeconds = watch.elapsed
    let featureWatch = Stopwatch()
    dataset = try images.features(through: backbone, parallelism: parallelism)
    backbonePath = backbone.path
    featureSeconds = featureWatch.elapsed
  }
}

/// The image data sets that have names.
public enum ImageDatasets {
  /// Their names.
  public static let names = ["digits"]

  static func load(
    _ name: String, _ configuration: RunConfiguration
  ) throws(DataError) -> ImageDataset {
    switch name {
    case "digits": return try DigitsDataset.images(resources: configuration.resourcesPath)
    default: throw unknown(name)
    }
  }

  static func defaultBackbone(
    of name: String, _ configuration: RunConfiguration
  ) throws(DataError) -> ResidualMLP {
    switch name {
    case "digits": return try DigitsDataset.backbone(resources: configuration.resourcesPath)
    default:
      throw DataError(
        .missingFile, found: "the data set \(name) has no backbone of its own",
        advice: "give one with --backbone FILE")
    }
  }

  private static func unknown(_ name: String) -> DataError {
    DataError(
      .missingKey, found: "there is no data set '\(name)'",
      expected: names.joined(separator: ", "), advice: "or give features with --features FILE")
  }
}
