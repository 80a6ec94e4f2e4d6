extension JSON {
  /// The value on one line, members in their order.
  public var compact: String {
    var text = ""
    write(into: &text, indent: nil, sorted: false)
    return text
  }

  /// The value over several lines, indented by two spaces.
  public var pretty: String {
    var text = ""
    write(into: &text, indent: 0, sorted: false)
    return text
  }

  /// The canonical text: no spaces, members sorted by their names' UTF-8, numbers as ECMAScript
  /// writes them, whole ones beyond `Int` by all their digits.
  ///
  /// Equal values have equal texts on every platform; it is what is hashed.
  package var canonical: String {
    var text = ""
    write(into: &text, indent: nil, sorted: true)
    return text
  }

  /// The value as one command-line argument or table cell: strings bare, the rest as JSON.
  public var plainText: String {
    if case .string(let text) = self { return text }
    return compact
  }

  private func write(into text: inout String, indent: Int?, sorted: Bool) {
    switch self {
    case .null: text += "null"
    case .bool(let flag): text += flag ? "true" : "false"
    case .int(let number): text += String(number)
    case .largeInteger(let digits): text += digits
    case .double(let number):
      // All digits of a large one would be read back as a whole number that was written so.
      text += Self.decimal(number, plainDigits: sorted ? 21 : 18)
    case .string(let string): Self.quote(string, into: &text)
    case .array(let elements):
      Self.enclose("[", "]", count: elements.count, indent: indent, into: &text) { index, text in
        elements[index].write(into: &text, indent: indent.map { $0 + 1 }, sorted: sorted)
      }
    case .object(var members):
      if sorted { members.sort { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) } }
      Self.enclose("{", "}", count: members.count, indent: indent, into: &text) { index, text in
        Self.quote(members[index].key, into: &text)
        text += indent == nil ? ":" : ": "
        members[index].value.write(into: &text, indent: indent.map { $0 + 1 }, sorted: sorted)
      }
    }
  }

  private static func enclose(
    _ opening: String, _ closing: String, count: Int, indent: Int?, into text: inout String,
    element: (Int, inout String) -> Void
  ) {
    text += opening
    for index in 0..<count {
      if index > 0 { text += "," }
      if let indent { text += "\n" + String(repeating: "  ", count: indent + 1) }
      element(index, &text)
    }
    if let indent, count > 0 { text += "\n" + String(repeating: "  ", count: indent) }
    text += closing
  }

  private static func quote(_ string: String, into text: inout String) {
    text += "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case "\u{8}": text += "\\b"
      case "\u{C}": text += "\\f"
      case "\u{0}"..<"\u{20}":
        let digits = String(scalar.value, radix: 16)
        text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: text.unicodeScalars.append(scalar)
      }
    }
    text += "\""
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
