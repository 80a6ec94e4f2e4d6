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
    subcommands: [
      Train.self, Laplace.self, Text.self, Compare.self, Evaluate.self, Predict.self, Check.self,
    ],
    defaultSubcommand: Train.self)

  /// Takes the environment's files, reads older spellings as present ones, parses, and runs.
  static func main() {
    bllarse_report_exhausted_memory("bllarse-finetune")
    bllarse_choose_blas_kernels()
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
  @OptionGroup(title: OptionInfo.Group.vbll.rawValue) var vbll: DeclaredOptions<VBLLList>
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
      tracking.given, method.given, recipe.given, calibration.given, classical.given, vbll.given,
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

  func run() throws { try Train.run(given, checksOnly: check) }

  /// Runs what options ask for, or only checks it.
  static func run(_ given: GivenOptions, checksOnly: Bool) throws {
    let configuration = try Train.check(given)
    for note in Train.notes(configuration, given) { Terminal().runDidNote(note) }
    guard !checksOnly else {
      try reportingErrors { print("the run can start: \(try RunPlan(configuration))") }
      return
    }
    try TrackedRun(configuration: configuration, tracking: TrackingOptions(given)).run()
  }
}

// MARK: - Options

/// Which of the declared options a group of a command line has.
protocol OptionList: Sendable {
  static var options: [OptionInfo] { get }
}

enum MethodList: OptionList { static let options = RunConfiguration.options(in: .method) }
enum RecipeList: OptionList { static let options = RunConfiguration.options(in: .recipe) }
enum CalibrationList: OptionList { static let options = RunConfiguration.options(in: .calibration) }
enum ClassicalList: OptionList { static let options = RunConfiguration.options(in: .classical) }
enum VBLLList: OptionList { static let options = RunConfiguration.options(in: .vbll) }
enum DataList: OptionList { static let options = RunConfiguration.options(in: .data) }
enum SplitList: OptionList { static let options = RunConfiguration.options(in: .splits) }
enum RowList: OptionList { static let options = RunConfiguration.options(in: .rows) }
enum RunningList: OptionList { static let options = RunConfiguration.options(in: .running) }
enum RegisteredList: OptionList { static let options = RunConfiguration.options(in: .registered) }
enum ThreadsList: OptionList {
  static let options = RunConfiguration.options(in: .running).filter { $0.name == "threads" }
}

/// A group of options of a command line that the library declares, and not a property each.
///
/// The parser finds the options of a group by looking at its properties and reads them by name: this group
/// shows it one property for every declared option. Values are texts here; what they must be is checked
/// where they are taken, so that a sweep, a check and a run say the same.
struct DeclaredOptions<List: OptionList>: ParsableArguments {
  var given = GivenOptions()

  init() {}

  private struct Key: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: Key.self)
    for info in List.options {
      let key = Key(stringValue: info.name)
      switch info.arity {
      case .flag:
        if try container.decode(Flag<Bool>.self, forKey: key).wrappedValue { given[info.name] = "" }
      case .value:
        if let text = try container.decode(Option<String?>.self, forKey: key).wrappedValue {
          given[info.name] = text
        }
      case .list:
        let words = try container.decode(Option<[String]>.self, forKey: key).wrappedValue
        if !words.isEmpty { given.give(info.name, words) }
      }
    }
  }
}

extension DeclaredOptions: CustomReflectable {
  /// One property for every option, as the parser expects those of property wrappers.
  var customMirror: Mirror {
    Mirror(
      self, children: List.options.map { info -> Mirror.Child in ("_" + info.name, info.argument) })
  }
}

extension OptionInfo {
  private var names: NameSpecification {
    NameSpecification(
      [
        shortName.map { name in
          name.count == 1
            ? .customShort(Character(name)) : .customLong(name, withSingleDash: true)
        }, .customLong(name), otherName.map { .customLong($0) },
      ].compactMap(\.self))
  }

  fileprivate var argument: Any {
    let help = ArgumentHelp(stringLiteral: helpText)
    return switch arity {
    case .flag: Flag(wrappedValue: false, name: names, help: help) as Any
    case .value: Option<String?>(name: names, help: help) as Any
    case .list:
      Option<[String]>(wrappedValue: [], name: names, parsing: .upToNextOption, help: help) as Any
    }
  }
}

extension OptionDefaults {
  static var environment: OptionDefaults {
    var defaults = OptionDefaults()
    defaults.dataDirectory = Host.variable("BLLARSE_DATA_DIR")
    defaults.modelDirectory = Host.variable("BLLARSE_MODEL_DIR")
    defaults.resourcesPath = Host.variable("BLLARSE_RESOURCES")
    defaults.threadCount = grantedThreads
    return defaults
  }

  private static let grant = "SLURM_CPUS_PER_TASK"

  /// What SLURM granted; `nil` where it says nothing that can be used.
  private static var grantedThreads: Int? {
    Host.variable(grant).flatMap { Int($0) }.flatMap { 1...1024 ~= $0 ? $0 : nil }
  }

  static var grantNote: String? {
    guard let text = Host.variable(grant), grantedThreads == nil else { return nil }
    return
      "\(grant) is '\(text.prefix(40))', expected a whole number from 1 to 1024; it has no effect"
  }
}

extension RunConfiguration {
  static func options(in group: OptionInfo.Group) -> [OptionInfo] {
    options.filter { $0.group == group }
  }
}

/// Does what may refuse an option, in the parser's words.
func asValidation<Result>(_ body: () throws -> Result) throws -> Result {
  do { return try body() } catch let fault as OptionFault {
    throw ValidationError(fault.description)
  }
}

// MARK: - Spellings

/// A command line of a run in its present spelling, and what to say about an older one.
///
/// The Python original's scripts spelled some options in several ways, and so did this program. Each of
/// these is read as the present option, with a note that names it; two spellings of one option that say two
/// things are refused.
struct CommandLineWords {
  private(set) var words: [String] = []
  /// One line for each older spelling, and for each option that is given twice.
  private(set) var notes: [String] = []

  /// Older names, without their dashes, and the present ones.
  static let oldNames = [
    "loss-function": "head", "train-batch-size": "batch-size", "dropout-rate": "dropout",
    "ibprobit-alpha": "forgetting-rate", "finetuning-type": "tune-mode",
    "enable-wandb": "enable-mlflow",
  ]
  /// Names beside the present ones that are no older: the original's word for the head.
  private static let otherNames = ["loss-fn": "head"]
  /// Older values, by the names of the options that took them, and the present names and values.
  private static let oldValues: [String: [String: (name: String, value: String)]] = [
    "likelihood": [
      "softmax": ("head", "softmax"), "probit": ("head", "IBProbit"),
      "ordered-probit": ("head", "OrderedProbit"), "bernoulli": ("task", "multilabel"),
    ],
    "calibration": ["loo": ("calibration", "folds")],
    "posterior": CovarianceStructure.formerNames.mapValues { ("posterior", $0.rawValue) },
  ]
  private static let shortNames = Dictionary(
    RunConfiguration.options.compactMap { info in info.shortName.map { ($0, info.name) } },
    uniquingKeysWith: { first, _ in first })
  /// Words that begin the command line of something else than a run.
  private static let otherCommands: Set<String> = [
    "compare", "evaluate", "predict", "check", "help", "text",
  ]

  /// Reads the words after the program's name.
  ///
  /// - Throws: `ValidationError` for two spellings of one option that say two things, and for a value that
  ///   an older option never had.
  init(_ arguments: some Collection<String>) throws {
    if let first = arguments.first, Self.otherCommands.contains(first) {
      words = Array(arguments)
      return
    }
    var seen: [String: (spelling: String, written: String, value: String)] = [:]
    var rest = Array(arguments)[...]
    while let word = rest.popFirst() {
      guard word != "--", word.hasPrefix("-") else {
        words.append(word)
        if word == "--" {
          words += rest
          break
        }
        continue
      }
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let spelling = String(parts[0])
      var name = Self.presentName(spelling)
      // The value is after the equals sign, or the next word; a flag has none.
      var value = parts.count > 1 ? String(parts[1]) : nil
      let isNextWord = value == nil && rest.first.map { !$0.hasPrefix("-") } ?? false
      if isNextWord { value = rest.popFirst() }
      if name.text == "device", value?.isEmpty ?? true {
        notes.append("--device without a value has no effect: everything runs on the CPU")
        continue
      }
      var isOld = Self.isOld(spelling)
      let written = [spelling, value].compactMap { $0 }.joined(separator: " ")
      if let old = Self.oldValues[name.text], name.isLong, let given = value {
        if let present = old[given] {
          notes.append("\(written) is now --\(present.name) \(present.value)")
          (name.text, value, isOld) = (present.name, present.value, true)
        } else if old.values.contains(where: { $0.name != name.text }) {
          let words = old.sorted { $0.key < $1.key }
            .map { "\($0.key) (now --\($0.value.name) \($0.value.value))" }
          throw ValidationError(
            "\(spelling) is '\(given)'; expected \(words.joined(separator: " or "))")
        }
      } else if isOld {
        notes.append("\(spelling) is now --\(name.text)")
      }
      if let value {
        if let earlier = seen[name.text], earlier.value != value {
          if earlier.spelling != spelling,
            [earlier.spelling, spelling].contains(where: { Self.isAnother($0, than: name.text) })
          {
            throw ValidationError("\(earlier.written) and \(written) are one option; give it once")
          }
          notes.append("\(spelling) is given twice: \(value), the last, takes effect")
        }
        seen[name.text] = (spelling, written, value)
      }
      let present = isOld ? "--" + name.text : spelling
      if isNextWord, let value {
        words += [present, value]
      } else {
        words.append(value.map { present + "=" + $0 } ?? present)
      }
    }
  }

  /// The present long name of an option, where it is spelled with two dashes.
  private static func presentName(_ spelling: String) -> (text: String, isLong: Bool) {
    guard spelling.hasPrefix("--") else {
      let short = String(spelling.dropFirst())
      return (shortNames[short] ?? short, false)
    }
    // Underscores are how the original's configurations are written, and some of its options.
    let name = spelling.dropFirst(2).split(separator: "_", omittingEmptySubsequences: false)
      .joined(separator: "-")
    return (oldNames[name] ?? otherNames[name] ?? name, true)
  }

  /// Whether a spelling is an older one.
  private static func isOld(_ spelling: String) -> Bool {
    otherNames[String(spelling.dropFirst(2))] == nil
      && isAnother(spelling, than: presentName(spelling).text)
  }

  /// Whether a spelling is a long name, and not the present one.
  private static func isAnother(_ spelling: String, than present: String) -> Bool {
    spelling.hasPrefix("--") && spelling != "--" + present
  }
}

/// Older names of options, most of them the Python original's.
///
/// They are here so that a description of this program's options has them: ``CommandLineWords`` replaces
/// them before a command line is parsed.
enum OldSpellingList: OptionList {
  static let options =
    (CommandLineWords.oldNames.keys.filter { $0 != "enable-wandb" } + ["likelihood"])
    .sorted().map { OptionInfo($0, group: .method, "") }
}
