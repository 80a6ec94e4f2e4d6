@testable import BllarseMLflow
import BllarseTestSupport
import Foundation

/// A tracker configuration in a scratch folder, blind to the environment and home of the tester.
func scratchConfiguration(
  _ directory: TemporaryDirectory, uri: String? = nil, log: LogRecorder = LogRecorder(),
  environment: [String: String] = [:]
) -> TrackerConfiguration {
  var settings = [
    "HOME": directory.path, "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0.02",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.02", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
  ]
  settings.merge(environment) { $1 }
  return TrackerConfiguration(
    trackingURI: uri, directory: directory.path, environment: settings, logger: log.logger)
}

/// Writes a journal with these events and lets go of it, as a process does that was killed.
func writeJournal(
  _ events: [Event], id: String = "0123456789abcdef0123456789abcdef", in root: String,
  parent: String? = nil, resumes: String? = nil
) throws -> RunDirectory {
  let directory = RunDirectory(path: root + "/" + id)
  try Files.makeDirectory(directory.path)
  var lines: [UInt8] = []
  let header = RunHeader(
    localID: id, name: "run " + id.prefix(4), experiment: "test", parentID: parent,
    resumedID: resumes, user: "tester", tags: [:])
  for (index, event) in ([.start(header)] + events).enumerated() {
    lines += Record(sequence: index, time: 1_700_000_000_000 + index, event: event).line
  }
  try Files.write(lines, to: directory.journal)
  return directory
}

extension Synchronizer {
  /// One that does not wait between attempts.
  init(_ store: InMemoryStore, _ log: LogRecorder = LogRecorder()) {
    self.init(store: store, http: HTTPSettings(), logger: log.logger, sleep: { _ in })
  }
}

extension Event {
  static func metric(_ key: String, _ value: Double, step: Int = 0) -> Event {
    .metrics([Metric(key: key, value: value)], step: step)
  }
}
