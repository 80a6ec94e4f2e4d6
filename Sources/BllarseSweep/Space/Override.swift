/// A value that all configurations get, whatever their file says.
package struct Override: Sendable, Equatable {
  package let key: String
  package let value: JSON

  /// Reads `key=value`, the value as in a sweep file.
  package init(parsing text: String) throws {
    func fault(_ problem: String) -> SweepError { SweepError.usage("--set \(text): \(problem)") }
    guard let equals = text.firstIndex(of: "=") else {
      throw fault("expected KEY=VALUE, such as epochs=3")
    }
    key = BlockDecoder.normalized(text[..<equals].trimmed)
    guard BlockDecoder.isKey(key) else {
      throw fault(
        "'\(key)' cannot be an option's name: letters, digits and underscores are allowed")
    }
    let written = text[text.index(after: equals)...].trimmed
    let node: SourceNode
    // Only these begin something with an end of its own; all else is a word as it stands.
    if let first = written.first, "[{\"'".contains(first) {
      do {
        node = try YAMLReader.read(written, file: "--set \(key)")
      } catch let error as SweepError {
        throw fault("the value cannot be read (\(error.description))")
      }
    } else {
      node = SourceNode(.scalar(YAMLReader.resolve(written)), at: Position())
    }
    switch node.content {
    case .scalar(.string(let word)):
      guard case .string(let literal)? = Template.parse(word)?.literal else {
        throw fault(
          "a value for all configurations is fixed; references such as ${key} belong in the file")
      }
      value = .string(literal)
    case .scalar(let scalar): value = scalar
    case .sequence(let nodes):
      value = .array(
        try nodes.map { element in
          guard case .scalar(let scalar) = element.content else {
            throw fault("a list holds words, numbers, true, false and null; found \(element.kind)")
          }
          guard case .string(let word) = scalar else { return scalar }
          guard let literal = Template.parse(word)?.literal else {
            throw fault("a value for all configurations is fixed; '\(word)' refers to another key")
          }
          return literal
        })
    case .mapping:
      throw fault(
        "a value is a word, a number, true, false, null or a list of those; found a mapping")
    }
  }

  package static func parse(_ texts: [String]) throws -> [Override] {
    var overrides: [Override] = []
    for text in texts {
      let override = try Override(parsing: text)
      if let other = overrides.first(where: { $0.key == override.key }) {
        throw SweepError.usage(
          "--set \(text): '\(override.key)' is set to \(other.value.compact) already; each key once"
        )
      }
      overrides.append(override)
    }
    return overrides
  }
}

extension SweepFile {
  /// The sweep with fixed values for some keys in every configuration, which conditions, tables and
  /// references see; an axis of nothing but such keys is gone.
  package func overriding(_ overrides: [Override]) throws -> SweepFile {
    guard !overrides.isEmpty else { return self }
    var file = self
    file.overrides = overrides
    let own = program.runOptions.map { BlockDecoder.normalized(String($0.drop { $0 == "-" })) }
    for override in overrides where own.contains(override.key) {
      throw SweepError.usage(
        "--set \(override.key): the sweep itself gives each run its '\(override.key)'")
    }
    for override in overrides
    where override.value == .array([]) && program.lists[override.key] != .json {
      throw SweepError.usage(
        "--set \(override.key)=[]: an empty list gives the program nothing; '--set \(override.key)=' leaves the option out"
      )
    }
    let keys = Set(overrides.map(\.key))
    var base = file.space.base
    file.space = file.space.removing(keys)
    for override in overrides {
      let entry = (key: override.key, value: Template.literal(override.value))
      if let place = base.firstIndex(where: { $0.key == override.key }) {
        base[place] = entry
      } else {
        base.append(entry)
      }
    }
    file.space.base = base
    return file
  }
}

extension Block {
  fileprivate func removing(_ keys: Set<String>) -> Block {
    var block = self
    block.base.removeAll { keys.contains($0.key) }
    block.dimensions = dimensions.compactMap { dimension in
      switch dimension {
      case .axis(let axis): axis.removing(keys).map { .axis($0) }
      case .block(let inner): .block(inner.removing(keys))
      case .concatenation(let blocks): .concatenation(blocks.map { $0.removing(keys) })
      }
    }
    return block
  }
}

extension Axis {
  /// The axis with nothing that sets some keys; nil when it sets nothing else.
  fileprivate func removing(_ keys: Set<String>) -> Axis? {
    guard self.keys.contains(where: keys.contains) else { return self }
    guard !self.keys.allSatisfy(keys.contains) else { return nil }
    var axis = self
    switch points {
    case .rows(let rows):
      axis.points = .rows(rows.map { row in row.filter { !keys.contains($0.key) } })
    case .random(var random):
      random.parameters.removeAll { keys.contains($0.key) }
      axis.points = .random(random)
    }
    return axis
  }
}
