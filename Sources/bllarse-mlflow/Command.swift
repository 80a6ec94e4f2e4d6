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

/// Why the program ends with a status beside 0.
enum Exit: Int32 {
  case failed = 1
  case usage = 64
  case badData = 65
  case resumable = 75

  /// The status, after a line that says why.
  func after(_ line: String) -> ExitCode {
    complain(line)
    return ExitCode(rawValue)
  }
}

/// Writes a result to standard output, or fails: half a table must not pass for a whole one.
func output(_ text: String) throws {
  do { try FileHandle.standardOutput.write(contentsOf: Data(text.utf8)) } catch {
    throw Exit.failed.after("cannot write to standard output: \(SystemError.text())")
  }
}

func complain(_ line: String) {
  FileHandle.standardError.write(Data("bllarse-mlflow: \(line.printable)\n".utf8))
}

var tellingWaits: RequestObserver {
  var observer = RequestObserver()
  observer.willWait = { complain($0.line) }
  return observer
}

/// The settings of this environment; the user's `uri` wins.
func settings(uri: String?, experiment: String? = nil) throws -> TrackingSettings {
  do { try Files.requireWorkingDirectory() } catch { throw Exit.failed.after("error: \(error)") }
  do {
    let settings = try TrackingSettings(
      TrackerConfiguration(experiment: experiment), overriding: uri)
    for warning in settings.warnings { complain("warning: \(warning)") }
    return settings
  } catch {
    throw (uri == nil ? Exit.badData : .usage).after("\(error)")
  }
}

/// A log that writes warnings as one line each to standard error.
struct StandardErrorLog: LogHandler {
  var metadata: Logger.Metadata = [:]
  var logLevel = Logger.Level.notice
  subscript(metadataKey _: String) -> Logger.Metadata.Value? {
    get { nil }
    set {}
  }

  func log(event: LogEvent) {
    complain(event.level >= .warning ? "\(event.level): \(event.message)" : "\(event.message)")
  }

  static let logger = Logger(label: "bllarse-mlflow") { _ in StandardErrorLog() }
}

struct Check: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Say whether the server can be reached, who you are there and which version it is.",
    discussion: "Exits 0 if runs can be delivered, 1 if not.")

  @Option(help: "The address to check: http(s)://HOST or sqlite:///FILE.") var trackingURI: String?

  func run() throws {
    let settings = try settings(uri: trackingURI)
    let check: DestinationCheck
    if case .file(let path) = settings.destination {
      check = .file(path)
    } else {
      let client = try settings.makeClient()
      client.observe(tellingWaits)
      check = .server(client)
    }
    try output(check.text)
    if let problem = check.problem { throw Exit.failed.after(problem) }
  }
}

struct Sync: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Deliver what journals hold and the destination does not.",
    discussion: """
      May be repeated and interrupted at any time, and run twice at once. Runs whose process was \
      killed are ended KILLED. The journals of a whole sweep go into one file with \
      --to sqlite:///mlflow.db. Exits 0 when nothing is left, 75 when something is.
      """)

  @Argument(
    help:
      "Folders with journals, or folders above them. (default: BLLARSE_MLFLOW_JOURNAL, or mlflow-journal)"
  )
  var directories: [String] = []

  @Option(help: "Where to: http(s)://HOST or sqlite:///FILE.") var to: String?

  @Flag(help: "Remove journals of ended runs that are delivered whole.") var prune = false

  @Flag(name: .shortAndLong, help: "Print failures and the summary only.") var quiet = false

  func run() throws {
    let settings = try settings(uri: to)
    let roots = directories.isEmpty ? [settings.journalDirectory] : directories
    for root in roots where !Files.isDirectory(root) {
      throw Exit.badData.after("no folder \(root); give the folder that holds the journals")
    }
    let store = try settings.makeStore(patience: 600)
    defer { store.close() }
    let synchronizer = Synchronizer(
      store: store, http: settings.http, logger: StandardErrorLog.logger)
    let outcomes = synchronizer.sync(roots) { outcome in
      if !quiet || !outcome.isComplete { print(outcome.line) }
    }
    for directory in prune ? Synchronizer.prunable(outcomes) : [] {
      try? FileManager.default.removeItem(atPath: directory.path)
    }
    print(Synchronizer.summary(outcomes, destination: settings.destination.uri))
    if outcomes.contains(where: { !$0.isComplete }) { throw ExitCode(Exit.resumable.rawValue) }
  }
}

struct Runs: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "List an experiment's runs with chosen metrics, sorted.")

  @Argument(help: "The experiment's name. (default: MLFLOW_EXPERIMENT_NAME, or bllarse)")
  var experiment: String?

  @Option(
    help: "Metrics to show, separated by commas; accuracy, NLL and calibration error if left out.")
  var metrics: String?

  @Option(
    help: "Parameters to show, separated by commas; those that tell the runs apart if left out.")
  var parameters: String?

  @Option(help: "Metric or parameter to sort by; the newest run first if left out.")
  var sort: String?

  @Flag(help: "Sort from high to low.") var descending = false
  @Option(help: "Show the children of this run only.") var parent: String?
  @Option(help: "How many runs to show.") var limit = 50
  @Option(help: "table, csv or json.") var format = RunTable.Format.table
  @Option(help: "Where from: http(s)://HOST or sqlite:///FILE.") var trackingURI: String?

  func validate() throws {
    if limit < 1 { throw ValidationError("--limit is \(limit), expected a number from 1") }
    if descending, sort == nil {
      throw ValidationError("--descending has an effect with --sort KEY only")
    }
    for (name, text) in [("--metrics", metrics), ("--parameters", parameters)]
    where text.map({ list($0).isEmpty }) ?? false {
      throw ValidationError("\(name) is empty; expected names separated by commas")
    }
    for (name, text) in [("--sort", sort), ("--parent", parent)] where text?.isEmpty == true {
      throw ValidationError("\(name) is empty")
    }
  }

  func run() throws {
    let settings = try settings(uri: trackingURI, experiment: experiment)
    var runs: [RunSummary]
    do {
      let store = try settings.makeStore()
      store.observe(tellingWaits)
      runs = try store.summaries(experiment: settings.experiment)
    } catch let failure as StoreFailure {
      throw Exit.failed.after(failure.message)
    }
    if let parent {
      runs = runs.filter { $0.tags["mlflow.parentRunId"] == parent }
      guard !runs.isEmpty else {
        throw Exit.usage.after(
          "no run of the experiment '\(settings.experiment)' is nested in a run \(parent); "
            + "give the whole id, 32 hexadecimal digits")
      }
    }
    try check(list(metrics), of: runs, "metric", \.metrics)
    try check(list(parameters), of: runs, "parameter", \.parameters)
    let table = RunTable(
      runs, metrics: list(metrics), parameters: list(parameters), sortKey: sort,
      isDescending: descending, limit: limit)
    if let key = table.unknownSortKey, !runs.isEmpty {
      throw Exit.usage.after("no run has a metric or parameter '\(key)' to sort by")
    }
    try output(table.text(format))
  }

  /// Refuses names that no run has: an empty column would pass for values that are missing.
  private func check<Value>(
    _ names: [String], of runs: [RunSummary], _ kind: String,
    _ path: KeyPath<RunSummary, [String: Value]>
  ) throws {
    guard !runs.isEmpty, let (name, meant) = RunTable.unknown(names, of: runs, path) else { return }
    let there = meant.isEmpty ? "" : " (there are: \(meant.joined(separator: ", ")))"
    throw Exit.usage.after("no run has a \(kind) '\(name)'\(there)")
  }

  private func list(_ text: String?) -> [String] {
    (text ?? "").split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
      .filter { !$0.isEmpty }
  }
}

extension RunTable.Format: ExpressibleByArgument {}
