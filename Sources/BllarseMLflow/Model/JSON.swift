/// A JSON value: integers are kept apart from other numbers, members keep their order.
package enum JSON: Equatable, Sendable {
  case null
  case bool(Bool)
  case integer(Int)
  case number(Double)
  case string(String)
  case array([JSON])
  case object([Member])

  /// One member of an object.
  package struct Member: Equatable, Sendable {
    package var key: String
    package var value: JSON

    package init(_ key: String, _ value: JSON) {
      self.key = key
      self.value = value
    }
  }

  /// The value of a member, nil if there is none or this is no object.
  package subscript(key: String) -> JSON? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.key == key }?.value
  }

  package var string: String? { if case .string(let value) = self { value } else { nil } }

  package var array: [JSON]? { if case .array(let value) = self { value } else { nil } }

  package var members: [Member]? { if case .object(let value) = self { value } else { nil } }

  /// A whole number, also one that was written as a string, as protobuf writes 64-bit integers.
  package var integer: Int? {
    switch self {
    case .integer(let value): value
    case .number(let value): Int(exactly: value)
    case .string(let text): Int(text)
    default: nil
    }
  }

  /// A number, or one of the strings that stand for NaN and the infinities.
  package var double: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .number(let value): value
    case .string("NaN"): .nan
    case .string("Infinity"): .infinity
    case .string("-Infinity"): -.infinity
    default: nil
    }
  }
}

extension JSON {
  /// The value with each string in it, keys included, replaced.
  package func mapStrings(_ transform: (String) -> String) -> JSON {
    switch self {
    case .string(let text): .string(transform(text))
    case .array(let items): .array(items.map { $0.mapStrings(transform) })
    case .object(let members):
      .object(members.map { Member(transform($0.key), $0.value.mapStrings(transform)) })
    case .null, .bool, .integer, .number: self
    }
  }
}

// MARK: - Writing

extension JSON {
  /// Bytes under construction.
  ///
  /// Appending a value never writes a bare NaN or infinity.
  package struct Writer: Sendable {
    package var bytes: [UInt8] = []

    package init() {}

    package mutating func append(raw text: StaticString) {
      text.withUTF8Buffer { bytes.append(contentsOf: $0) }
    }

    package mutating func append(integer value: Int) {
      append(ascii: String(value))
    }

    /// MLflow's parser takes NaN and infinities as these strings only; bare words make it drop the
    /// rest of the message and answer 200.
    package mutating func append(number value: Double) {
      if value.isFinite {
        append(ascii: value.description)
      } else if value.isNaN {
        append(raw: "\"NaN\"")
      } else {
        append(raw: value > 0 ? "\"Infinity\"" : "\"-Infinity\"")
      }
    }

    package mutating func append(string text: String) {
      bytes.append(UInt8(ascii: "\""))
      var text = text
      text.withUTF8 { utf8 in
        for byte in utf8 {
          switch byte {
          case UInt8(ascii: "\""): append(raw: "\\\"")
          case UInt8(ascii: "\\"): append(raw: "\\\\")
          case UInt8(ascii: "\n"): append(raw: "\\n")
          case 0..<0x20, 0x7F:
            append(raw: "\\u00")
            bytes.append(Self.hexadecimal(byte >> 4))
            bytes.append(Self.hexadecimal(byte & 15))
          default: bytes.append(byte)
          }
        }
      }
      bytes.append(UInt8(ascii: "\""))
    }

    package mutating func append(_ value: JSON) {
      switch value {
      case .null: append(raw: "null")
      case .bool(let flag): append(raw: flag ? "true" : "false")
      case .integer(let number): append(integer: number)
      case .number(let number): append(number: number)
      case .string(let text): append(string: text)
      case .array(let items):
        append(raw: "[")
        for (index, item) in items.enumerated() {
          if index > 0 { append(raw: ",") }
          append(item)
        }
        append(raw: "]")
      case .object(let members):
        append(raw: "{")
        for (index, member) in members.enumerated() {
          if index > 0 { append(raw: ",") }
          append(string: member.key)
          append(raw: ":")
          append(member.value)
        }
        append(raw: "}")
      }
    }

    private mutating func append(ascii text: String) {
      var text = text
      text.withUTF8 { bytes.append(contentsOf: $0) }
    }

    static func hexadecimal(_ digit: UInt8) -> UInt8 {
      digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10
    }
  }

  /// The value as UTF-8 text.
  package var bytes: [UInt8] {
    var writer = Writer()
    writer.append(self)
    return writer.bytes
  }

  /// An object whose members are strings, in the order of their keys.
  package static func strings(_ values: [String: String]) -> JSON {
    .object(values.sorted { $0.key < $1.key }.map { Member($0.key, .string($0.value)) })
  }
}
