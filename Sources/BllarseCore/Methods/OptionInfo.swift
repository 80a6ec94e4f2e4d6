/// What is to be said of an option, once: the command line, its help, what a run records and compares, what
/// is refused and the documentation all read it here.
public struct OptionInfo: Sendable {
  /// How many words of the command line its value takes.
  public enum Arity: Sendable {
    /// None: the option is there or it is not.
    case flag
    /// One.
    case value
    /// All up to the next option.
    case list
  }

  /// Under which title the help lists it.
  public enum Group: String, Sendable, CaseIterable {
    /// The head, and how it is fitted.
    case method = "What to fit"
    /// What the default recipe leaves to the data.
    case recipe = "softmax, and IBProbit to its optimum"
    /// How predictions are calibrated.
    case calibration = "Calibration"
    /// Steps of optimisers, and their penalties.
    case classical = "Classical heads"
    /// Where images or features come from.
    case data = "Data"
    /// Which rows are fitted and scored.
    case splits = "Splits"
    /// What a feature file says of its training rows beside their classes.
    case rows = "Rows"
    /// How and where a run works.
    case running = "Running"
    /// Heads that were registered from outside the package.
    case registered = "Further heads"
  }

  /// What must be the case for an option of a method to have an effect.
  public struct Needs: OptionSet, Sendable {
    /// One bit a condition.
    public let rawValue: Int
    /// Takes the bits.
    public init(rawValue: Int) { self.rawValue = rawValue }
    /// More than one epoch.
    public static let severalEpochs = Needs(rawValue: 1)
    /// A feature file.
    public static let featureFile = Needs(rawValue: 2)
  }

  /// The long name, without dashes.
  public var name: String
  /// A second name, given after one dash.
  public var shortName: String?
  /// A second long name, which is no older than the first.
  public var otherName: String?
  /// Under which title the help lists it.
  public var group: Group
  /// What it means, in one or a few sentences.
  public var help: String
  /// What is taken where it is not given, in words; `nil` for nothing to say.
  public var defaultText: String?
  /// How many words its value takes.
  public var arity = Arity.value
  /// The values in words: "a number above 0".
  public var expected = "a text"
  /// The name under which results and trackers show it; with underscores for dashes when `nil`.
  public var recordedAs: String?
  /// Whether the Python scripts took it whatever was fitted: where it has no effect it is noted then, and
  /// refused otherwise.
  public var isNotedWhereIdle = false
  /// What must be the case beside the method that takes it.
  public var needs: Needs = []
  /// Whether a switch makes another method of a way, so that its name belongs to the method's.
  public var namesMethod = false

  /// The name under which results and trackers show it.
  public var recordedName: String { recordedAs ?? name.replacing("-", with: "_") }

  /// The help with the default.
  public var helpText: String { help + (defaultText.map { " (default: \($0))" } ?? "") }

  /// Describes an option.
  public init(
    _ name: String, short: String? = nil, group: Group, _ help: String, default text: String? = nil
  ) {
    (self.name, shortName, self.group, self.help, defaultText) = (name, short, group, help, text)
  }
}

/// Options that were given, as texts, by their long names: what a command line or a sweep says.
public struct GivenOptions: Sendable, Equatable {
  private var texts: [String: [String]] = [:]

  /// No option is given.
  public init() {}

  /// The value of an option; an empty text for a flag, `nil` where the option is not given.
  public subscript(name: String) -> String? {
    get { texts[name].map { $0.first ?? "" } }
    set { texts[name] = newValue.map { [$0] } }
  }

  /// All words of an option's value.
  public func list(_ name: String) -> [String]? { texts[name] }

  /// Gives an option with all words of its value.
  public mutating func give(_ name: String, _ words: [String]) { texts[name] = words }

  /// Whether an option is given.
  public func contains(_ name: String) -> Bool { texts[name] != nil }

  /// The options of all groups.
  public init(_ groups: [GivenOptions]) {
    for group in groups { texts.merge(group.texts) { $1 } }
  }

  /// Whether another device than the processor is asked for.
  public var hasOtherDevice: Bool { self["device"] ?? "cpu" != "cpu" }

  /// The names of the options that are given, sorted.
  public var names: [String] { texts.keys.sorted() }
}

/// An option that cannot be taken: what was found, what was expected, what to do.
public struct OptionFault: Error, Equatable, CustomStringConvertible {
  /// The message, in one line.
  public let description: String
  /// Takes the message.
  public init(_ description: String) { self.description = description }

  /// Refuses a value that is none of an option's.
  init(_ info: OptionInfo, _ text: String) {
    let found = Double(text) == nil ? "'\(text)'" : text
    self.init("--\(info.name) is \(found); expected \(info.expected)")
  }
}
