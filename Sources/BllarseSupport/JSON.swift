/// A JSON value whose objects keep the order in which their members were written.
///
/// Numbers have one representation: a number without a fractional part is always ``int(_:)`` when
/// an `Int` holds it exactly, however it was spelled, so `16`, `16.0` and `1.6e1` are equal.
public enum JSON: Sendable, Hashable {
  case null
  case bool(Bool)
  case int(Int)
  /// A whole number beyond `Int`, by its digits: a sign if it is negative, no zeros in front.
  ///
  /// Only ``integer(_:)`` makes one, so that each number has one representation.
  case largeInteger(String)
  /// A finite number that is not an integer, or was written with a point or an exponent and is too large
  /// for `Int`.
  case double(Double)
  case string(String)
  case array([JSON])
  case object([Member])

  /// One `"key": value` of an object.
  public struct Member: Sendable, Hashable {
    /// The member's name.
    public var key: String
    /// The member's value.
    public var value: JSON

    /// Makes a member.
    public init(_ key: String, _ value: JSON) {
      self.key = key
      self.value = value
    }
  }
}

extension JSON {
  /// Makes a number in its only representation; not finite becomes ``null``, as JSON has no other.
  public static func number(_ value: Double) -> JSON {
    guard value.isFinite else { return .null }
    if let exact = Int(exactly: value) { return .int(exact) }
    return .double(value)
  }

  /// A whole number of any size, exactly.
  ///
  /// - Parameter digits: decimal digits, with a sign or without.
  /// - Returns: the number; nil for what is no whole number.
  public static func integer(_ digits: some StringProtocol) -> JSON? {
    if let number = Int(digits) { return .int(number) }
    var rest = digits.utf8[...]
    let isNegative = rest.first == UInt8(ascii: "-")
    if isNegative || rest.first == UInt8(ascii: "+") { rest = rest.dropFirst() }
    guard !rest.isEmpty, rest.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
    else { return nil }
    let significant = rest.drop { $0 == UInt8(ascii: "0") }
    let text = (isNegative ? "-" : "") + String(decoding: significant, as: UTF8.self)
    // Zeros in front may have hidden a small one.
    return Int(text).map { .int($0) } ?? .largeInteger(text)
  }

  /// An object from key-value pairs, in their order.
  public static func object(_ pairs: KeyValuePairs<String, JSON>) -> JSON {
    .object(pairs.map { Member($0.key, $0.value) })
  }

  /// The value of an object's member; nil when there is none, or when this is no object.
  public subscript(key: String) -> JSON? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.key == key }?.value
  }

  /// The value at a dotted path such as `test.nll`.
  public subscript(path path: String) -> JSON? {
    if let whole = self[path] { return whole }
    guard let dot = path.firstIndex(of: ".") else { return nil }
    return self[String(path[..<dot])]?[path: String(path[path.index(after: dot)...])]
  }

  package var stringValue: String? {
    if case .string(let text) = self { return text }
    return nil
  }

  package var intValue: Int? {
    if case .int(let number) = self { return number }
    return nil
  }

  /// A whole number from 0 to 2⁶⁴ − 1.
  package var unsignedValue: UInt64? {
    switch self {
    case .int(let number): UInt64(exactly: number)
    case .largeInteger(let digits): UInt64(digits)
    default: nil
    }
  }

  package var isInteger: Bool {
    switch self {
    case .int, .largeInteger: true
    default: false
    }
  }

  package var doubleValue: Double? {
    switch self {
    case .int(let number): Double(number)
    case .largeInteger(let digits): Double(digits).flatMap { $0.isFinite ? $0 : nil }
    case .double(let number): number
    default: nil
    }
  }

  package var boolValue: Bool? {
    if case .bool(let flag) = self { return flag }
    return nil
  }

  package var arrayValue: [JSON]? {
    if case .array(let elements) = self { return elements }
    return nil
  }

  package var members: [Member]? {
    if case .object(let members) = self { return members }
    return nil
  }

  /// A string, or null for nil.
  package static func optional(_ text: String?) -> JSON { text.map { .string($0) } ?? .null }

  /// A number, or null for nil.
  package static func optional(_ number: Int?) -> JSON { number.map { .int($0) } ?? .null }
}

extension JSON: ExpressibleByIntegerLiteral, ExpressibleByStringLiteral {
  /// A number.
  public init(integerLiteral value: Int) { self = .int(value) }
  /// A string.
  public init(stringLiteral value: String) { self = .string(value) }
}
