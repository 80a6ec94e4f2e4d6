/// Where and why a text is not JSON.
package struct JSONSyntaxError: Error, Equatable, CustomStringConvertible {
  package let line: Int
  package let column: Int
  package let problem: String

  package var description: String { "line \(line), column \(column): \(problem)" }
}

extension JSON {
  /// Parses one JSON text (RFC 8259), with a byte order mark or without; duplicated member names and trailing
  /// text are refused.
  ///
  /// - Throws: ``JSONSyntaxError`` with the place of the first fault.
  package static func parse(_ text: some StringProtocol) throws(JSONSyntaxError) -> JSON {
    try parse(bytes: Array(text.utf8))
  }

  /// Parses one JSON text in UTF-8.
  package static func parse(bytes: [UInt8]) throws(JSONSyntaxError) -> JSON {
    var parser = JSONParser(bytes: bytes)
    return try parser.document()
  }
}

private struct JSONParser {
  let bytes: [UInt8]
  var offset = 0
  var depth = 0

  init(bytes: [UInt8]) { self.bytes = bytes }

  mutating func document() throws(JSONSyntaxError) -> JSON {
    // A byte order mark, which editors of some systems write, is no part of the text.
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { offset = 3 }
    let value = try self.value()
    skipSpace()
    guard offset == bytes.count else { throw fault("text after the end of the value") }
    return value
  }

  func fault(_ problem: String) -> JSONSyntaxError {
    var line = 1
    var column = 1
    for byte in bytes[..<min(offset, bytes.count)] {
      if byte == UInt8(ascii: "\n") {
        line += 1
        column = 1
      } else {
        column += 1
      }
    }
    return JSONSyntaxError(line: line, column: column, problem: problem)
  }

  var current: UInt8? { offset < bytes.count ? bytes[offset] : nil }

  mutating func skipSpace() {
    while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
      offset += 1
    }
  }

  mutating func expect(_ character: Unicode.Scalar) throws(JSONSyntaxError) {
    guard current == UInt8(ascii: character) else { throw fault("expected '\(character)'") }
    offset += 1
  }

  mutating func value() throws(JSONSyntaxError) -> JSON {
    skipSpace()
    switch current {
    case UInt8(ascii: "{"):
      return try nested { (parser) throws(JSONSyntaxError) in try parser.object() }
    case UInt8(ascii: "["):
      return try nested { (parser) throws(JSONSyntaxError) in try parser.array() }
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    case nil: throw fault("unexpected end")
    default: return try number()
    }
  }

  /// Bounds the recursion: a hostile file must not overflow the stack.
  mutating func nested(
    _ body: (inout JSONParser) throws(JSONSyntaxError) -> JSON
  ) throws(JSONSyntaxError) -> JSON {
    depth += 1
    guard depth <= 256 else { throw fault("nested deeper than 256 levels") }
    let value = try body(&self)
    depth -= 1
    return value
  }

  mutating func literal(_ word: StaticString, _ value: JSON) throws(JSONSyntaxError) -> JSON {
    for character in word.description.utf8 {
      guard current == character else { throw fault("expected '\(word)'") }
      offset += 1
    }
    return value
  }

  mutating func object() throws(JSONSyntaxError) -> JSON {
    try expect("{")
    var members: [JSON.Member] = []
    var names: Set<String> = []
    skipSpace()
    if current == UInt8(ascii: "}") {
      offset += 1
      return .object(members)
    }
    while true {
      skipSpace()
      guard current == UInt8(ascii: "\"") else { throw fault("expected a member's name") }
      let start = offset
      let key = try string()
      guard names.insert(key).inserted else {
        offset = start
        throw fault("the name '\(key)' appears twice")
      }
      skipSpace()
      try expect(":")
      members.append(JSON.Member(key, try value()))
      skipSpace()
      if current == UInt8(ascii: ",") {
        offset += 1
        continue
      }
      try expect("}")
      return .object(members)
    }
  }

  mutating func array() throws(JSONSyntaxError) -> JSON {
    try expect("[")
    var elements: [JSON] = []
    skipSpace()
    if current == UInt8(ascii: "]") {
      offset += 1
      return .array(elements)
    }
    while true {
      elements.append(try value())
      skipSpace()
      if current == UInt8(ascii: ",") {
        offset += 1
        continue
      }
      try expect("]")
      return .array(elements)
    }
  }

  mutating func string() throws(JSONSyntaxError) -> String {
    try expect("\"")
    var units: [UInt8] = []
    while let byte = current {
      offset += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let text = String(validating: units, as: UTF8.self) else {
          throw fault("a string that is not UTF-8")
        }
        return text
      case UInt8(ascii: "\\"): units.append(contentsOf: try escape())
      case 0..<0x20: throw fault("a control character in a string")
      default: units.append(byte)
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
    case UInt8(ascii: "u"):
      var code = UInt32(try hexadecimal())
      if (0xD800..<0xDC00).contains(code) {
        guard current == UInt8(ascii: "\\") else { throw fault("half of a surrogate pair") }
        offset += 1
        try expect("u")
        let low = UInt32(try hexadecimal())
        guard (0xDC00..<0xE000).contains(low) else { throw fault("half of a surrogate pair") }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else { throw fault("half of a surrogate pair") }
      return Array(String(Character(scalar)).utf8)
    default: throw fault("an unknown escape")
    }
  }

  mutating func hexadecimal() throws(JSONSyntaxError) -> UInt16 {
    guard offset + 4 <= bytes.count,
      let digits = String(validating: bytes[offset..<offset + 4], as: UTF8.self),
      digits.allSatisfy(\.isHexDigit), let code = UInt16(digits, radix: 16)
    else { throw fault("expected four hexadecimal digits") }
    offset += 4
    return code
  }

  mutating func number() throws(JSONSyntaxError) -> JSON {
    let start = offset
    var integral = true
    if current == UInt8(ascii: "-") { offset += 1 }
    guard let first = current, isDigit(first) else {
      offset = start
      throw fault("expected a value")
    }
    let firstDigit = offset
    digits()
    guard first != UInt8(ascii: "0") || offset == firstDigit + 1 else {
      throw fault("a number that begins with 0")
    }
    if current == UInt8(ascii: ".") {
      integral = false
      offset += 1
      guard let next = current, isDigit(next) else { throw fault("expected a digit after '.'") }
      digits()
    }
    if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
      integral = false
      offset += 1
      if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { offset += 1 }
      guard let next = current, isDigit(next) else { throw fault("expected an exponent") }
      digits()
    }
    let text = String(decoding: bytes[start..<offset], as: UTF8.self)
    if integral, let whole = JSON.integer(text) { return whole }
    guard let number = Double(text), number.isFinite else {
      throw fault("the number \(text) is too large")
    }
    return .number(number)
  }

  func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

  mutating func digits() {
    while let byte = current, isDigit(byte) { offset += 1 }
  }
}
