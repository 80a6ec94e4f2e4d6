/// Where a configuration stands.
public struct RunStatus: Sendable, Equatable {
  /// The states, in the order in which a summary counts them.
  public enum State: String, Sendable, CaseIterable {
    case new
    case pending
    case running
    case done
    case failed
    /// Stopped with the intention to go on.
    case interrupted
    case cancelled
    /// Submitted, but the queue no longer knows of it and it left nothing; or killed together with
    /// what started it.
    case lost
  }

  /// The position in the manifest.
  public let index: Int
  /// The state.
  public var state: State
  /// Why: the executor's reason, the last error line.
  public var reason = ""
  /// Where it runs or ran.
  public var node = ""
  /// Seconds of the current or last attempt.
  public var elapsedSeconds: Double?
  /// The number of attempts so far.
  public var attempts = 0
  /// The exit code of the last attempt.
  public var exitCode: Int?
  /// `4711_3`, when it is a task of an executor.
  public var task: String?
  /// The newest line of its metrics.
  public var lastMetric: JSON?
  /// Why it failed, as retry rules count it.
  public var cause: FailureCause?
  /// Whether it is interrupted and nobody will go on with it unasked: the queue has no task for it.
  package internal(set) var isAbandoned = false
  /// Whether it runs on this machine, and what started it has ended.
  package internal(set) var isOrphan = false

  mutating func set(_ state: State, _ reason: String, _ cause: FailureCause? = nil) {
    (self.state, self.reason, self.cause) = (state, reason, cause)
  }

  /// Adds to the reason what it does not say already.
  mutating func add(_ text: String?) {
    guard let text, !reason.contains(text) else { return }
    reason += reason.isEmpty ? text : "; \(text)"
  }

  package var json: JSON {
    .object([
      "index": .int(index), "state": .string(state.rawValue), "reason": .string(reason),
      "node": .string(node), "elapsed_seconds": elapsedSeconds.map { .number($0) } ?? .null,
      "attempts": .int(attempts), "exit_code": .optional(exitCode), "task": .optional(task),
      "last_metric": lastMetric ?? .null, "cause": .optional(cause?.rawValue),
    ])
  }
}

/// Which configurations a command acts on.
package struct Selection: Sendable, Equatable {
  package var toRun: [Int] = []
  package var done = 0
  package var active = 0
  /// Running on this machine, though what started them has ended: a local pool waits for them.
  package var orphans: [Int] = []
  /// Failed before; `retry` runs them.
  package var failed = 0

  package init(_ indices: [Int], _ statuses: [RunStatus]) {
    for index in indices {
      switch statuses[index].state {
      case .new, .interrupted, .cancelled, .lost: toRun.append(index)
      case .done: done += 1
      case .running where statuses[index].isOrphan: orphans.append(index)
      case .pending, .running: active += 1
      case .failed: failed += 1
      }
    }
  }

  /// Parses `3,7-9,12`.
  package static func parse(_ texts: [String], count: Int) throws -> [Int] {
    var result: [Int] = []
    for part in texts.flatMap({ $0.split(separator: ",") }) {
      let ends = part.split(separator: "-").map { Int($0.trimmed) }
      guard ends.count == 1 || ends.count == 2, let first = ends[0],
        let last = ends[ends.count - 1], first <= last
      else { throw SweepError.usage("--index \(part): expected numbers and ranges such as 3,7-9") }
      guard last < count else { throw SweepError.noConfiguration(last, of: count) }
      result += Array(first...last)
    }
    guard !result.isEmpty || texts.isEmpty else {
      throw SweepError.usage("--index is empty; expected numbers and ranges such as 3,7-9")
    }
    return Array(Set(result)).sorted()
  }
}
