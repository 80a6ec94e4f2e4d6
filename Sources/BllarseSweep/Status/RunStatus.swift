/// Where a configuration stands.
public struct RunStatus: Sendable, Equatable {
  /// The states, in the order in which a summary counts them.
  public enum State: String, Sendable, CaseIterable {
    /// Never submitted.
    case new
    /// In the queue.
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

  package init(index: Int, state: State) {
    self.index = index
    self.state = state
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
