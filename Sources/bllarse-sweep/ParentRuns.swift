import BllarseMLflow
import BllarseSweep
import Foundation
import Logging

enum ParentRuns {
  /// A configuration that says how the submission is tracked; nil when none is tracked.
  static func tracked(_ indices: [Int], in directory: SweepDirectory) throws -> ManifestEntry? {
    for index in indices {
      let entry = try directory.manifest.entry(at: index)
      if isTracked(entry) { return entry }
    }
    return nil
  }

  static func isTracked(_ entry: ManifestEntry) -> Bool {
    entry["enable_mlflow"] == .bool(true) || entry["enable_wandb"] == .bool(true)
  }

  /// Ends the parents of submissions of which nothing is under way, as their children ended, and tells
  /// them what became of those; with a collector those that go on too.
  ///
  /// What is `over` nobody will go on with unasked, though it has not ended. Returns what was ended.
  @discardableResult
  static func update(
    _ directory: SweepDirectory, _ statuses: [BllarseSweep.RunStatus]? = nil,
    collector: Collector? = nil, over: Set<Int> = []
  ) throws -> Set<String> {
    let records = try ParentRecord.all(in: directory).filter { !$0.isLeftOpen && !$0.all.isEmpty }
    guard !records.isEmpty else { return [] }
    let statuses =
      try statuses
      ?? StatusReader(directory).all(ended: records.reduce(into: []) { $0.formUnion($1.ended) })
    let due = records.filter { collector != nil || $0.due(statuses, over: over) != nil }
    guard !due.isEmpty else { return [] }
    let collector = try collector ?? Collector(directory)
    var ended: Set<String> = []
    for record in due {
      let summary = SweepSummary(collector, indices: record.all, states: statuses.map(\.state))
      guard record.due(statuses, over: over) != nil || !record.hasLogged(summary) else { continue }
      // A parent of which nothing is under way stays as it ended: its children wait to be started again.
      let isBusy = record.indices.contains { [.pending, .running].contains(statuses[$0].state) }
      let outcome = record.outcome(statuses, over: over) ?? (isBusy ? nil : record.outcome)
      if tell(record, summary, outcome), outcome != nil { ended.insert(record.run) }
    }
    return ended
  }

  private static func tell(
    _ record: ParentRecord, _ summary: SweepSummary, _ outcome: ParentOutcome?
  ) -> Bool {
    var record = record
    do {
      let parent = try MLflowParents(record).update(record.run, summary, as: outcome)
      if outcome != nil, let line = parent.line { Terminal.note(line) }
      try record.setTold(summary, outcome)
      return true
    } catch {
      // What was asked for is done; the parent is told the next time.
      Terminal.note("note: the MLflow parent run \(record.run) is not told: \(error)")
      return false
    }
  }

  /// Takes back what was refused: a parent without children does not stay behind running.
  static func withdraw(_ parent: ParentRun, refused: [Int], in directory: SweepDirectory) {
    guard var record = parent.record else { return }
    do {
      try record.withdraw(refused)
      guard !record.isLeftOpen else { return }
      // What was accepted may have ended already.
      guard record.indices.isEmpty else {
        try update(directory)
        return
      }
      let statuses = try StatusReader.fromFiles(directory).all()
      let summary = SweepSummary(
        try Collector(directory), indices: record.all, states: statuses.map(\.state))
      _ = tell(record, summary, .killed)
    } catch {
      // Why the cluster refused is what the user must read.
      Terminal.note("note: the MLflow parent run \(record.run) is not ended: \(error)")
    }
  }

  /// Reopens a parent that was ended while this configuration waited to be started again.
  static func taskStarts(_ index: Int, isForced: Bool, in directory: SweepDirectory) {
    guard Host.variable("MLFLOW_PARENT_RUN_ID") != nil else { return }
    do {
      guard var record = try ParentRecord.owner(of: index, in: directory),
        try isForced || !directory.hasResult(index)
      else { return }
      record.clearEnd(of: index)
      guard record.outcome != nil, !record.isLeftOpen else { return }
      _ = try MLflowParents(record).reopen(record.run)
      try record.setReopened()
    } catch { Terminal.note("note: the MLflow parent run is not reopened: \(error)") }
  }

  /// Ends the parent when this configuration's run was the last to end.
  ///
  /// Each task notes its end before it looks at the others': of two that end at once at least one sees
  /// both, and one of those ends the parent.
  static func taskEnded(_ index: Int, goesOn: Bool, in directory: SweepDirectory) {
    guard !goesOn, Host.variable("MLFLOW_PARENT_RUN_ID") != nil else { return }
    do {
      guard let record = try ParentRecord.owner(of: index, in: directory), !record.isLeftOpen
      else { return }
      let ended = try record.noteEnd(of: index)
      guard let statuses = try allEnded(record, ended, index, in: directory),
        record.due(statuses, over: ended) != nil, try record.claimEnding()
      else { return }
      if try !update(directory, statuses, over: ended).contains(record.run) {
        record.releaseEnding()
      }
    } catch { Terminal.note("note: whether the MLflow parent run is over is not known: \(error)") }
  }

  /// The states when nobody else is going to look after the parent; nil when somebody is; the queue is
  /// asked only where the sweep's own files do not tell.
  private static func allEnded(
    _ record: ParentRecord, _ ended: Set<Int>, _ index: Int, in directory: SweepDirectory
  ) throws -> [BllarseSweep.RunStatus]? {
    let others = record.indices.filter { !ended.contains($0) }
    if others.isEmpty { return try StatusReader.fromFiles(directory).all(ended: ended) }
    // Tasks start in order: who runs now is near.
    let near = others.sorted { abs($0 - index) < abs($1 - index) }.prefix(nearCount)
    if near.contains(where: directory.isRunning) { return nil }
    let reader = try StatusReader(directory)
    return reader.hasTask(for: others) ? nil : try reader.all(ended: ended)
  }

  private static let nearCount = 100

  /// Configurations whose MLflow runs go on where they are nested already, under another parent than
  /// that of the rest; those parents are reopened.
  static func reopenForResumed(
    _ indices: [Int], except run: String, in directory: SweepDirectory
  ) throws -> Set<Int> {
    var nested: Set<Int> = []
    for record in try ParentRecord.all(in: directory) where record.run != run {
      let resumed = indices.filter {
        record.indices.contains($0) && directory.resumesTrackedRun($0)
      }
      guard !resumed.isEmpty else { continue }
      nested.formUnion(resumed)
      var again = record
      (again.indices, again.deferred) = (resumed, [])
      if !record.isLeftOpen { _ = try MLflowParents(record).reopen(record.run) }
      try again.add(to: directory)
      Terminal.note(
        "configurations \(Chunk.ranges(resumed)) go on under their MLflow parent run \(record.run)")
    }
    return nested
  }
}

/// The run that the children of a submission are nested in.
struct ParentRun {
  let run: String
  /// Where it is, without credentials; nil for one that nobody has looked up.
  var store: String?
  var line: String?
  /// What the sweep keeps of it; nil when it is no concern of the sweep's.
  var record: ParentRecord?

  var environment: [String: String] {
    ["MLFLOW_PARENT_RUN_ID": run, "BLLARSE_MLFLOW_STORE": store].compactMapValues(\.self)
  }
}

/// Parent runs in MLflow: kept on disk first, delivered when the server answers, without which no call
/// fails.
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
    } catch let error as TrackingError { throw SweepError.usage("\(error)") }
  }

  func create(name: String, tags: [String: String], description: ParentDescription?) throws
    -> ParentRun
  {
    let run = try tracker.startRun(name: name, parent: .none, tags: tags)
    if let description {
      run.log(parameters: description.parameters)
      run.set(description: description.text)
    }
    return told(run)
  }

  /// Sets a parent that had ended to running, because children go on.
  func reopen(_ run: String) throws -> ParentRun { told(try tracker.resumeRun(id: run)) }

  /// Logs what has become of the children, and ends the parent as they ended.
  func update(_ run: String, _ summary: SweepSummary, as outcome: ParentOutcome?) throws
    -> ParentRun
  {
    let run = try tracker.resumeRun(id: run)
    run.log(
      metrics: summary.metrics, step: summary.step,
      at: summary.time > 0 ? Date(timeIntervalSince1970: summary.time) : nil)
    return told(run, as: outcome)
  }

  /// Delivers what there is, ends the run as its children ended or leaves it running, and says where it is.
  private func told(_ run: Run, as outcome: ParentOutcome? = nil) -> ParentRun {
    if let status = outcome.flatMap({ BllarseMLflow.RunStatus(rawValue: $0.rawValue) }) {
      run.finish(status: status, waitingUpTo: Self.patience)
    } else {
      run.detach(waitingUpTo: Self.patience)
    }
    var location = run.location
    location.experiment = location.experiment ?? tracker.settings.experiment
    return ParentRun(
      run: run.remoteID ?? run.id, store: tracker.trackingURI,
      line: "MLflow: " + location.text("parent run", state: outcome?.rawValue))
  }
}
