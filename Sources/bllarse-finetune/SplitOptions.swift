import ArgumentParser
import BllarseCore

/// Which rows a run is fitted to, chosen by and scored on.
struct SplitOptions: ParsableArguments {
  @Option(
    help: """
      The split that is reported as test: a NAME of the file's X_NAME. (default: test; val_m for a text cache, \
      which has no test)
      """)
  var testSplit: String?

  @Option(
    help: """
      The split that chooses the best epoch and calibrates. (default: the first there is of validation, \
      valid, dev, val_m)
      """)
  var validationSplit: String?

  @Option(
    help: """
      Take so many training rows: the first, or with --train-subset-seed random ones of every class. \
      (default: all)
      """)
  var maxTrainSamples: Int?

  @Option(help: "Take the first so many rows of every validation split. (default: all)")
  var maxValSamples: Int?

  @Option(help: "The seed by which --max-train-samples chooses rows, each class by its share.")
  var trainSubsetSeed: UInt64?

  @Option(
    help: """
      Also score after every so many batches of an epoch, and log by the training rows seen. (default: 0, \
      only after epochs)
      """)
  var evalEveryBatches = 0

  func check() throws {
    guard (0...1_000_000_000).contains(evalEveryBatches) else {
      throw ValidationError("--eval-every-batches must be at least 0 and at most 1000000000")
    }
    for (name, value) in [
      ("--max-train-samples", maxTrainSamples), ("--max-val-samples", maxValSamples),
    ] {
      if let value, !(1...1_000_000_000).contains(value) {
        throw ValidationError("\(name) must be at least 1 and at most 1000000000")
      }
    }
  }

  func apply(to configuration: inout RunConfiguration) {
    configuration.testSplit = testSplit
    configuration.validationSplit = validationSplit
    configuration.maxTrainSamples = maxTrainSamples
    configuration.maxValidationSamples = maxValSamples
    configuration.trainSubsetSeed = trainSubsetSeed
    // Where there are no batches it changes nothing, not even the step that scores are logged at.
    configuration.evaluationInterval = configuration.takesBatches ? evalEveryBatches : 0
  }
}
