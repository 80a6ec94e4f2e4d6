/// Collects the faults of a file, so that all are told at once.
final class Diagnostics {
  private let file: String
  private var left = 0
  private var faults: [(position: Position, message: String)] = []

  init(file: String) { self.file = file }

  /// More faults than a person reads at once: looking for others, and for suggestions, is in vain.
  static let maximalCount = 100

  /// Keeps a fault, unless there are enough; what is not kept is not put into words.
  func report(_ message: @autoclosure () -> String, at position: Position) {
    if faults.count < Self.maximalCount {
      faults.append((position, message()))
    } else {
      left += 1
    }
  }

  func fault<Value>(_ message: @autoclosure () -> String, at position: Position) -> Value? {
    report(message(), at: position)
    return nil
  }

  /// The entries of a mapping; of anything else none, which is a fault.
  func entries(
    _ node: SourceNode, else message: @autoclosure () -> String
  ) -> [SourceNode.Entry] {
    if case .mapping(let entries) = node.content { return entries }
    report(message(), at: node.position)
    return []
  }

  func unknown(
    _ entry: SourceNode.Entry, under section: String, known: [String], advice: String = ""
  ) {
    report(
      "unknown key '\(entry.key)' under '\(section)'\(hint(for: BlockDecoder.normalized(entry.key), among: known)) (keys: \(known.joined(separator: ", "))\(advice))",
      at: entry.position)
  }

  /// Throws one error that lists the faults in the file's order.
  func throwIfAny() throws {
    guard !faults.isEmpty else { return }
    let sorted = faults.enumerated().sorted {
      let (a, b) = ($0.element.position, $1.element.position)
      return (a.line, a.column, $0.offset) < (b.line, b.column, $1.offset)
    }
    var lines = sorted.map { "\(file):\($0.element.position): \($0.element.message)" }
    if left > 0 { lines.append("\(file): and \(left) more faults") }
    throw SweepError.data(lines.joined(separator: "\n"))
  }
}

/// A place in a sweep file, both counted from 1.
package struct Position: Sendable, Equatable, CustomStringConvertible {
  package var line = 1
  package var column = 1
  package var description: String { "\(line):\(column)" }
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
  package init(json: JSON, position: Position = Position()) {
    func node(_ json: JSON) -> SourceNode { SourceNode(json: json, position: position) }
    self.position = position
    switch json {
    case .array(let elements): content = .sequence(elements.map(node))
    case .object(let members):
      content = .mapping(
        members.map { Entry(key: $0.key, position: position, value: node($0.value)) })
    default: content = .scalar(json)
    }
  }

  package init(_ content: Content, at position: Position) {
    (self.content, self.position) = (content, position)
  }
}

/// The candidate nearest to a misspelt word, when it is near enough to be what was meant.
package func suggestion(for word: String, among candidates: some Sequence<String>) -> String? {
  let limit = max(1, min(3, word.count / 3))
  var best: (word: String, distance: Int)?
  for candidate in candidates.sorted() {
    let distance = editDistance(word.lowercased(), candidate.lowercased())
    if distance <= limit, distance < best?.distance ?? .max { best = (candidate, distance) }
  }
  return best?.word
}

/// `; did you mean 'x'?`, or the empty string.
package func hint(for word: String, among candidates: some Sequence<String>) -> String {
  suggestion(for: word, among: candidates).map { "; did you mean '\($0)'?" } ?? ""
}

/// Damerau's distance (optimal string alignment).
package func editDistance(_ a: String, _ b: String) -> Int {
  let (a, b) = (Array(a), Array(b))
  var beforeLast = [Int](repeating: 0, count: b.count + 1)
  var last = Array(0...b.count)
  for i in 0..<a.count {
    var row = [i + 1]
    for j in 0..<b.count {
      var cost = min(last[j + 1] + 1, row[j] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
      if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
        cost = min(cost, beforeLast[j - 1] + 1)
      }
      row.append(cost)
    }
    (beforeLast, last) = (last, row)
  }
  return last[b.count]
}
