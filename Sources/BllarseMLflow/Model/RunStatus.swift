/// The state of a run, spelled as MLflow spells it.
public enum RunStatus: String, Sendable, CaseIterable {
  /// The run is going on.
  case running = "RUNNING"
  /// The run waits for its start.
  case scheduled = "SCHEDULED"
  /// The run ended as it should.
  case finished = "FINISHED"
  /// The run ended with an error.
  case failed = "FAILED"
  /// The run was ended from outside, by a signal or a time limit.
  case killed = "KILLED"

  /// Whether nothing more is expected of a run in this state.
  public var isTerminal: Bool { self == .finished || self == .failed || self == .killed }
}
