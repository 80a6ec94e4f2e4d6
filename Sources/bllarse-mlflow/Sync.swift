import ArgumentParser
import BllarseMLflow
import Foundation

/// `bllarse-mlflow sync`.
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
      complain("no folder \(root); give the folder that holds the journals")
      throw Exit.badData
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
    if outcomes.contains(where: { !$0.isComplete }) { throw Exit.resumable }
  }
}
