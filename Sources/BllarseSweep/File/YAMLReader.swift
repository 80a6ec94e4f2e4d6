import Yams

/// Reads YAML, and so JSON, keeping places.
///
/// Scalars follow YAML 1.2's core schema, and a tag that is written out (`!!str 3`): `no` is a string,
/// `1e-3` a number, whole numbers are exact whatever their size.
enum YAMLReader {
  /// More values than this, with what aliases stand for written out, are a slip or an attack.
  static let maximalCount = 1_000_000

  static func read(_ text: String, file: String) throws -> SourceNode {
    // Editors of some systems begin a file with a byte order mark.
    let scalars = text.unicodeScalars
    let text = scalars.first == "\u{FEFF}" ? String(scalars.dropFirst()) : text
    do {
      guard let root = try Yams.compose(yaml: text) else {
        throw SweepError.data("\(file): the file is empty; a sweep needs at least 'grid' or 'list'")
      }
      var converter = YAMLConverter(file: file)
      return try converter.convert(root, depth: 0)
    } catch let error as YamlError { throw SweepError.data(message(for: error, file: file)) }
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
    let isNegative = text.hasPrefix("-")
    let parts = (isNegative || text.hasPrefix("+") ? text.dropFirst() : text[...])
      .split(maxSplits: 1, omittingEmptySubsequences: false) { "eE".contains($0) }
    let halves = parts[0].split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    func areDigits(_ text: Substring) -> Bool {
      text.utf8.allSatisfy { (0x30...0x39).contains($0) }
    }
    guard halves.allSatisfy(areDigits), halves.contains(where: { !$0.isEmpty }) else { return nil }
    // Double's own parser wants digits around the point.
    var normal = halves.map { $0.isEmpty ? "0" : $0 }.joined(separator: ".")
    if parts.count > 1 {
      let power = "+-".contains(parts[1].first ?? " ") ? parts[1].dropFirst() : parts[1]
      guard !power.isEmpty, areDigits(power) else { return nil }
      normal += parts[1].hasPrefix("-") ? "e-\(power)" : "e\(power)"
    }
    guard let number = Double(normal), number.isFinite else { return nil }
    return .number(isNegative ? -number : number)
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
      let mark = context.mark
      return "\(file):\(mark.line):\(mark.column): the key '\(keys)' appears twice in one mapping"
    default: return "\(file): not YAML: \(error)"
    }
  }
}

/// Turns a composed YAML document into nodes that keep their places: resolves scalars by their tags,
/// merges `<<`, and bounds depth and size.
private struct YAMLConverter {
  let file: String
  private var count = 0

  init(file: String) { self.file = file }

  mutating func convert(_ node: Node, depth: Int) throws -> SourceNode {
    let position = Position(line: node.mark?.line ?? 1, column: node.mark?.column ?? 1)
    guard depth < 64 else {
      throw SweepError.data("\(file):\(position.line): nested deeper than 64 levels")
    }
    count += 1
    guard count <= YAMLReader.maximalCount else {
      throw SweepError.data(
        "\(file): more than \(YAMLReader.maximalCount) values, with aliases (*NAME) written out; write long axes as 'seeds' or 'random', or let a program print the list"
      )
    }
    let content: SourceNode.Content
    switch node {
    case .scalar(let scalar): content = .scalar(try value(of: scalar, at: position))
    case .sequence(let sequence):
      try check(sequence.tag, "seq", what: "a list", at: position)
      content = .sequence(try sequence.map { try convert($0, depth: depth + 1) })
    case .mapping(let mapping):
      try check(mapping.tag, "map", what: "a mapping", at: position)
      content = .mapping(try entries(of: mapping, depth: depth))
    case .alias: throw SweepError.data("\(file):\(position.line): an alias without an anchor")
    }
    return SourceNode(content, at: position)
  }

  private func fault(_ message: String, at position: Position) -> SweepError {
    SweepError.data("\(file):\(position): \(message)")
  }

  private mutating func entries(of mapping: Node.Mapping, depth: Int) throws -> [SourceNode.Entry] {
    var entries: [SourceNode.Entry] = []
    var merged: [SourceNode.Entry] = []
    for (key, value) in mapping {
      let place = Position(line: key.mark?.line ?? 1, column: key.mark?.column ?? 1)
      guard case .scalar(let name) = key else {
        throw fault("a key must be a word, not a structure", at: place)
      }
      let tag = name.tag.description
      guard tag.isEmpty || tag == "!" || tag.hasPrefix(Self.prefix) else {
        throw unknown(tag, at: place)
      }
      let converted = try convert(value, depth: depth + 1)
      if name.string == "<<", name.style == .plain {
        merged += try mergedEntries(converted)
      } else {
        entries.append(SourceNode.Entry(key: name.string, position: place, value: converted))
      }
    }
    var seen = Set(entries.map(\.key))
    return merged.filter { seen.insert($0.key).inserted } + entries
  }

  private func mergedEntries(_ node: SourceNode) throws -> [SourceNode.Entry] {
    switch node.content {
    case .mapping(let entries): return entries
    case .sequence(let nodes): return try nodes.flatMap { try mergedEntries($0) }
    case .scalar:
      throw SweepError.data(
        "\(file):\(node.position.line): '<<' merges mappings; found \(node.kind)")
    }
  }

  private static let prefix = "tag:yaml.org,2002:"

  /// A scalar's value: as its tag says where one is written, else by its look.
  private func value(of scalar: Node.Scalar, at position: Position) throws -> JSON {
    let text = scalar.string
    let tag = scalar.tag.description
    // `!` alone means: not by its look.
    if tag.isEmpty { return scalar.style == .plain ? YAMLReader.resolve(text) : .string(text) }
    if tag == "!" { return .string(text) }
    let look = YAMLReader.resolve(text)
    let value: JSON? =
      switch Self.short(tag) {
      case "str": .string(text)
      case "int": YAMLReader.integer(text)
      case "float": YAMLReader.float(text)
      case "bool": look.boolValue == nil ? nil : look
      case "null": look == .null ? look : nil
      default: throw unknown(tag, at: position)
      }
    if let value { return value }
    throw fault("'\(text)' is no value of !!\(Self.short(tag))", at: position)
  }

  private func check(_ tag: Tag, _ name: String, what: String, at position: Position) throws {
    let tag = tag.description
    guard !tag.isEmpty, tag != "!", tag != Self.prefix + name else { return }
    guard ["str", "int", "float", "bool", "null"].contains(Self.short(tag)) else {
      throw unknown(tag, at: position)
    }
    throw fault("\(what) is no value of !!\(Self.short(tag))", at: position)
  }

  /// `int` for YAML's own tags.
  private static func short(_ tag: String) -> String {
    tag.hasPrefix(prefix) ? String(tag.dropFirst(prefix.count)) : tag
  }

  private func unknown(_ tag: String, at position: Position) -> SweepError {
    let shown = (tag.hasPrefix(Self.prefix) ? "!!" : "") + Self.short(tag)
    let known = "!!str, !!int, !!float, !!bool, !!null, !!seq, !!map"
    return fault("the tag \(shown) has no meaning here; known are \(known)", at: position)
  }
}
