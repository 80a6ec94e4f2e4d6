import BllarseMLflow
import BllarseSweep
import Foundation
import Logging

/// The run that the children of a submission are nested in.
struct ParentRun {
  let run: String
  /// Where it is, without credentials; nil for one that nobody has looked up.
  var store: String?
  /// The line that says so.
  var line: String?
  /// What the sweep keeps of it; nil when it is no concern of the sweep's.
  var record: ParentRecord?

  /// What its children find in their environment.
  var environment: [String: String] {
    var variables = ["MLFLOW_PARENT_RUN_ID": run]
    variables["BLLARSE_MLFLOW_STORE"] = store
    return variables
  }
}

/// Parent runs in MLflow: kept on disk first, delivered when the server answers.
///
/// No call fails because a server does not answer: what it cannot deliver it keeps for later.
struct MLflowParents {
  private static let patience = Duration.seconds(10)
  let tracker: Tracker

  /// Parents where configurations are tracked as this one is.
  init(_ entry: ManifestEntry?) throws {
    try self.init(
      TrackerConfiguration(
        trackingURI: entry?["mlflow_tracking_uri"]?.plainText,
        experiment: entry?["mlflow_experiment"]?.plainText))
  }

  /// Parents where one is known to be.
  init(_ record: ParentRecord) throws {
    var configuration = TrackerConfiguration(
      trackingURI: record.trackingURI, experiment: record.experiment)
    configuration.journalDirectory = record.journal
    try self.init(configuration)
  }

  private init(_ configuration: TrackerConfiguration) throws {
    var configuration = configuration
    configuration.logger = Logger(label: "bllarse.mlflow") {
      StreamLogHandler.standardError(label: $0)
    }
    do {
      tracker = try Tracker(configuration)
    } catch let error as TrackingError {
      throw SweepError(.usage, "\(error)")
    }
  }

  /// What the sweep keeps of a parent.
  func record(
    of run: String, indices: [Int], deferred: [Int] = [], isLeftOpen: Bool = false
  ) -> ParentRecord {
    ParentRecord(
      run: run, trackingURI: tracker.trackingURI, experiment: tracker.experiment,
      journal: tracker.journalDirectory, indices: indices, deferred: deferred,
      isLeftOpen: isLeftOpen)
  }

  /// Makes a parent, which is left running.
  func create(name: String, tags: [String: String], description: ParentDescription?) throws
    -> ParentRun
  {
    let run = try tracker.startRun(name: name, parent: .none, tags: tags)
    if let description {
      run.log(parameters: description.parameters)
      run.set(description: description.text)
    }
    run.detach(waitingUpTo: Self.patience)
    return told(run, state: nil)
  }

  /// Sets a parent that had ended to running, because children go on.
  func reopen(_ run: String) throws -> ParentRun {
    let run = try tracker.resumeRun(id: run)
    run.detach(waitingUpTo: Self.patience)
    return told(run, state: nil)
  }

  /// Logs what has become of the children, and ends the parent as they ended.
  func update(_ run: String, _ summary: SweepSummary, as outcome: ParentOutcome?) throws
    -> ParentRun
  {
    let run = try tracker.resumeRun(id: run)
    run.log(
      metrics: summary.metrics, step: summary.step,
      at: summary.time > 0 ? Date(timeIntervalSince1970: summary.time) : nil)
    let status: BllarseMLflow.RunStatus? =
      switch outcome {
      case .finished: .finished
      case .failed: .failed
      case .killed: .killed
      case nil: nil
      }
    if let status {
      run.finish(status: status, waitingUpTo: Self.patience)
    } else {
      run.detach(waitingUpTo: Self.patience)
    }
    return told(run, state: outcome?.rawValue)
  }

  private func told(_ run: Run, state: String?) -> ParentRun {
    var location = run.location
    location.experiment = location.experiment ?? tracker.experiment
    return ParentRun(
      run: run.remoteID ?? run.id, store: tracker.trackingURI,
      line: "MLflow: " + location.text("parent run", state: state))
  }
}
