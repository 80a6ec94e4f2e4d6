import ArgumentParser
import BllarseMLflow
import Foundation

/// `bllarse-mlflow runs`.
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
      complain(failure.message)
      throw Exit.failed
    }
    if let parent, !runs.contains(where: { $0.tags["mlflow.parentRunId"] == parent }) {
      complain(
        "no run of the experiment '\(settings.experiment)' is nested in a run \(parent); "
          + "give the whole id, 32 hexadecimal digits")
      throw Exit.usage
    }
    if let parent { runs = runs.filter { $0.tags["mlflow.parentRunId"] == parent } }
    try check(list(metrics), of: runs, "metric", \.metrics)
    try check(list(parameters), of: runs, "parameter", \.parameters)
    let table = RunTable(
      runs, metrics: list(metrics), parameters: list(parameters), sortKey: sort,
      isDescending: descending, limit: limit)
    if let key = table.unknownSortKey, !runs.isEmpty {
      complain("no run has a metric or parameter '\(key)' to sort by")
      throw Exit.usage
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
    complain("no run has a \(kind) '\(name)'\(there)")
    throw Exit.usage
  }

  private func list(_ text: String?) -> [String] {
    (text ?? "").split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
      .filter { !$0.isEmpty }
  }
}

extension RunTable.Format: ExpressibleByArgument {}
