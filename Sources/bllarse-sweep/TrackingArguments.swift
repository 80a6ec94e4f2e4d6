import ArgumentParser
import BllarseMLflow
import BllarseSweep
import Foundation
import Logging

/// The MLflow run that the runs of a submission are nested in.
struct TrackingArguments: ParsableArguments {
  @Option(help: ArgumentHelp("Nest the runs in this MLflow run.", valueName: "run"))
  var parentRunId: String?

  /// The id of the parent: the one given; when the configurations are tracked the run that MLFLOW_RUN_ID
  /// names, the one that they were started under before, or a new one; or nil.
  func parent(of indices: [Int], in directory: SweepDirectory, total: Int) throws -> String? {
    if let parentRunId { return parentRunId }
    guard let tracked = try ParentRuns.tracked(indices, in: directory) else { return nil }
    var configuration = TrackerConfiguration(
      trackingURI: tracked["mlflow_tracking_uri"]?.plainText,
      experiment: tracked["mlflow_experiment"]?.plainText)
    configuration.logger = Logger(label: "bllarse.mlflow") {
      StreamLogHandler.standardError(label: $0)
    }
    do {
      let parents = try MLflowParents(configuration)
      let tags = try directory.parentTags(configurations: indices, total: total)
      let earlier =
        Host.variable("MLFLOW_RUN_ID") == nil
        ? try ParentRecord.latest(
          of: indices, in: directory, trackingURI: parents.tracker.trackingURI,
          experiment: parents.tracker.experiment) : nil
      let run: String
      if let earlier {
        run = earlier.run
        try parents.reopenParent(run)
      } else {
        run = try parents.createParent(name: tags["group_id"] ?? directory.name, tags: tags)
      }
      var record = ParentRecord(
        run: run, trackingURI: parents.tracker.trackingURI, experiment: parents.tracker.experiment,
        journal: parents.tracker.journalDirectory, indices: indices)
      try record.add(to: directory)
      Terminal.note("MLflow parent run \(run)")
      return run
    } catch let error as TrackingError {
      throw SweepError(.usage, "\(error)")
    }
  }
}

/// Parent runs in MLflow: kept on disk first, delivered when the server answers.
struct MLflowParents: ParentTracking {
  let tracker: Tracker

  init(_ configuration: TrackerConfiguration) throws { tracker = try Tracker(configuration) }

  func createParent(name: String, tags: [String: String]) throws -> String {
    let run = try tracker.startRun(name: name, parent: .none, tags: tags)
    run.detach(waitingUpTo: .seconds(10))
    return run.remoteID ?? run.id
  }

  func reopenParent(_ run: String) throws {
    try tracker.resumeRun(id: run).detach(waitingUpTo: .seconds(10))
  }

  func updateParent(
    _ run: String, _ summary: SweepSummary, as outcome: ParentOutcome?
  ) throws {
    let status: BllarseMLflow.RunStatus? =
      switch outcome {
      case .finished: .finished
      case .failed: .failed
      case .killed: .killed
      case nil: nil
      }
    let run = try tracker.resumeRun(id: run)
    run.log(
      metrics: summary.metrics, step: summary.step,
      at: summary.time > 0 ? Date(timeIntervalSince1970: summary.time) : nil)
    if let status {
      run.finish(status: status, waitingUpTo: .seconds(10))
    } else {
      run.detach(waitingUpTo: .seconds(10))
    }
  }
}

/// The parent runs of a sweep's submissions.
enum ParentRuns {
  /// A configuration that says how the submission is tracked; nil when none is tracked.
  static func tracked(_ indices: [Int], in directory: SweepDirectory) throws -> ManifestEntry? {
    for index in indices {
      let entry = try directory.manifest.entry(at: index)
      if entry["enable_mlflow"] == .bool(true) || entry["enable_wandb"] == .bool(true) {
        return entry
      }
    }
    return nil
  }

  /// Ends the parents of submissions of which nothing is under way, as their children ended, and tells
  /// them what became of those.
  ///
  /// - Parameters:
  ///   - directory: the sweep.
  ///   - statuses: what became of each configuration, if that is known.
  ///   - collector: the results, if they are read; then parents that go on are told of them too.
  /// - Throws: what keeps the state of the sweep from being read or written.
  static func update(
    _ directory: SweepDirectory, _ statuses: [BllarseSweep.RunStatus]? = nil,
    collector: Collector? = nil
  ) throws {
    let records = try ParentRecord.all(in: directory)
    guard !records.isEmpty else { return }
    let statuses = try statuses ?? StatusReader(directory).all()
    let due = records.filter { collector != nil || $0.due(statuses) != nil }
    guard !due.isEmpty else { return }
    let collector = try collector ?? Collector(directory)
    for var record in due {
      let summary = SweepSummary(
        collector, indices: record.indices, states: statuses.map(\.state))
      guard record.due(statuses) != nil || !record.hasLogged(summary) else { continue }
      let outcome = ParentOutcome(record.indices.map { statuses[$0].state })
      var configuration = TrackerConfiguration(
        trackingURI: record.trackingURI, experiment: record.experiment)
      configuration.journalDirectory = record.journal
      do {
        try MLflowParents(configuration).updateParent(record.run, summary, as: outcome)
        try record.setTold(summary, outcome)
      } catch let error as TrackingError {
        // The table is what was asked for; the parent is told the next time.
        Terminal.note("note: the MLflow parent run \(record.run) is not told: \(error)")
      }
    }
  }
}
