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
    /// Variational Bayesian last layers.
    case vbll = "VBLL"
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
  /// Another option and the value that it must be given with, beside that.
  public var neededOption: (name: String, value: String)?
  /// Whether the methods that take it cannot do without.
  public var isRequired = false
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

/// An option of the ways to fit heads, with the type of its value.
///
/// Declare it once, list it in every ``FittingWay`` that reads it, and read it there:
///
///     static let strength = FitOption("strength", group: .registered, "The pull to the centre.",
///       default: 1, .positive)
///     …  method[strength]
public struct FitOption<Value: Sendable & Equatable>: Sendable {
  /// What is to be said of it.
  public var info: OptionInfo
  /// The value where none is given.
  public let defaultValue: Value
  /// The value that a text stands for, or `nil` for a text that is no value.
  let parse: @Sendable (String) -> Value?
  /// The text of a value; `nil` for the default that has none.
  let text: @Sendable (Value) -> String?
  /// What results and trackers show; `nil` for a default that few know.
  let record: @Sendable (Value) -> ArgumentValue?

  /// Changes what is said of the option.
  public func with(_ change: (inout OptionInfo) -> Void) -> FitOption {
    var option = self
    change(&option.info)
    return option
  }
}

/// A range of numbers, in words and as a condition.
public struct OptionRange<Number: Sendable>: Sendable {
  let words: String
  let contains: @Sendable (Number) -> Bool

  /// Describes a range.
  ///
  /// - Parameters:
  ///   - words: "a number above 0".
  ///   - contains: whether a number lies in it.
  public init(_ words: String, contains: @escaping @Sendable (Number) -> Bool) {
    (self.words, self.contains) = (words, contains)
  }
}

extension OptionRange where Number == Double {
  /// Above 0 and finite.
  public static var positive: Self { .init("a number above 0") { $0 > 0 && $0.isFinite } }
  /// From 0 on, finite.
  public static var nonNegative: Self { .init("a number from 0") { $0 >= 0 && $0.isFinite } }
  /// From 0 to below 1.
  public static var share: Self { .init("a number from 0 to below 1") { 0..<1 ~= $0 } }
}

extension OptionRange where Number == Int {
  /// What is counted: products of two such numbers stay within an integer.
  public static var count: Self { .from(1, to: countLimit) }
  /// From one number to another.
  public static func from(_ lower: Int, to upper: Int) -> Self {
    .init("a number from \(lower) to \(upper)") { lower...upper ~= $0 }
  }
}

/// The largest number of things that are counted: a product of two stays within an integer.
let countLimit = 1_000_000_000

extension FitOption where Value == Double {
  /// An option that is a number.
  public init(
    _ name: String, short: String? = nil, group: OptionInfo.Group, _ help: String,
    default value: Double, _ range: OptionRange<Double>
  ) {
    self.init(
      info: OptionInfo(name, short: short, group: group, help, default: value.shortText),
      defaultValue: value, parse: { Double($0).flatMap { range.contains($0) ? $0 : nil } },
      text: { String($0) }, record: ArgumentValue.number)
    info.expected = range.words
  }
}

extension FitOption where Value == Double? {
  /// An option that is a number, or left to the data.
  public init(
    _ name: String, group: OptionInfo.Group, _ help: String, default words: String,
    recordedDefault: String, _ range: OptionRange<Double>
  ) {
    self.init(
      info: OptionInfo(name, group: group, help, default: words), defaultValue: nil,
      parse: { Double($0).flatMap { range.contains($0) ? .some($0) : nil } },
      text: { $0.map { String($0) } },
      record: { $0.map(ArgumentValue.number) ?? .text(recordedDefault) })
    info.expected = range.words
  }
}

extension FitOption where Value == Int {
  /// An option that is a whole number.
  public init(
    _ name: String, short: String? = nil, group: OptionInfo.Group, _ help: String,
    default value: Int, _ range: OptionRange<Int>
  ) {
    self.init(
      info: OptionInfo(name, short: short, group: group, help, default: String(value)),
      defaultValue: value, parse: { Int($0).flatMap { range.contains($0) ? $0 : nil } },
      text: { String($0) }, record: ArgumentValue.integer)
    info.expected = range.words
  }
}

extension FitOption where Value == Bool {
  /// A switch, off by default.
  ///
  /// - Parameters:
  ///   - name: the long name, without dashes.
  ///   - group: under which title the help lists it.
  ///   - help: what it does.
  ///   - isRecordedWhereOff: whether a result shows it when it is off.
  public init(
    _ name: String, group: OptionInfo.Group, _ help: String, isRecordedWhereOff: Bool = true
  ) {
    self.init(
      info: OptionInfo(name, group: group, help), defaultValue: false, parse: { _ in true },
      text: { $0 ? "" : nil }, record: { $0 || isRecordedWhereOff ? .flag($0) : nil })
    info.arity = .flag
  }
}

extension FitOption where Value == String? {
  /// An option that is a name of something, not given by default.
  public init(_ name: String, group: OptionInfo.Group, _ help: String) {
    self.init(
      info: OptionInfo(name, group: group, help), defaultValue: nil,
      parse: { $0.isEmpty ? nil : .some($0) }, text: { $0 }, record: { $0.map(ArgumentValue.text) })
    info.expected = "a name"
  }
}

extension FitOption {
  /// An option that is one of some words, or left to the data.
  public init<Word: RawRepresentable & CaseIterable & Sendable>(
    _ name: String, group: OptionInfo.Group, _ help: String, default words: String,
    recordedDefault: String? = nil
  ) where Word.RawValue == String, Value == Word? {
    self.init(
      info: OptionInfo(name, group: group, help, default: words), defaultValue: nil,
      parse: { Word(rawValue: $0).map { .some($0) } }, text: { $0?.rawValue },
      record: { ($0?.rawValue ?? recordedDefault).map(ArgumentValue.text) })
    info.expected = oneOf(Word.allCases.map(\.rawValue))
  }
}

/// "one of a, b, c".
func oneOf(_ words: [String]) -> String { "one of " + words.joined(separator: ", ") }

extension Double {
  /// As people write a default: "0.001", "1", "1e-06".
  fileprivate var shortText: String {
    self == rounded() && magnitude < 1e15 ? String(Int(self)) : String(self)
  }
}

/// An option of a way to fit a head, whatever the type of its value.
public protocol AnyFitOption: Sendable {
  /// What is to be said of it.
  var info: OptionInfo { get }
  /// Whether a text is a value of it.
  func accepts(_ text: String) -> Bool
  /// What results and trackers show of a given text, or of the default.
  func recorded(_ text: String?) -> ArgumentValue?
}

extension FitOption: AnyFitOption {
  /// Whether a text is a value of it.
  public func accepts(_ text: String) -> Bool { parse(text) != nil }

  /// What results and trackers show of a given text, or of the default.
  public func recorded(_ text: String?) -> ArgumentValue? {
    record(text.flatMap(parse) ?? defaultValue)
  }
}
