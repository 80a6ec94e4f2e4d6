/// A value of a JSON text.
///
/// Unlike Foundation's readers this one keeps the order of an object's members, refuses a name that
/// occurs twice, and says at which byte a text is wrong; file headers need all three.
package indirect enum JSONText: Equatable, Sendable {
  case null
  case boolean(Bool)
  /// An integer that fits 64 bits.
  case integer(Int)
  case number(Double)
  case string(String)
  case array([JSONText])
  case object([(name: String, value: JSONText)])

  /// Where a text is wrong, and why.
  package struct Fault: Error, Equatable {
    /// The byte, from 0.
    package let offset: Int
    /// A clause: "the object's name 'a' occurs twice".
    package let reason: String
  }

  package static func == (left: JSONText, right: JSONText) -> Bool {
    switch (left, right) {
    case (.null, .null): true
    case (.boolean(let a), .boolean(let b)): a == b
    case (.integer(let a), .integer(let b)): a == b
    case (.number(let a), .number(let b)): a == b
    case (.string(let a), .string(let b)): a == b
    case (.array(let a), .array(let b)): a == b
    case (.object(let a), .object(let b)):
      a.count == b.count && zip(a, b).allSatisfy { $0.name == $1.name && $0.value == $1.value }
    default: false
    }
  }

  /// The member of an object; `nil` when there is none or this is no object.
  package subscript(name: String) -> JSONText? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name == name }?.value
  }

  /// Reads a text that is one value and white space.
  package init(parsing bytes: UnsafeRawBufferPointer) throws(Fault) {
    var parser = JSONParser(bytes: bytes)
    self = try parser.document()
  }

  /// Reads a text that is one value and white space.
  package init(parsing text: String) throws(Fault) {
    self = try Array(text.utf8).withUnsafeBufferPointer { (bytes) throws(Fault) in
      try JSONText(parsing: UnsafeRawBufferPointer(bytes))
    }
  }
}

// MARK: - Writing

extension JSONText {
  /// A string with its quotation marks, escaped.
  package static func quote(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      case "\u{0}"..<"\u{20}", "\u{7F}":
        let hex = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}

// MARK: - Reading

/// A recursive descent over the bytes of a JSON text (RFC 8259).
private struct JSONParser {
  let bytes: UnsafeRawBufferPointer
  var position = 0
  var depth = 0

  init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  func fault(_ reason: String) -> JSONText.Fault { .init(offset: position, reason: reason) }

  mutating func document() throws(JSONText.Fault) -> JSONText {
    let value = try value()
    skipSpace()
    guard position == bytes.count else { throw fault("there is more after the value") }
    return value
  }

  mutating func skipSpace() {
    while position < bytes.count, [0x20, 0x0A, 0x0D, 0x09].contains(bytes[position]) {
      position += 1
    }
  }

  /// Consumes a byte if it comes next, after white space.
  mutating func take(_ character: Unicode.Scalar) -> Bool {
    skipSpace()
    guard position < bytes.count, UInt32(bytes[position]) == character.value else { return false }
    position += 1
    return true
  }

  mutating func value() throws(JSONText.Fault) -> JSONText {
    skipSpace()
    guard position < bytes.count else { throw fault("the text ends where a value should start") }
    switch Unicode.Scalar(bytes[position]) {
    case "{": return try nested { (parser) throws(JSONText.Fault) in try parser.object() }
    case "[": return try nested { (parser) throws(JSONText.Fault) in try parser.array() }
    case "\"": return .string(try string())
    case "t": return try word("true", .boolean(true))
    case "f": return try word("false", .boolean(false))
    case "n": return try word("null", .null)
    default: return try number()
    }
  }

  mutating func nested(
    _ body: (inout JSONParser) throws(JSONText.Fault) -> JSONText
  ) throws(JSONText.Fault) -> JSONText {
    guard depth < 64 else { throw fault("values are nested more than 64 deep") }
    depth += 1
    position += 1
    defer { depth -= 1 }
    return try body(&self)
  }

  mutating func object() throws(JSONText.Fault) -> JSONText {
    var members: [(name: String, value: JSONText)] = []
    var names: Set<String> = []
    if take("}") { return .object([]) }
    repeat {
      skipSpace()
      guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else {
        throw fault("a name in quotation marks is missing")
      }
      let start = position
      let name = try string()
      guard names.insert(name).inserted else {
        throw JSONText.Fault(offset: start, reason: "the name \(name.quoted()) occurs twice")
      }
      guard take(":") else { throw fault("a colon is missing") }
      members.append((name, try value()))
    } while take(",")
    guard take("}") else { throw fault("a comma or a closing brace is missing") }
    return .object(members)
  }

  mutating func array() throws(JSONText.Fault) -> JSONText {
    var elements: [JSONText] = []
    if take("]") { return .array([]) }
    repeat { elements.append(try value()) } while take(",")
    guard take("]") else { throw fault("a comma or a closing bracket is missing") }
    return .array(elements)
  }

  mutating func word(_ text: StaticString, _ value: JSONText) throws(JSONText.Fault) -> JSONText {
    let count = text.utf8CodeUnitCount
    let matches =
      position + count <= bytes.count
      && (0..<count).allSatisfy { bytes[position + $0] == text.utf8Start[$0] }
    guard matches else { throw fault("no JSON value starts like this") }
    position += count
    return value
  }

  mutating func number() throws(JSONText.Fault) -> JSONText {
    let start = position
    var end = start
    while end < bytes.count, "+-.eE0123456789".utf8.contains(bytes[end]) { end += 1 }
    let text = String(decoding: bytes[start..<end], as: UTF8.self)
    guard JSONParser.isNumber(text) else { throw fault("no JSON value starts like this") }
    position = end
    if let integer = Int(text) { return .integer(integer) }
    guard let number = Double(text), number.isFinite else {
      throw JSONText.Fault(offset: start, reason: "the number \(text.quoted()) is too large")
    }
    return .number(number)
  }

  /// JSON's grammar of numbers: `-? (0 | [1-9][0-9]*) (\.[0-9]+)? ([eE][+-]?[0-9]+)?`.
  static func isNumber(_ text: String) -> Bool {
    var rest = text.utf8[...]
    func digits() -> Int {
      let count = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }.count
      rest = rest.dropFirst(count)
      return count
    }
    func take(_ characters: String) -> Bool {
      guard let first = rest.first, characters.utf8.contains(first) else { return false }
      rest = rest.dropFirst()
      return true
    }
    _ = take("-")
    let leadingZero = rest.first == UInt8(ascii: "0")
    let integerDigits = digits()
    guard integerDigits > 0, !leadingZero || integerDigits == 1 else { return false }
    if take("."), digits() == 0 { return false }
    if take("eE") {
      _ = take("+-")
      if digits() == 0 { return false }
    }
    return rest.isEmpty
  }

  mutating func string() throws(JSONText.Fault) -> String {
    let start = position
    position += 1
    var content: [UInt8] = []
    while true {
      guard position < bytes.count else {
        throw JSONText.Fault(offset: start, reason: "a string does not end")
      }
      let byte = bytes[position]
      position += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let text = String(validating: content, as: UTF8.self) else {
          throw JSONText.Fault(offset: start, reason: "a string is not UTF-8")
        }
        return text
      case UInt8(ascii: "\\"): try escape(into: &content)
      case 0..<0x20: throw fault("a string holds a bare control character")
      default: content.append(byte)
      }
    }
  }

  mutating func escape(into content: inout [UInt8]) throws(JSONText.Fault) {
    guard position < bytes.count else { throw fault("a string does not end") }
    let kind = Unicode.Scalar(bytes[position])
    position += 1
    switch kind {
    case "\"", "\\", "/": content.append(UInt8(kind.value))
    case "b": content.append(0x08)
    case "f": content.append(0x0C)
    case "n": content.append(0x0A)
    case "r": content.append(0x0D)
    case "t": content.append(0x09)
    case "u":
      var code = try hexadecimal()
      if (0xD800..<0xDC00).contains(code), position + 1 < bytes.count,
        bytes[position] == UInt8(ascii: "\\"), bytes[position + 1] == UInt8(ascii: "u")
      {
        position += 2
        let low = try hexadecimal()
        guard (0xDC00..<0xE000).contains(low) else { throw fault("a surrogate stands alone") }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else { throw fault("a surrogate stands alone") }
      content.append(contentsOf: String(Character(scalar)).utf8)
    default: throw fault("an escape is none of JSON's")
    }
  }

  mutating func hexadecimal() throws(JSONText.Fault) -> UInt32 {
    guard position + 4 <= bytes.count,
      let code = UInt32(String(decoding: bytes[position..<position + 4], as: UTF8.self), radix: 16),
      bytes[position] != UInt8(ascii: "+")
    else { throw fault("an escape needs four hexadecimal digits") }
    position += 4
    return code
  }
}
