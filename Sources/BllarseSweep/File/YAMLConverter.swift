import Yams

/// Turns a composed YAML document into nodes that keep their places: resolves scalars by their tags,
/// merges `<<`, and bounds depth and size.
struct YAMLConverter {
  private let file: String
  private var count = 0

  init(file: String) { self.file = file }

  mutating func convert(_ node: Node, depth: Int) throws -> SourceNode {
    let position = Position(line: node.mark?.line ?? 1, column: node.mark?.column ?? 1)
    guard depth < 64 else {
      throw SweepError(.data, "\(file):\(position.line): nested deeper than 64 levels")
    }
    count += 1
    guard count <= YAMLReader.maximalCount else {
      throw SweepError(
        .data,
        "\(file): more than \(YAMLReader.maximalCount) values, with aliases (*NAME) written out; write long axes as 'seeds' or 'random', or let a program print the list"
      )
    }
    switch node {
    case .scalar(let scalar):
      return SourceNode(.scalar(try value(of: scalar, at: position)), at: position)
    case .sequence(let sequence):
      try check(sequence.tag, named: ["seq"], what: "a list", at: position)
      var nodes: [SourceNode] = []
      nodes.reserveCapacity(sequence.count)
      for element in sequence { nodes.append(try convert(element, depth: depth + 1)) }
      return SourceNode(.sequence(nodes), at: position)
    case .mapping(let mapping):
      try check(mapping.tag, named: ["map"], what: "a mapping", at: position)
      return SourceNode(.mapping(try entries(of: mapping, depth: depth)), at: position)
    case .alias:
      throw SweepError(.data, "\(file):\(position.line): an alias without an anchor")
    }
  }

  private mutating func entries(
    of mapping: Node.Mapping, depth: Int
  ) throws -> [SourceNode.Entry] {
    var entries: [SourceNode.Entry] = []
    var merged: [SourceNode.Entry] = []
    for (key, value) in mapping {
      let place = Position(line: key.mark?.line ?? 1, column: key.mark?.column ?? 1)
      guard case .scalar(let name) = key else {
        throw SweepError(
          .data, "\(file):\(place.line):\(place.column): a key must be a word, not a structure")
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
      throw SweepError(
        .data, "\(file):\(node.position.line): '<<' merges mappings; found \(node.kind)")
    }
  }

  // MARK: - Tags

  private static let prefix = "tag:yaml.org,2002:"

  /// A scalar's value: as its tag says where one is written, else by its look.
  private func value(of scalar: Node.Scalar, at position: Position) throws -> JSON {
    let text = scalar.string
    let tag = scalar.tag.description
    // `!` alone means: not by its look.
    if tag.isEmpty { return scalar.style == .plain ? YAMLReader.resolve(text) : .string(text) }
    if tag == "!" { return .string(text) }
    let name = tag.hasPrefix(Self.prefix) ? String(tag.dropFirst(Self.prefix.count)) : tag
    let look = YAMLReader.resolve(text)
    switch name {
    case "str": return .string(text)
    case "int":
      if let number = YAMLReader.integer(text) { return number }
    case "float":
      if let number = YAMLReader.float(text) { return number }
    case "bool":
      if case .bool = look { return look }
    case "null":
      if look == .null { return .null }
    default: throw unknown(tag, at: position)
    }
    throw SweepError(
      .data,
      "\(file):\(position.line):\(position.column): '\(text)' is no value of !!\(name)"
    )
  }

  private func check(_ tag: Tag, named names: [String], what: String, at position: Position) throws
  {
    let tag = tag.description
    guard !tag.isEmpty, tag != "!", !names.contains(where: { tag == Self.prefix + $0 }) else {
      return
    }
    if ["str", "int", "float", "bool", "null"].contains(where: { tag == Self.prefix + $0 }) {
      throw SweepError(
        .data,
        "\(file):\(position.line):\(position.column): \(what) is no value of !!\(tag.dropFirst(Self.prefix.count))"
      )
    }
    throw unknown(tag, at: position)
  }

  private func unknown(_ tag: String, at position: Position) -> SweepError {
    let written =
      tag.hasPrefix(Self.prefix) ? "!!" + tag.dropFirst(Self.prefix.count) : tag
    return SweepError(
      .data,
      "\(file):\(position.line):\(position.column): the tag \(written) has no meaning here; known are !!str, !!int, !!float, !!bool, !!null, !!seq, !!map"
    )
  }
}
