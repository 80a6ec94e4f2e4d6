import ArgumentParser
import BllarseCore

/// `bllarse-finetune [train]`: one run.
struct Train: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train", abstract: "Fits a head and scores it on the test split (the default).")

  @OptionGroup(title: OptionInfo.Group.method.rawValue) var method: DeclaredOptions<MethodList>
  @OptionGroup(title: OptionInfo.Group.recipe.rawValue) var recipe: DeclaredOptions<RecipeList>
  @OptionGroup(title: OptionInfo.Group.calibration.rawValue)
  var calibration: DeclaredOptions<CalibrationList>
  @OptionGroup(title: OptionInfo.Group.classical.rawValue)
  var classical: DeclaredOptions<ClassicalList>
  @OptionGroup(title: OptionInfo.Group.registered.rawValue)
  var registered: DeclaredOptions<RegisteredList>
  @OptionGroup(title: OptionInfo.Group.data.rawValue) var data: DeclaredOptions<DataList>
  @OptionGroup(title: OptionInfo.Group.splits.rawValue) var splits: DeclaredOptions<SplitList>
  @OptionGroup(title: OptionInfo.Group.rows.rawValue) var rows: DeclaredOptions<RowList>
  @OptionGroup(title: OptionInfo.Group.running.rawValue) var running: DeclaredOptions<RunningList>
  @OptionGroup(title: "Tracking") var tracking: DeclaredOptions<TrackingList>
  @OptionGroup(visibility: .hidden) var oldSpellings: DeclaredOptions<OldSpellingList>

  @Flag(
    help: """
      Check the options, and that files are there and fit together; fit nothing, and print one line about \
      the run.
      """)
  var check = false

  /// All options that were given.
  var given: GivenOptions {
    var given = tracking.given
    for group in [
      method.given, recipe.given, calibration.given, classical.given, registered.given, data.given,
      splits.given, rows.given, running.given,
    ] {
      given.merge(group)
    }
    return given
  }

  func validate() throws { _ = try Train.check(given) }

  /// What options ask for.
  ///
  /// - Throws: `ValidationError`: they contradict one another, or would change nothing.
  static func check(_ given: GivenOptions) throws -> RunConfiguration {
    try TrackingOptions(given).check()
    return try asValidation { try RunConfiguration(given, defaults: .environment) }
  }

  /// What should be known about the options.
  static func notes(_ configuration: RunConfiguration, _ given: GivenOptions) -> [String] {
    configuration.notes(given) + TrackingOptions(given).notes
  }

  func run() throws {
    let given = given
    let configuration = try Train.check(given)
    for note in Train.notes(configuration, given) { Terminal().runDidNote(note) }
    guard !check else {
      try reportingErrors { print("the run can start: \(try RunPlan(configuration))") }
      return
    }
    try TrackedRun(configuration, TrackingOptions(given)).run()
  }
}
