import Yams

/// Reads YAML, and so JSON, keeping places.
///
/// Scalars follow YAML 1.2's core schema, and a tag that is written out (`!!str 3`): `no` is a string,
/// `1e-3` a number, whole numbers are exact whatever their size.
enum YAMLReader {
  /// More values than this, with what aliases stand for written out, are a slip or an attack.
  static let maximalCount = 1_000_000

  static func read(_ text: String, file: String) throws -> SourceNode {
    let root: Node?
    do {
      root = try Yams.compose(yaml: text.withoutByteOrderMark)
    } catch let error as YamlError {
      throw SweepError(.data, message(for: error, file: file))
    }
    guard let root else {
      throw SweepError(.data, "\(file): the file is empty; a sweep needs at least 'grid' or 'list'")
    }
    var converter = YAMLConverter(file: file)
    return try converter.convert(root, depth: 0)
  }

  /// The value of a plain scalar.
  static func resolve(_ text: String) -> JSON {
    switch text {
    case "", "~", "null", "Null", "NULL": return .null
    case "true", "True", "TRUE": return .bool(true)
    case "false", "False", "FALSE": return .bool(false)
    default: break
    }
    guard let first = text.utf8.first, "+-.0123456789".utf8.contains(first) else {
      return .string(text)
    }
    return integer(text) ?? float(text) ?? .string(text)
  }

  /// Decimal digits with a sign or without, or hexadecimal and octal ones after `0x` and `0o`.
  static func integer(_ text: String) -> JSON? {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] where text.hasPrefix(prefix) {
      let digits = text.dropFirst(2)
      guard digits.utf8.first.map({ !"+-".utf8.contains($0) }) ?? false else { return nil }
      return UInt64(digits, radix: radix).flatMap { JSON.integer(String($0)) }
    }
    return JSON.integer(text)
  }

  /// A finite number with a point or an exponent, or without.
  static func float(_ text: String) -> JSON? {
    var bytes = Array(text.utf8)[...]
    func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }
    func digits() -> String {
      let run = bytes.prefix(while: isDigit)
      bytes = bytes.dropFirst(run.count)
      return String(decoding: run, as: UTF8.self)
    }
    var normal = ""
    if let sign = bytes.first, "+-".utf8.contains(sign) {
      normal = sign == UInt8(ascii: "-") ? "-" : ""
      bytes = bytes.dropFirst()
    }
    let whole = digits()
    var fraction = ""
    if bytes.first == UInt8(ascii: ".") {
      bytes = bytes.dropFirst()
      fraction = digits()
    }
    guard !whole.isEmpty || !fraction.isEmpty else { return nil }
    // Double's own parser wants digits around the point.
    normal += (whole.isEmpty ? "0" : whole) + "." + (fraction.isEmpty ? "0" : fraction)
    if let mark = bytes.first, "eE".utf8.contains(mark) {
      bytes = bytes.dropFirst()
      normal += "e"
      if let sign = bytes.first, "+-".utf8.contains(sign) {
        normal += sign == UInt8(ascii: "-") ? "-" : ""
        bytes = bytes.dropFirst()
      }
      let power = digits()
      guard !power.isEmpty else { return nil }
      normal += power
    }
    guard bytes.isEmpty, let number = Double(normal), number.isFinite else { return nil }
    return .number(number)
  }

  private static func message(for error: YamlError, file: String) -> String {
    switch error {
    case .scanner(let context, let problem, let mark, _),
      .parser(let context, let problem, let mark, _),
      .composer(let context, let problem, let mark, _):
      let during = context.map { " (\($0.text))" } ?? ""
      return "\(file):\(mark.line):\(mark.column): not YAML: \(problem)\(during)"
    case .duplicatedKeysInMapping(let duplicates, let context):
      let keys = duplicates.sorted().joined(separator: "', '")
      return
        "\(file):\(context.mark.line):\(context.mark.column): the key '\(keys)' appears twice in one mapping"
    default: return "\(file): not YAML: \(error)"
    }
  }
}

extension String {
  /// The text without the byte order mark that editors of some systems begin a file with.
  package var withoutByteOrderMark: String {
    unicodeScalars.first == "\u{FEFF}" ? String(unicodeScalars.dropFirst()) : self
  }
}
