/// Collects the faults of a file, so that all are told at once.
final class Diagnostics {
  private let file: String
  private var left = 0
  private var faults: [(position: Position, message: String)] = []

  init(file: String) { self.file = file }

  var isEmpty: Bool { faults.isEmpty }

  /// More faults than a person reads at once: looking for others, and for suggestions, is in vain.
  static let maximalCount = 100
  private var isFull: Bool { faults.count >= Self.maximalCount }

  /// Keeps a fault, unless there are enough; what is not kept is not put into words.
  func report(_ message: @autoclosure () -> String, at position: Position) {
    guard !isFull else {
      left += 1
      return
    }
    faults.append((position, message()))
  }

  /// Keeps a fault, in whose place there is no value.
  func fault<Value>(_ message: @autoclosure () -> String, at position: Position) -> Value? {
    report(message(), at: position)
    return nil
  }

  /// Reports a key that a section does not have.
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
    var lines = sorted.map {
      "\(file):\($0.element.position.line):\($0.element.position.column): \($0.element.message)"
    }
    if left > 0 { lines.append("\(file): and \(left) more faults") }
    throw SweepError(.data, lines.joined(separator: "\n"))
  }
}
