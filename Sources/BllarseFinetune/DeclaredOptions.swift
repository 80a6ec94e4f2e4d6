import ArgumentParser
import BllarseCore

/// Which of the declared options a group of a command line has.
protocol OptionList: Sendable {
  static var options: [OptionInfo] { get }
}

enum MethodList: OptionList { static let options = RunConfiguration.options(in: .method) }
enum RecipeList: OptionList { static let options = RunConfiguration.options(in: .recipe) }
enum CalibrationList: OptionList { static let options = RunConfiguration.options(in: .calibration) }
enum ClassicalList: OptionList { static let options = RunConfiguration.options(in: .classical) }
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
      (shortName.map { name -> [NameSpecification.Element] in
        name.count == 1
          ? [.customShort(Character(name))] : [.customLong(name, withSingleDash: true)]
      } ?? []) + [.customLong(name)] + (otherName.map { [.customLong($0)] } ?? []))
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

  /// That what SLURM's variable says cannot be used.
  static var grantNote: String? {
    guard let text = Host.variable(grant), grantedThreads == nil else { return nil }
    return """
      \(grant) is '\(text.prefix(40))', expected a whole number from \
      1 to 1024; it has no effect
      """
  }
}

extension RunConfiguration {
  static func options(in group: OptionInfo.Group) -> [OptionInfo] {
    options.filter { $0.group == group }
  }
}

/// Does what may refuse an option, in the parser's words.
func asValidation<Result>(_ body: () throws -> Result) throws -> Result {
  do {
    return try body()
  } catch let fault as OptionFault {
    throw ValidationError(fault.description)
  }
}
