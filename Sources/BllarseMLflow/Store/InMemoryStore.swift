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
    /// The step, and milliseconds since 1970.
    public var step, time: Int
  }

  /// One recorded run.
  public struct RecordedRun: Sendable {
    /// The id in this store, the name, and the experiment's name.
    public var id, name, experiment: String
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
    var isDeleted = false
  }

  private struct State {
    var runs: [RecordedRun] = []
    var fault: (@Sendable (Operation) -> StoreFailure?)?
  }
  private let state = Mutex(State())

  /// Makes an empty store.
  public init() {}

  /// The runs, in the order they were made.
  public var runs: [RecordedRun] { state.withLock { $0.runs.filter { !$0.isDeleted } } }

  package enum Operation: Sendable {
    case create, other
    case log(ValueBatch)
  }

  /// Makes operations fail: `fault` is asked before each.
  package func failing(_ fault: (@Sendable (Operation) -> StoreFailure?)?) {
    state.withLock { $0.fault = fault }
  }

  private func check(_ operation: Operation) throws(StoreFailure) {
    if let failure = state.withLock({ $0.fault })?(operation) { throw failure }
  }

  private func change(
    _ id: String, _ operation: Operation, _ body: (inout RecordedRun) throws(StoreFailure) -> Void
  ) throws(StoreFailure) {
    try check(operation)
    try state.withLock { state throws(StoreFailure) in
      guard let index = state.runs.firstIndex(where: { $0.id == id }) else {
        throw .runMissing("no run \(id)")
      }
      try body(&state.runs[index])
    }
  }
}

// MARK: - TrackingStore

extension InMemoryStore: TrackingStore {
  package var destination: Destination { .memory }

  package func experimentID(named name: String) throws(StoreFailure) -> String {
    try check(.other)
    return name
  }

  package func createRun(_ new: NewRun) throws(StoreFailure) -> StoredRun {
    try check(.create)
    return state.withLock { state in
      var run = RecordedRun(
        id: "memory-\(state.runs.count)", name: new.name, experiment: new.experimentID)
      run.tags = new.tags
      state.runs.append(run)
      return stored(run)
    }
  }

  package func run(id: String) throws(StoreFailure) -> StoredRun? {
    try check(.other)
    return state.withLock { $0.runs.first { $0.id == id }.map(stored) }
  }

  package func runs(
    withTag tag: String, value: String, experimentID: String?
  ) throws(StoreFailure) -> [StoredRun] {
    try check(.other)
    return runs.filter { $0.tags[tag] == value }.map(stored)
  }

  private func stored(_ run: RecordedRun) -> StoredRun {
    StoredRun(
      id: run.id, experimentID: run.experiment, artifactURI: "memory:", status: run.status,
      isDeleted: run.isDeleted)
  }

  package func log(_ batch: ValueBatch, runID: String) throws(StoreFailure) {
    try change(runID, .log(batch)) { run throws(StoreFailure) in
      for metric in batch.metrics {
        let point = Point(value: metric.value, step: metric.step, time: metric.time)
        let isKnown = run.metrics[metric.key, default: []].contains {
          $0.step == point.step && $0.time == point.time
            && ($0.value == point.value || ($0.value.isNaN && point.value.isNaN))
        }
        if !isKnown { run.metrics[metric.key, default: []].append(point) }
      }
      for parameter in batch.parameters {
        if let known = run.parameters[parameter.key], known != parameter.value {
          throw .refused("parameter '\(parameter.key)' is '\(known)' and cannot be changed")
        }
        run.parameters[parameter.key] = parameter.value
      }
      for tag in batch.tags { run.tags[tag.key] = tag.value }
    }
  }

  package func upload(file: String, size: Int, path: String, run: StoredRun) throws(StoreFailure) {
    try change(run.id, .other) { recorded throws(StoreFailure) in
      guard let bytes = try? Files.bytes(of: file) else {
        throw .unavailable("cannot read \(file)")
      }
      recorded.artifacts[path] = bytes
    }
  }

  package func update(runID: String, status: RunStatus, endTime: Int?) throws(StoreFailure) {
    try change(runID, .other) { ($0.status, $0.endTime) = (status, endTime) }
  }

  package func delete(runID: String) throws(StoreFailure) {
    try change(runID, .other) { $0.isDeleted = true }
  }
}
