import ArgumentParser
import BllarseCore
import BllarseMLflow
import BllarseNumerics
import BllarseStartup
import Foundation

/// The program `bllarse-finetune`, for those who add heads to it.
///
/// A program of a package of its own registers them first:
///
///     HeadRegistry.register(.nearestMean)
///     FinetuneProgram.main()
public enum FinetuneProgram {
  /// Runs the command line of the process, and ends it.
  public static func main() { Finetune.main() }
}

/// Fits the Bayesian last layer of a neural network on frozen features.
struct Finetune: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bllarse-finetune",
    abstract: "Fits the Bayesian last layer of a neural network on frozen features.",
    version: Versions.bllarse,
    subcommands: [Train.self, Text.self, Evaluate.self, Predict.self, Check.self],
    defaultSubcommand: Train.self)

  /// Takes the environment's files, reads older spellings as present ones, parses, and runs.
  static func main() {
    bllarse_report_exhausted_memory("bllarse-finetune")
    AllocationFailure.handle { message in
      FileHandle.standardError.write(Data("bllarse-finetune: error: \(message)\n".utf8))
      _exit(1)
    }
    for note in EnvironmentFiles.load() { Terminal().runDidNote(note) }
    if let note = OptionDefaults.grantNote { Terminal().runDidNote(note) }
    do {
      let line = try CommandLineWords(CommandLine.arguments.dropFirst())
      // Before any refusal, which names options by their present spelling.
      for note in line.notes { Terminal().runDidNote(note) }
      var command = try parseAsRoot(line.words)
      try command.run()
    } catch {
      exit(withError: error)
    }
  }
}

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

  var given: GivenOptions {
    GivenOptions([
      tracking.given, method.given, recipe.given, calibration.given, classical.given,
      registered.given, data.given, splits.given, rows.given, running.given,
    ])
  }

  func validate() throws { _ = try Train.check(given) }

  /// What options ask for, unless they contradict one another, or would change nothing.
  static func check(_ given: GivenOptions) throws -> RunConfiguration {
    try TrackingOptions(given).check()
    return try asValidation { try RunConfiguration(given, defaults: .environment) }
  }

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
