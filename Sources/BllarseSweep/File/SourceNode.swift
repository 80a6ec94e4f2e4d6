/// A place in a sweep file, both counted from 1.
package struct Position: Sendable, Equatable {
  package let line: Int
  package let column: Int
}

/// A value of a sweep file with the place where it was written.
package struct SourceNode: Sendable {
  package struct Entry: Sendable {
    package let key: String
    package let position: Position
    package let value: SourceNode
  }

  package enum Content: Sendable {
    case scalar(JSON)
    case sequence([SourceNode])
    case mapping([Entry])
  }

  package let content: Content
  package let position: Position

  /// The node without its places.
  package var json: JSON {
    switch content {
    case .scalar(let value): value
    case .sequence(let nodes): .array(nodes.map(\.json))
    case .mapping(let entries): .object(entries.map { JSON.Member($0.key, $0.value.json) })
    }
  }

  /// What the node is, for messages.
  package var kind: String {
    switch content {
    case .scalar(.null): "nothing"
    case .scalar(let value): value.compact
    case .sequence: "a list"
    case .mapping: "a mapping"
    }
  }

  /// A node for a value that no file's text stands behind (a list printed by a program).
  package init(json: JSON, position: Position = Position(line: 1, column: 1)) {
    self.position = position
    switch json {
    case .array(let elements):
      content = .sequence(elements.map { SourceNode(json: $0, position: position) })
    case .object(let members):
      content = .mapping(
        members.map {
          Entry(
            key: $0.key, position: position, value: SourceNode(json: $0.value, position: position))
        })
    default: content = .scalar(json)
    }
  }

  package init(_ content: Content, at position: Position) {
    self.content = content
    self.position = position
  }
}
