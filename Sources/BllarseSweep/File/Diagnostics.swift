/// Collects the faults of a file, so that all are told at once.
final class Diagnostics {
  private let file: String
  private var faults: [(position: Position, message: String)] = []

  init(file: String) { self.file = file }

  var isEmpty: Bool { faults.isEmpty }

  func report(_ message: String, at position: Position) {
    faults.append((position, message))
  }

  /// Throws one error that lists the faults in the file's order.
  func throwIfAny() throws {
    guard !faults.isEmpty else { return }
    let sorted = faults.enumerated().sorted {
      let (a, b) = ($0.element.position, $1.element.position)
      return (a.line, a.column, $0.offset) < (b.line, b.column, $1.offset)
    }
    let lines = sorted.map {
      "\(file):\($0.element.position.line):\($0.element.position.column): \($0.element.message)"
    }
    throw SweepError(.data, lines.joined(separator: "\n"))
  }
}
