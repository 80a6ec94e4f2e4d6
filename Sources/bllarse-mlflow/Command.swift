import ArgumentParser
import BllarseMLflow
import Foundation
import Logging

/// Looks after tracked runs: delivers what is still local, checks the server, lists runs.
@main
struct Command: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bllarse-mlflow",
    abstract: "Deliver tracked runs to MLflow, check the server, list runs.",
    discussion: """
      Where to: --to or --tracking-uri, else MLFLOW_TRACKING_URI, else the credentials file \
      ~/.mlflow/credentials, else ./mlflow.db. User name and password come from \
      MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD or the credentials file, never from \
      an option.
      """, subcommands: [Sync.self, Check.self, Runs.self])

  static func main() {
    for note in EnvironmentFiles.load() { complain("note: \(note)") }
    main(nil)
  }
}

/// Exit codes beside 0.
enum Exit {
  static let failed = ExitCode(1)
  static let usage = ExitCode(64)
  static let badData = ExitCode(65)
  static let resumable = ExitCode(75)
}

/// Writes a result to standard output, or fails: half a table must not pass for a whole one.
func output(_ text: String) throws {
  do {
    try FileHandle.standardOutput.write(contentsOf: Data(text.utf8))
  } catch {
    complain("cannot write to standard output: \(String(cString: strerror(errno)))")
    throw Exit.failed
  }
}

/// Writes one line to standard error.
func complain(_ line: String) {
  FileHandle.standardError.write(Data("bllarse-mlflow: \(line.printable)\n".utf8))
}

/// Says what is waited for.
var tellingWaits: RequestObserver {
  var observer = RequestObserver()
  observer.willWait = { complain($0.line) }
  return observer
}

/// The settings of this environment; the user's `uri` wins.
func settings(uri: String?, experiment: String? = nil) throws -> TrackingSettings {
  let configuration = TrackerConfiguration(experiment: experiment)
  do {
    try Files.requireWorkingDirectory()
  } catch {
    complain("error: \(error)")
    throw Exit.failed
  }
  do {
    let settings = try TrackingSettings(configuration, overriding: uri)
    for warning in settings.warnings { complain("warning: \(warning)") }
    return settings
  } catch {
    complain("\(error)")
    throw uri == nil ? Exit.badData : Exit.usage
  }
}

/// A log that writes warnings as one line each to standard error.
struct StandardErrorLog: LogHandler {
  var metadata: Logger.Metadata = [:]
  var logLevel = Logger.Level.notice

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    complain(event.level >= .warning ? "\(event.level): \(event.message)" : "\(event.message)")
  }

  static let logger = Logger(label: "bllarse-mlflow") { _ in StandardErrorLog() }
}

/// `bllarse-mlflow check`.
struct Check: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Say whether the server can be reached, who you are there and which version it is.",
    discussion: "Exits 0 if runs can be delivered, 1 if not.")

  @Option(help: "The address to check: http(s)://HOST or sqlite:///FILE.") var trackingURI: String?

  func run() throws {
    let settings = try settings(uri: trackingURI)
    let check: DestinationCheck
    if case .file(let path) = settings.destination {
      check = DestinationCheck.file(path)
    } else {
      let client = try settings.makeClient()
      client.observe(tellingWaits)
      check = DestinationCheck.server(client)
    }
    try output(check.text)
    if let problem = check.problem {
      complain(problem)
      throw Exit.failed
    }
  }
}
