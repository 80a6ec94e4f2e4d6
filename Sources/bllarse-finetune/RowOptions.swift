import ArgumentParser
import BllarseCore

/// What a feature file says of its training rows beside their classes.
struct RowOptions: ParsableArguments {
  @Option(
    help: """
      The array of the feature file, NAME_train or NAME, that says how often each training row counts: numbers \
      that are not negative.
      """)
  var sampleWeight: String?

  @Option(
    help: """
      The array of the feature file, NAME_train or NAME, that says which training rows belong together \
      (integers): those of one group are left out together.
      """)
  var group: String?

  func check() throws {
    for (option, name) in [("--sample-weight", sampleWeight), ("--group", group)] where name == "" {
      throw ValidationError("\(option) is empty; expected the name of an array")
    }
  }

  func apply(to configuration: inout RunConfiguration) {
    configuration.rowArrays = RowArrays(weights: sampleWeight, groups: group)
  }
}
