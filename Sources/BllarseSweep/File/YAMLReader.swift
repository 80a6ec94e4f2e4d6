import Yams

/// Reads YAML, and so JSON, keeping places.
///
/// Plain scalars follow YAML 1.2's core schema: `no` is a
/// string, `1e-3` a number.
enum YAMLReader {
  static func read(_ text: String, file: String) throws -> SourceNode {
    let root: Node?
    do {
      root = try Yams.compose(yaml: text)
    } catch let error as YamlError {
      throw SweepError(.data, message(for: error, file: file))
    }
    guard let root else {
      throw SweepError(.data, "\(file): the file is empty; a sweep needs at least 'grid' or 'list'")
    }
    return try convert(root, file: file, depth: 0)
  }

  private static func convert(_ node: Node, file: String, depth: Int) throws -> SourceNode {
    let position = Position(line: node.mark?.line ?? 1, column: node.mark?.column ?? 1)
    guard depth < 64 else {
      throw SweepError(.data, "\(file):\(position.line): nested deeper than 64 levels")
    }
    switch node {
    case .scalar(let scalar):
      return SourceNode(
        .scalar(scalar.style == .plain ? resolve(scalar.string) : .string(scalar.string)),
        at: position)
    case .sequence(let sequence):
      return SourceNode(
        .sequence(try sequence.map { try convert($0, file: file, depth: depth + 1) }), at: position)
    case .mapping(let mapping):
      var entries: [SourceNode.Entry] = []
      var merged: [SourceNode.Entry] = []
      for (key, value) in mapping {
        let place = Position(line: key.mark?.line ?? 1, column: key.mark?.column ?? 1)
        guard case .scalar(let name) = key else {
          throw SweepError(
            .data, "\(file):\(place.line):\(place.column): a key must be a word, not a structure")
        }
        let converted = try convert(value, file: file, depth: depth + 1)
        if name.string == "<<", name.style == .plain {
          merged += try mergedEntries(converted, file: file)
        } else {
          entries.append(SourceNode.Entry(key: name.string, position: place, value: converted))
        }
      }
      let own = Set(entries.map(\.key))
      var seen = own
      return SourceNode(
        .mapping(merged.filter { seen.insert($0.key).inserted } + entries), at: position)
    case .alias:
      throw SweepError(.data, "\(file):\(position.line): an alias without an anchor")
    }
  }

  private static func mergedEntries(
    _ node: SourceNode, file: String
  ) throws -> [SourceNode.Entry] {
    switch node.content {
    case .mapping(let entries): return entries
    case .sequence(let nodes): return try nodes.flatMap { try mergedEntries($0, file: file) }
    case .scalar:
      throw SweepError(
        .data,
        "\(file):\(node.position.line): '<<' merges mappings; found \(node.kind)")
    }
  }

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
    if text.wholeMatch(of: /[-+]?[0-9]+/) != nil, let number = Int(text) { return .int(number) }
    if text.wholeMatch(of: /0x[0-9a-fA-F]+/) != nil, let number = Int(text.dropFirst(2), radix: 16)
    {
      return .int(number)
    }
    if text.wholeMatch(of: /[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?/) != nil {
      // Double's own parser wants digits around the point.
      var normal = text
      if normal.hasSuffix(".") { normal += "0" }
      if let number = Double(normal.replacing(/\.([eE]|$)/) { ".0\($0.output.1)" }),
        number.isFinite
      {
        return .number(number)
      }
    }
    return .string(text)
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
