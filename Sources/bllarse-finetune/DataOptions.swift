import ArgumentParser
import BllarseCore

/// Where images or features come from.
struct DataOptions: ParsableArguments {
  @Option(
    name: [.customLong("ds", withSingleDash: true), .long],
    help: "A built-in data set: \(ImageDatasets.names.joined(separator: ", ")). (default: digits)")
  var dataset: String?

  @Option(
    help: "Features, instead of images: a safetensors file with X_train, y_train, X_test, y_test.")
  var features: String?

  @Option(help: "The backbone whose features are used, instead of the data set's own.")
  var backbone: String?

  func check() throws {
    if features != nil && dataset != nil {
      throw ValidationError("--features and --dataset exclude one another")
    }
    if features != nil && backbone != nil {
      throw ValidationError("--backbone needs images; --features are used as they are")
    }
    if let dataset, !ImageDatasets.names.contains(dataset) {
      throw ValidationError(
        "--dataset is '\(dataset)'; expected one of \(ImageDatasets.names.joined(separator: ", "))")
    }
  }

  func apply(to configuration: inout RunConfiguration) {
    configuration.dataset = dataset ?? "digits"
    configuration.featuresPath = features
    configuration.backbonePath = backbone
  }
}
