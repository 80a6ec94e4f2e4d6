/// A place that runs are delivered to: calls wait for their result; each may be repeated.
package protocol TrackingStore: Sendable {
  var destination: Destination { get }

  /// The id of the experiment with this name, which is made if there is none.
  func experimentID(named name: String) throws(StoreFailure) -> String

  /// Makes a run. Not to be repeated blindly: look with ``runs(withTag:value:experimentID:)`` first.
  func createRun(_ new: NewRun) throws(StoreFailure) -> StoredRun

  /// The run with this id, nil if there is none; also a deleted one.
  func run(id: String) throws(StoreFailure) -> StoredRun?

  /// The active runs with this tag, in one experiment or in all.
  func runs(
    withTag tag: String, value: String, experimentID: String?
  ) throws(StoreFailure) -> [StoredRun]

  /// Stores values, in one request where the store can.
  ///
  /// Storing an equal metric value (key, value, time, step) twice changes nothing; a stored parameter
  /// cannot be changed. A key stands once in each list of pairs.
  func log(_ batch: ValueBatch, runID: String) throws(StoreFailure)

  func upload(file: String, size: Int, path: String, run: StoredRun) throws(StoreFailure)

  /// Sets the state; an end time in milliseconds since 1970 belongs to the terminal ones.
  func update(runID: String, status: RunStatus, endTime: Int?) throws(StoreFailure)

  func delete(runID: String) throws(StoreFailure)

  /// Asks and tells `observer` while calls wait.
  func observe(_ observer: RequestObserver)

  /// Lets go of files and connections; the next call takes them up again.
  func close()
}

extension TrackingStore {
  package func close() {}
  package func observe(_ observer: RequestObserver) {}
}

package struct ValueBatch: Sendable, Equatable {
  var metrics: [MetricPoint] = []
  var parameters: [KeyValue] = []
  var tags: [KeyValue] = []
}

package struct NewRun: Sendable, Equatable {
  package var localID, name, experimentID, user: String
  package var startTime: Int
  package var tags: [String: String]
}

package struct StoredRun: Sendable, Equatable {
  package var id, experimentID, artifactURI: String
  package var status: RunStatus
  package var isDeleted = false
}

package struct KeyValue: Sendable, Hashable {
  package var key, value: String

  /// Pairs in the order of their keys.
  static func sorted(_ values: [String: String]) -> [KeyValue] {
    values.sorted { $0.key < $1.key }.map { KeyValue(key: $0.key, value: $0.value) }
  }
}

package struct MetricPoint: Sendable, Equatable {
  package var key: String
  package var value: Double
  package var time, step: Int
}

/// Why a store did not do what it was asked, by what there is to do about it, in one line.
package enum StoreFailure: Error, Sendable, Equatable {
  /// No answer, or one that says to come again (408, 429, 502-504): repeat later.
  case unavailable(String, retryAfter: Double? = nil, mayHaveArrived: Bool = false)
  /// 500: the server's fault, or one of ours that makes it stumble.
  case serverError(String)
  /// Nothing will work until somebody changes something: 401, 403, a wrong address, a damaged file.
  case blocked(String)
  case refused(String)
  case runMissing(String)
  /// The run or experiment was deleted: restoring it helps.
  case deleted(String)
  case unsupported(String)

  var isTemporary: Bool {
    switch self {
    case .unavailable, .serverError: true
    default: false
    }
  }

  package var message: String {
    switch self {
    case .unavailable(let message, _, _), .serverError(let message), .blocked(let message),
      .refused(let message), .runMissing(let message), .deleted(let message),
      .unsupported(let message):
      message
    }
  }
}

/// A run as a list shows it: the latest value of each metric.
package struct RunSummary: Sendable, Equatable {
  package var id, name, status: String
  /// Milliseconds since 1970.
  package var startTime, endTime: Int?
  package var metrics: [String: Double] = [:]
  package var parameters: [String: String] = [:], tags: [String: String] = [:]
}

/// A store whose runs can be listed.
package protocol RunLister: Sendable {
  /// The active runs of an experiment, the newest first; `.runMissing` if there is no such experiment.
  func summaries(experiment: String) throws(StoreFailure) -> [RunSummary]
}
