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

  func apply(to configuration: inout RunConfiguration) {
    configuration.testSplit = testSplit
    configuration.validationSplit = validationSplit
  }
}
