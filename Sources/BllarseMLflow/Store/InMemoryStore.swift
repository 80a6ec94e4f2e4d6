import Synchronization

/// A tracking store in memory: what a test looks into instead of a server.
///
/// ```swift
/// let store = InMemoryStore()
/// let tracker = try Tracker(TrackerConfiguration(directory: scratch), recordingTo: store)
/// …
/// #expect(store.runs.first?.parameters["seed"] == "137")
/// ```
public final class InMemoryStore: Sendable {
  /// One recorded metric value.
  public struct Point: Sendable, Equatable {
    /// The value, NaN and infinities included.
    public var value: Double
    /// The step.
    public var step: Int
    /// Milliseconds since 1970.
    public var time: Int
  }

  /// One recorded run.
  public struct RecordedRun: Sendable {
    /// The id in this store.
    public var id: String
    /// The name.
    public var name: String
    /// The experiment's name.
    public var experiment: String
    /// The present state.
    public var status: RunStatus = .running
    /// Milliseconds since 1970, if the run has ended.
    public var endTime: Int?
    /// Parameters by name.
    public var parameters: [String: String] = [:]
    /// Tags by name; the parent stands in `mlflow.parentRunId`.
    public var tags: [String: String] = [:]
    /// Metric histories by name, in the order of arrival.
    public var metrics: [String: [Point]] = [:]
    /// Artifacts' contents by path.
    public var artifacts: [String: [UInt8]] = [:]
  }

  let state = Mutex<[RecordedRun]>([])

  /// Makes an empty store.
  public init() {}

  /// The runs, in the order they were made.
  public var runs: [RecordedRun] { state.withLock { $0 } }
}
