extension JSON {
  /// The value on one line, members in their order.
  public var compact: String { text(Writer(.standard)) }

  /// The value over several lines, indented by two spaces.
  public var pretty: String { text(Writer(.standard, isIndented: true)) }

  /// The canonical text: no spaces, members sorted by their names' UTF-8, numbers as ECMAScript
  /// writes them, whole ones beyond `Int` by all their digits.
  ///
  /// Equal values have equal texts on every platform; it is what is hashed.
  package var canonical: String { text(Writer(.standard, isSorted: true)) }

  /// The value as one command-line argument or table cell: strings bare, the rest as JSON.
  public var plainText: String {
    if case .string(let text) = self { return text }
    return compact
  }

  /// The value as a journal and MLflow's requests hold it, in UTF-8.
  package var bytes: [UInt8] {
    var writer = Writer()
    writer.append(self)
    return writer.bytes
  }

  private func text(_ writer: Writer) -> String {
    var writer = writer
    writer.append(self)
    return String(decoding: writer.bytes, as: UTF8.self)
  }

  /// A JSON text under construction.
  package struct Writer: Sendable {
    /// How numbers and control characters are spelled.
    package enum Style: Sendable {
      /// Numbers as ECMAScript writes them; escapes by letter where JSON has one.
      case standard
      /// Numbers as Swift writes them, those that are not finite as strings; escapes by code.
      ///
      /// MLflow's parser takes NaN and infinities as these strings only; bare words make it drop the
      /// rest of the message and answer 200.
      case tracking
    }

    package var bytes: [UInt8] = []
    private let style: Style
    private let isIndented: Bool
    private let isSorted: Bool
    private var depth = 0

    package init(_ style: Style = .tracking, isIndented: Bool = false, isSorted: Bool = false) {
      (self.style, self.isIndented, self.isSorted) = (style, isIndented, isSorted)
    }

    package mutating func append(raw text: StaticString) {
      text.withUTF8Buffer { bytes.append(contentsOf: $0) }
    }

    package mutating func append(integer value: Int) {
      bytes.append(contentsOf: String(value).utf8)
    }

    package mutating func append(number value: Double) {
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

    package mutating func append(string text: String) {
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
          bytes.append(Self.hexadecimal(byte >> 4))
          bytes.append(Self.hexadecimal(byte & 15))
        default: bytes.append(byte)
        }
      }
      bytes.append(UInt8(ascii: "\""))
    }

    package mutating func append(_ value: JSON) {
      switch value {
      case .null: append(raw: "null")
      case .bool(let flag): append(raw: flag ? "true" : "false")
      case .int(let number): append(integer: number)
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

    package static func hexadecimal(_ digit: UInt8) -> UInt8 {
      digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10
    }
  }

  /// The shortest decimal that reads back as `number`, laid out as ECMAScript's Number::toString
  /// (and RFC 8785) do: plain digits for exponents from −6 to 20, `1e-7` otherwise.
  ///
  /// - Parameters:
  ///   - number: finite.
  ///   - plainDigits: how many digits before the point are written out, at least 17.
  /// - Returns: the text.
  package static func decimal(_ number: Double, plainDigits: Int = 21) -> String {
    // Swift prints the shortest digits too; only their layout differs.
    var digits: [Character] = []
    var exponent = 0
    var seenPoint = false
    let parts = number.magnitude.description.split(separator: "e")
    for character in parts[0] {
      if character == "." {
        seenPoint = true
      } else {
        digits.append(character)
        if !seenPoint { exponent += 1 }
      }
    }
    if parts.count > 1 { exponent += Int(parts[1]) ?? 0 }
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
