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
    public init(_ key: String, _ value: JSON) { (self.key, self.value) = (key, value) }
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

  /// An object from key-value pairs, in their order; nil leaves a pair out.
  public static func object(_ pairs: KeyValuePairs<String, JSON?>) -> JSON {
    .object(pairs.compactMap { pair in pair.value.map { Member(pair.key, $0) } })
  }

  /// The value of an object's member; nil when there is none, or when this is no object.
  public subscript(key: String) -> JSON? { members?.first { $0.key == key }?.value }

  /// The value at a dotted path such as `test.nll`.
  public subscript(path path: String) -> JSON? {
    if let whole = self[path] { return whole }
    guard let dot = path.firstIndex(of: ".") else { return nil }
    return self[String(path[..<dot])]?[path: String(path[path.index(after: dot)...])]
  }

  package var stringValue: String? { if case .string(let text) = self { text } else { nil } }

  package var intValue: Int? { if case .int(let number) = self { number } else { nil } }

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

  package var boolValue: Bool? { if case .bool(let flag) = self { flag } else { nil } }

  package var arrayValue: [JSON]? { if case .array(let elements) = self { elements } else { nil } }

  package var members: [Member]? { if case .object(let members) = self { members } else { nil } }

  package static func optional(_ text: String?) -> JSON { text.map { .string($0) } ?? .null }

  package static func optional(_ number: Int?) -> JSON { number.map { .int($0) } ?? .null }
}

extension JSON: ExpressibleByIntegerLiteral, ExpressibleByStringLiteral {
  /// A number.
  public init(integerLiteral value: Int) { self = .int(value) }
  /// A string.
  public init(stringLiteral value: String) { self = .string(value) }
}

extension JSON {
  /// The value on one line, members in their order.
  public var compact: String { text(Writer()) }

  /// The value over several lines, indented by two spaces.
  public var pretty: String { text(Writer(isIndented: true)) }

  /// The canonical text: no spaces, members sorted by their names' UTF-8, numbers as ECMAScript
  /// writes them, whole ones beyond `Int` by all their digits.
  ///
  /// Equal values have equal texts on every platform; it is what is hashed.
  package var canonical: String { text(Writer(isSorted: true)) }

  /// The value as one command-line argument or table cell: strings bare, the rest as JSON.
  public var plainText: String {
    if case .string(let text) = self { return text }
    return compact
  }

  /// The value as a journal and MLflow's requests hold it, in UTF-8.
  package var bytes: [UInt8] { bytes(Writer(.tracking)) }

  private func bytes(_ writer: consuming Writer) -> [UInt8] {
    writer.append(self)
    return writer.bytes
  }

  private func text(_ writer: Writer) -> String { String(decoding: bytes(writer), as: UTF8.self) }

  private struct Writer {
    /// How numbers and control characters are spelled.
    enum Style {
      /// Numbers as ECMAScript writes them; escapes by letter where JSON has one.
      case standard
      /// Numbers as Swift writes them, those that are not finite as strings; escapes by code.
      ///
      /// MLflow's parser takes NaN and infinities as these strings only; bare words make it drop the
      /// rest of the message and answer 200.
      case tracking
    }

    var bytes: [UInt8] = []
    let style: Style
    let isIndented, isSorted: Bool
    private var depth = 0

    init(_ style: Style = .standard, isIndented: Bool = false, isSorted: Bool = false) {
      (self.style, self.isIndented, self.isSorted) = (style, isIndented, isSorted)
    }

    mutating func append(raw text: StaticString) {
      text.withUTF8Buffer { bytes.append(contentsOf: $0) }
    }

    mutating func append(number value: Double) {
      if style == .standard {
        // All digits of a large one would be read back as a whole number that was written so.
        bytes.append(contentsOf: decimal(value, plainDigits: isSorted ? 21 : 18).utf8)
      } else if value.isFinite {
        bytes.append(contentsOf: value.description.utf8)
      } else if value.isNaN {
        append(raw: "\"NaN\"")
      } else {
        append(raw: value > 0 ? "\"Infinity\"" : "\"-Infinity\"")
      }
    }

    mutating func append(string text: String) {
      bytes.append(UInt8(ascii: "\""))
      for byte in text.utf8 {
        switch byte {
        case UInt8(ascii: "\""): append(raw: "\\\"")
        case UInt8(ascii: "\\"): append(raw: "\\\\")
        case 0x0A: append(raw: "\\n")
        case 0x0D where style == .standard: append(raw: "\\r")
        case 0x09 where style == .standard: append(raw: "\\t")
        case 0x08 where style == .standard: append(raw: "\\b")
        case 0x0C where style == .standard: append(raw: "\\f")
        case 0x7F where style == .standard: bytes.append(byte)
        case 0..<0x20, 0x7F:
          append(raw: "\\u00")
          bytes.append(contentsOf: String.digits(byte, radix: 16, width: 2).utf8)
        default: bytes.append(byte)
        }
      }
      bytes.append(UInt8(ascii: "\""))
    }

    mutating func append(_ value: JSON) {
      switch value {
      case .null: append(raw: "null")
      case .bool(let flag): append(raw: flag ? "true" : "false")
      case .int(let number): bytes.append(contentsOf: String(number).utf8)
      case .largeInteger(let digits): bytes.append(contentsOf: digits.utf8)
      case .double(let number): append(number: number)
      case .string(let text): append(string: text)
      case .array(let elements):
        enclose("[", "]", elements) { writer, element in writer.append(element) }
      case .object(var members):
        if isSorted { members.sort { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) } }
        enclose("{", "}", members) { writer, member in
          writer.append(string: member.key)
          writer.append(raw: writer.isIndented ? ": " : ":")
          writer.append(member.value)
        }
      }
    }

    private mutating func enclose<Element>(
      _ opening: StaticString, _ closing: StaticString, _ elements: [Element],
      _ append: (inout Writer, Element) -> Void
    ) {
      self.append(raw: opening)
      depth += 1
      for (index, element) in elements.enumerated() {
        if index > 0 { self.append(raw: ",") }
        breakLine()
        append(&self, element)
      }
      depth -= 1
      if !elements.isEmpty { breakLine() }
      self.append(raw: closing)
    }

    private mutating func breakLine() {
      guard isIndented else { return }
      bytes.append(0x0A)
      bytes.append(contentsOf: repeatElement(0x20, count: 2 * depth))
    }
  }

  /// The shortest decimal that reads back as a finite number, laid out as ECMAScript's Number::toString
  /// (and RFC 8785) do: plain digits for exponents from −6 to 20 (or to `plainDigits`, at least 17, before
  /// the point), `1e-7` otherwise.
  package static func decimal(_ number: Double, plainDigits: Int = 21) -> String {
    // Swift prints the shortest digits too; only their layout differs.
    let parts = number.magnitude.description.split(separator: "e")
    var digits = parts[0].filter { $0 != "." }.map(\.self)
    var exponent = parts[0].prefix { $0 != "." }.count + (parts.count > 1 ? Int(parts[1]) ?? 0 : 0)
    while digits.count > 1, digits.last == "0" { digits.removeLast() }
    while digits.count > 1, digits.first == "0" {
      digits.removeFirst()
      exponent -= 1
    }
    if digits == ["0"] { return "0" }
    let sign = number < 0 ? "-" : ""
    let count = digits.count
    switch exponent {
    case count...plainDigits:
      return sign + String(digits) + String(repeating: "0", count: exponent - count)
    case 1..<max(count, 1):
      return sign + String(digits[..<exponent]) + "." + String(digits[exponent...])
    case -5...0: return sign + "0." + String(repeating: "0", count: -exponent) + String(digits)
    default:
      let power = exponent - 1
      let mantissa = count == 1 ? String(digits) : "\(digits[0])." + String(digits[1...])
      return sign + mantissa + "e" + (power < 0 ? "-" : "+") + String(power.magnitude)
    }
  }
}

/// Where and why a text is not JSON.
package struct JSONSyntaxError: Error, Equatable, CustomStringConvertible {
  package let offset: Int
  package let line, column: Int
  /// A clause: "the name 'a' occurs twice".
  package let problem: String

  package var description: String { "line \(line), column \(column): \(problem)" }
}

extension JSON {
  /// Parses one JSON text (RFC 8259), with a byte order mark or without; duplicated member names and
  /// trailing text are refused.
  package static func parse(_ text: some StringProtocol) throws(JSONSyntaxError) -> JSON {
    try parse(bytes: Array(text.utf8))
  }

  package static func parse(bytes: [UInt8]) throws(JSONSyntaxError) -> JSON {
    try bytes.withUnsafeBufferPointer { (bytes) throws(JSONSyntaxError) in
      try parse(UnsafeRawBufferPointer(bytes))
    }
  }

  package static func parse(_ bytes: UnsafeRawBufferPointer) throws(JSONSyntaxError) -> JSON {
    var parser = JSONParser(bytes: bytes, isLenient: false)
    return try parser.document()
  }

  /// What a server answers, or a journal holds, as far as it can be read: names may repeat, strings are
  /// repaired, and a number that was written with a point stays a ``double(_:)``.
  package static func lenient(_ bytes: UnsafeRawBufferPointer) -> JSON? {
    var parser = JSONParser(bytes: bytes, isLenient: true)
    return try? parser.document()
  }

  package static func lenient(_ bytes: [UInt8]) -> JSON? { bytes.withUnsafeBytes(lenient) }
}

/// A recursive descent over the bytes of a JSON text.
private struct JSONParser {
  let bytes: UnsafeRawBufferPointer
  let isLenient: Bool
  var offset = 0
  var depth = 0

  mutating func document() throws(JSONSyntaxError) -> JSON {
    // A byte order mark, which editors of some systems write, is no part of the text.
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { offset = 3 }
    let value = try self.value()
    skipSpace()
    guard offset == bytes.count else { throw fault("text after the end of the value") }
    return value
  }

  func fault(_ problem: String, at place: Int? = nil) -> JSONSyntaxError {
    let offset = min(place ?? offset, bytes.count)
    let before = bytes[..<offset]
    let lineStart = before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
    return JSONSyntaxError(
      offset: offset, line: before.count { $0 == 0x0A } + 1, column: offset - lineStart + 1,
      problem: problem)
  }

  var current: UInt8? { offset < bytes.count ? bytes[offset] : nil }

  mutating func take(_ character: Unicode.Scalar) -> Bool {
    guard current == UInt8(ascii: character) else { return false }
    offset += 1
    return true
  }

  mutating func expect(_ character: Unicode.Scalar) throws(JSONSyntaxError) {
    guard take(character) else { throw fault("expected '\(character)'") }
  }

  mutating func skipSpace() {
    while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
      offset += 1
    }
  }

  mutating func value() throws(JSONSyntaxError) -> JSON {
    skipSpace()
    switch current {
    case UInt8(ascii: "{"): return try object()
    case UInt8(ascii: "["):
      var elements: [JSON] = []
      try list("[", "]") { (parser) throws(JSONSyntaxError) in elements.append(try parser.value()) }
      return .array(elements)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    case nil: throw fault("unexpected end")
    default: return try number()
    }
  }

  mutating func literal(_ word: StaticString, _ value: JSON) throws(JSONSyntaxError) -> JSON {
    for character in word.description.utf8 {
      guard current == character else { throw fault("expected '\(word)'") }
      offset += 1
    }
    return value
  }

  mutating func object() throws(JSONSyntaxError) -> JSON {
    var members: [JSON.Member] = []
    var names: Set<String> = []
    try list("{", "}") { (parser) throws(JSONSyntaxError) in
      parser.skipSpace()
      guard parser.current == UInt8(ascii: "\"") else {
        throw parser.fault("expected a member's name")
      }
      let start = parser.offset
      let key = try parser.string()
      guard parser.isLenient || names.insert(key).inserted else {
        throw parser.fault("the name \(key.quoted()) occurs twice", at: start)
      }
      parser.skipSpace()
      try parser.expect(":")
      members.append(JSON.Member(key, try parser.value()))
    }
    return .object(members)
  }

  /// Reads what stands between brackets; bounds the recursion: no file may overflow the stack.
  mutating func list(
    _ opening: Unicode.Scalar, _ closing: Unicode.Scalar,
    _ element: (inout JSONParser) throws(JSONSyntaxError) -> Void
  ) throws(JSONSyntaxError) {
    try expect(opening)
    depth += 1
    guard depth <= 128 else { throw fault("nested deeper than 128 levels") }
    skipSpace()
    if !take(closing) {
      repeat {
        try element(&self)
        skipSpace()
      } while take(",")
      try expect(closing)
    }
    depth -= 1
  }

  mutating func string() throws(JSONSyntaxError) -> String {
    try expect("\"")
    let start = offset
    var units: [UInt8] = []
    var pieceStart = offset  // what precedes it is in `units`
    while let byte = current {
      offset += 1
      switch byte {
      case UInt8(ascii: "\""):
        units.append(contentsOf: bytes[pieceStart..<offset - 1])
        if isLenient { return String(decoding: units, as: UTF8.self) }
        guard let text = String(validating: units, as: UTF8.self) else {
          throw fault("a string that is not UTF-8", at: start)
        }
        return text
      case UInt8(ascii: "\\"):
        units.append(contentsOf: bytes[pieceStart..<offset - 1])
        units.append(contentsOf: try escape())
        pieceStart = offset
      case 0..<0x20 where !isLenient: throw fault("a control character in a string")
      default: break
      }
    }
    throw fault("a string without an end")
  }

  mutating func escape() throws(JSONSyntaxError) -> [UInt8] {
    guard let byte = current else { throw fault("a string without an end") }
    offset += 1
    switch byte {
    case UInt8(ascii: "n"): return [0x0A]
    case UInt8(ascii: "t"): return [0x09]
    case UInt8(ascii: "r"): return [0x0D]
    case UInt8(ascii: "b"): return [0x08]
    case UInt8(ascii: "f"): return [0x0C]
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
    case UInt8(ascii: "u"): return Array(String(try unicodeEscape()).utf8)
    default: throw fault("an unknown escape")
    }
  }

  mutating func unicodeEscape() throws(JSONSyntaxError) -> Character {
    let unit = try hexadecimal()
    if let scalar = Unicode.Scalar(unit) { return Character(scalar) }
    let end = offset
    if unit < 0xDC00, take("\\"), take("u"), case let low = try hexadecimal(),
      (0xDC00..<0xE000).contains(low),
      let scalar = Unicode.Scalar(0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00))
    {
      return Character(scalar)
    }
    guard isLenient else { throw fault("half of a surrogate pair", at: end) }
    offset = end
    return "\u{FFFD}"
  }

  mutating func hexadecimal() throws(JSONSyntaxError) -> UInt32 {
    guard offset + 4 <= bytes.count,
      let digits = String(validating: bytes[offset..<offset + 4], as: UTF8.self),
      digits.allSatisfy(\.isHexDigit), let code = UInt32(digits, radix: 16)
    else { throw fault("expected four hexadecimal digits") }
    offset += 4
    return code
  }

  mutating func number() throws(JSONSyntaxError) -> JSON {
    let start = offset
    var isWhole = true
    _ = take("-")
    let first = offset
    guard skipDigits() else { throw fault("expected a value", at: start) }
    guard bytes[first] != UInt8(ascii: "0") || offset == first + 1 else {
      throw fault("a number that begins with 0")
    }
    if take(".") {
      isWhole = false
      guard skipDigits() else { throw fault("expected a digit after '.'") }
    }
    if take("e") || take("E") {
      isWhole = false
      if !take("+") { _ = take("-") }
      guard skipDigits() else { throw fault("expected an exponent") }
    }
    let text = String(decoding: bytes[start..<offset], as: UTF8.self)
    if isWhole, let whole = JSON.integer(text) { return whole }
    guard let number = Double(text), number.isFinite else {
      throw fault("the number \(text.quoted()) is too large", at: start)
    }
    return isLenient ? .double(number) : .number(number)
  }

  mutating func skipDigits() -> Bool {
    let start = offset
    while let byte = current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { offset += 1 }
    return offset > start
  }
}
