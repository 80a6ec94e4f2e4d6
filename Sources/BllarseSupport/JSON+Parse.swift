/// Where and why a text is not JSON.
package struct JSONSyntaxError: Error, Equatable, CustomStringConvertible {
  /// The byte, from 0.
  package let offset: Int
  /// The line and the byte in it, from 1.
  package let line, column: Int
  /// A clause: "the name 'a' occurs twice".
  package let problem: String

  package var description: String { "line \(line), column \(column): \(problem)" }
}

extension JSON {
  /// Parses one JSON text (RFC 8259), with a byte order mark or without; duplicated member names and
  /// trailing text are refused.
  ///
  /// - Throws: ``JSONSyntaxError`` with the place of the first fault.
  package static func parse(_ text: some StringProtocol) throws(JSONSyntaxError) -> JSON {
    try parse(bytes: Array(text.utf8))
  }

  /// Parses one JSON text in UTF-8; see ``parse(_:isLenient:)``.
  package static func parse(
    bytes: [UInt8], isLenient: Bool = false
  ) throws(JSONSyntaxError) -> JSON {
    try bytes.withUnsafeBufferPointer { (bytes) throws(JSONSyntaxError) in
      try parse(UnsafeRawBufferPointer(bytes), isLenient: isLenient)
    }
  }

  /// Parses one JSON text in UTF-8.
  ///
  /// - Parameters:
  ///   - bytes: the text.
  ///   - isLenient: whether what servers answer is taken as far as it can be read: names may repeat,
  ///     strings are repaired, and a number that was written with a point stays a ``double(_:)``.
  /// - Returns: the value.
  /// - Throws: ``JSONSyntaxError`` with the place of the first fault.
  package static func parse(
    _ bytes: UnsafeRawBufferPointer, isLenient: Bool = false
  ) throws(JSONSyntaxError) -> JSON {
    var parser = JSONParser(bytes: bytes, isLenient: isLenient)
    return try parser.document()
  }
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

  /// Takes a byte if it comes next.
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

  /// Whether there was a digit.
  mutating func skipDigits() -> Bool {
    let start = offset
    while let byte = current, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { offset += 1 }
    return offset > start
  }
}
