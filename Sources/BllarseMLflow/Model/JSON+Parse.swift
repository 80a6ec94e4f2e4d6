/// What is wrong with a JSON text, and at which byte.
package struct JSONSyntaxError: Error, Equatable, CustomStringConvertible {
  package let offset: Int
  package let expected: String

  package var description: String { "byte \(offset): expected \(expected)" }
}

extension JSON {
  /// Reads one JSON value that fills `bytes`, apart from white space.
  ///
  /// - Throws: ``JSONSyntaxError``; nothing half-read is returned.
  package init(parsing bytes: [UInt8]) throws(JSONSyntaxError) {
    self = try bytes.withUnsafeBufferPointer { buffer throws(JSONSyntaxError) in
      try JSON(parsing: buffer)
    }
  }

  package init(parsing bytes: UnsafeBufferPointer<UInt8>) throws(JSONSyntaxError) {
    var parser = Parser(bytes: bytes)
    self = try parser.value(depth: 0)
    parser.skipSpace()
    guard parser.position == bytes.count else { throw parser.error("the end") }
  }

  private struct Parser {
    let bytes: UnsafeBufferPointer<UInt8>
    var position = 0

    func error(_ expected: String) -> JSONSyntaxError {
      JSONSyntaxError(offset: position, expected: expected)
    }

    var current: UInt8 { position < bytes.count ? bytes[position] : 0 }

    mutating func skipSpace() {
      while position < bytes.count, [0x20, 0x0A, 0x0D, 0x09].contains(bytes[position]) {
        position += 1
      }
    }

    mutating func value(depth: Int) throws(JSONSyntaxError) -> JSON {
      guard depth < 128 else { throw error("at most 128 levels") }
      skipSpace()
      switch current {
      case UInt8(ascii: "{"): return try object(depth: depth)
      case UInt8(ascii: "["): return try array(depth: depth)
      case UInt8(ascii: "\""): return .string(try string())
      case UInt8(ascii: "t"): return try word("true", .bool(true))
      case UInt8(ascii: "f"): return try word("false", .bool(false))
      case UInt8(ascii: "n"): return try word("null", .null)
      case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
      default: throw error("a value")
      }
    }

    mutating func word(_ text: StaticString, _ value: JSON) throws(JSONSyntaxError) -> JSON {
      let count = text.utf8CodeUnitCount
      guard position + count <= bytes.count,
        UnsafeBufferPointer(rebasing: bytes[position..<position + count])
          .elementsEqual(UnsafeBufferPointer(start: text.utf8Start, count: count))
      else { throw error(text.description) }
      position += count
      return value
    }

    mutating func number() throws(JSONSyntaxError) -> JSON {
      let start = position
      var isInteger = true
      while position < bytes.count {
        switch bytes[position] {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"): break
        case UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"), UInt8(ascii: "+"):
          isInteger = false
        default:
          return try convert(start..<position, isInteger: isInteger)
        }
        position += 1
      }
      return try convert(start..<position, isInteger: isInteger)
    }

    func convert(_ range: Range<Int>, isInteger: Bool) throws(JSONSyntaxError) -> JSON {
      let text = String(decoding: bytes[range], as: UTF8.self)
      if isInteger, let value = Int(text) { return .integer(value) }
      guard let value = Double(text) else { throw error("a number") }
      return .number(value)
    }

    mutating func string() throws(JSONSyntaxError) -> String {
      position += 1
      let start = position
      // Most strings have no escapes and are taken in one piece.
      while position < bytes.count, bytes[position] != UInt8(ascii: "\"") {
        if bytes[position] == UInt8(ascii: "\\") { return try escapedString(from: start) }
        position += 1
      }
      guard position < bytes.count else { throw error("a closing quote") }
      position += 1
      return String(decoding: bytes[start..<position - 1], as: UTF8.self)
    }

    mutating func escapedString(from start: Int) throws(JSONSyntaxError) -> String {
      var text = Array(bytes[start..<position])
      while position < bytes.count {
        let byte = bytes[position]
        position += 1
        if byte == UInt8(ascii: "\"") { return String(decoding: text, as: UTF8.self) }
        guard byte == UInt8(ascii: "\\") else {
          text.append(byte)
          continue
        }
        let escape = current
        position += 1
        switch escape {
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(escape)
        case UInt8(ascii: "u"): text.append(contentsOf: String(try unicodeEscape()).utf8)
        default: throw error("an escape")
        }
      }
      throw error("a closing quote")
    }

    mutating func unicodeEscape() throws(JSONSyntaxError) -> Character {
      let high = try hexadecimalUnit()
      if (0xD800..<0xDC00).contains(high), current == UInt8(ascii: "\\"),
        position + 1 < bytes.count, bytes[position + 1] == UInt8(ascii: "u")
      {
        let mark = position
        position += 2
        let low = try hexadecimalUnit()
        if (0xDC00..<0xE000).contains(low),
          let scalar = Unicode.Scalar(0x10000 + (high - 0xD800) << 10 + (low - 0xDC00))
        {
          return Character(scalar)
        }
        position = mark
      }
      return Character(Unicode.Scalar(high) ?? "\u{FFFD}")
    }

    mutating func hexadecimalUnit() throws(JSONSyntaxError) -> UInt32 {
      guard position + 4 <= bytes.count,
        let unit = UInt32(
          String(decoding: bytes[position..<position + 4], as: UTF8.self), radix: 16)
      else { throw error("four hexadecimal digits") }
      position += 4
      return unit
    }

    mutating func array(depth: Int) throws(JSONSyntaxError) -> JSON {
      position += 1
      var items: [JSON] = []
      skipSpace()
      if current == UInt8(ascii: "]") {
        position += 1
        return .array(items)
      }
      while true {
        items.append(try value(depth: depth + 1))
        skipSpace()
        let separator = current
        guard separator == UInt8(ascii: ",") || separator == UInt8(ascii: "]") else {
          throw error("',' or ']'")
        }
        position += 1
        if separator == UInt8(ascii: "]") { return .array(items) }
      }
    }

    mutating func object(depth: Int) throws(JSONSyntaxError) -> JSON {
      position += 1
      var members: [Member] = []
      skipSpace()
      if current == UInt8(ascii: "}") {
        position += 1
        return .object(members)
      }
      while true {
        skipSpace()
        guard current == UInt8(ascii: "\"") else { throw error("a key") }
        let key = try string()
        skipSpace()
        guard current == UInt8(ascii: ":") else { throw error("':'") }
        position += 1
        members.append(Member(key, try value(depth: depth + 1)))
        skipSpace()
        let separator = current
        guard separator == UInt8(ascii: ",") || separator == UInt8(ascii: "}") else {
          throw error("',' or '}'")
        }
        position += 1
        if separator == UInt8(ascii: "}") { return .object(members) }
      }
    }
  }
}
