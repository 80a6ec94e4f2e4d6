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
