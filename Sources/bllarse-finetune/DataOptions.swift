import ArgumentParser
import BllarseCore

/// Where images or features come from.
struct DataOptions: ParsableArguments {
  @Option(
    name: [.customLong("ds", withSingleDash: true), .long],
    help: """
      Images: digits, which ship with the package, or cifar10, cifar100 from --data-dir through a backbone. \
      (default: digits)
      """)
  var dataset: String?

  @Option(
    help: """
      The directory that holds the binary version of CIFAR (cifar-10-batches-bin, cifar-100-binary), or that \
      directory itself. (default: BLLARSE_DATA_DIR)
      """)
  var dataDir: String?

  @Option(
    help: "Features, instead of images: a safetensors file with X_train, y_train, X_test, y_test.")
  var features: String?

  @OptionGroup var backbone: BackboneOptions

  // Scoring a stored head takes that head's backbone.
  func check(needsBackbone: Bool = true) throws {
    if features != nil && dataset != nil {
      throw ValidationError("--features and --dataset exclude one another")
    }
    if let dataset, !ImageDatasets.names.contains(dataset) {
      throw ValidationError(
        "--dataset is '\(dataset)'; expected one of \(ImageDatasets.names.joined(separator: ", "))")
    }
    if let dataset, !ImageDatasets.isBuiltIn(dataset) {
      if dataDir == nil && EnvironmentVariable.dataDirectory.value == nil {
        throw ValidationError(
          "--dataset \(dataset) needs --data-dir (or BLLARSE_DATA_DIR), the directory of its files")
      }
      if needsBackbone && backbone.backbone == nil && !backbone.isNamed(dataset) {
        throw ValidationError(
          "--dataset \(dataset) needs --backbone, a file that makes features of it, or --pretrained"
        )
      }
    } else if dataDir != nil {
      throw ValidationError(
        "--data-dir goes with --dataset cifar10 or cifar100, not with "
          + (features == nil ? "the digits, which ship with the package" : "--features"))
    }
    try backbone.check(dataset, features: features)
  }

  func apply(to configuration: inout RunConfiguration) {
    configuration.dataset = dataset ?? "digits"
    configuration.featuresPath = features
    configuration.dataDirectory = dataDir
    if let dataset, !ImageDatasets.isBuiltIn(dataset), dataDir == nil {
      configuration.dataDirectory = EnvironmentVariable.dataDirectory.value
    }
    backbone.apply(to: &configuration)
  }
}
