import Logging
import Synchronization

/// Keeps what is logged, for tests of messages.
final class LogRecorder: Sendable {
  private let entries = Mutex<[(level: Logger.Level, text: String)]>([])

  var lines: [String] { entries.withLock { $0.map(\.text) } }
  var warnings: [String] { entries.withLock { $0.filter { $0.level >= .warning }.map(\.text) } }

  var logger: Logger { Logger(label: "test") { _ in Handler(recorder: self) } }

  private struct Handler: LogHandler {
    let recorder: LogRecorder
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      recorder.entries.withLock { $0.append((event.level, "\(event.message)")) }
    }
  }
}
