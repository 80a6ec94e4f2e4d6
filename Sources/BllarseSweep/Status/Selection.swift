/// Which configurations a command acts on.
package enum Selection {
  /// Parses `3,7-9,12`.
  package static func parse(_ texts: [String], count: Int) throws -> [Int] {
    var result: [Int] = []
    for part in texts.flatMap({ $0.split(separator: ",") }) {
      let ends = part.split(separator: "-").map { Int($0.trimmed) }
      guard ends.count == 1 || ends.count == 2, let first = ends[0],
        let last = ends[ends.count - 1],
        first <= last
      else {
        throw SweepError(.usage, "--index \(part): expected numbers and ranges such as 3,7-9")
      }
      guard last < count else {
        throw SweepError.noConfiguration(last, of: count)
      }
      result += Array(first...last)
    }
    guard !result.isEmpty || texts.isEmpty else {
      throw SweepError(.usage, "--index is empty; expected numbers and ranges such as 3,7-9")
    }
    return Array(Set(result)).sorted()
  }

  /// What a submission would do with each configuration.
  package struct Sorted: Sendable, Equatable {
    package var toRun: [Int] = []
    package var done = 0
    package var active = 0
    /// Running on this machine, though what started them has ended: a local pool waits for them.
    package var orphans: [Int] = []
    /// Failed before; `retry` runs them.
    package var failed = 0
  }

  /// Sorts configurations into those to run and those to leave alone.
  package static func sort(_ indices: [Int], _ statuses: [RunStatus]) -> Sorted {
    var sorted = Sorted()
    for index in indices {
      switch statuses[index].state {
      case .new, .interrupted, .cancelled, .lost: sorted.toRun.append(index)
      case .done: sorted.done += 1
      case .running where statuses[index].isOrphan: sorted.orphans.append(index)
      case .pending, .running: sorted.active += 1
      case .failed: sorted.failed += 1
      }
    }
    return sorted
  }
}
