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
    try requireRange(
      "--eval-every-batches", evalEveryBatches, "a number from 0 to \(countRange.upperBound)"
    ) { 0...countRange.upperBound ~= $0 }
    for (name, value) in [
      ("--max-train-samples", maxTrainSamples), ("--max-val-samples", maxValSamples),
    ] {
      try requireRange(
        name, value, "a number from 1 to \(countRange.upperBound)", countRange.contains)
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
