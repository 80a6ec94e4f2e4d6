import ArgumentParser
import BllarseMLflow
import BllarseSweep

/// The MLflow run that the runs of a submission are nested in.
struct TrackingArguments: ParsableArguments {
  @Option(
    help: .init(
      "Nest the runs in this MLflow run, which is left open for its owner to end.", valueName: "run"
    ))
  var parentRunId: String?

  @Flag(help: "End the run of --parent-run-id as the runs in it ended.") var closeParent = false

  func validate() throws {
    if closeParent, parentRunId == nil {
      throw ValidationError("--close-parent needs --parent-run-id")
    }
    if parentRunId?.isEmpty == true {
      throw ValidationError("--parent-run-id is empty; expected the id of an MLflow run")
    }
  }

  /// The parent: the one given; when the configurations are tracked the run that MLFLOW_RUN_ID names,
  /// the one that they were started under before, or a new one; or nil.
  func parent(
    of indices: [Int], deferred: [Int] = [], in directory: SweepDirectory, submitted: String? = nil
  ) throws -> ParentRun? {
    let tracked = try ParentRuns.tracked(indices, in: directory)
    do {
      if let parentRunId { return try given(parentRunId, tracked, indices, deferred, directory) }
      guard let tracked else { return submitted.map { ParentRun(run: $0) } }
      return try found(tracked, indices, deferred, directory)
    } catch let error as TrackingError { throw SweepError.usage("\(error)") }
  }

  private func given(
    _ run: String, _ tracked: ManifestEntry?, _ indices: [Int], _ deferred: [Int],
    _ directory: SweepDirectory
  ) throws -> ParentRun {
    let parents = try MLflowParents(tracked)
    let tracker = parents.tracker
    // Programs that track by themselves do so where they like.
    if tracked == nil, tracker.settings.isDefaultDestination { return ParentRun(run: run) }
    let place = tracker.trackingURI
    switch tracker.lookUp(runID: run) {
    case .found(let status):
      if status.isTerminal, !closeParent {
        Terminal.note("note: the parent run \(run) has ended \(status.rawValue), and stays so")
      }
    case .missing:
      throw SweepError.usage(
        "--parent-run-id \(run): there is no such run in \(place); correct the id, or say with MLFLOW_TRACKING_URI where it is"
      )
    case .deleted:
      throw SweepError.usage(
        "--parent-run-id \(run): the run is deleted in \(place); restore it, or name another")
    case .unanswered(let reason):
      Terminal.note("note: the parent run \(run) is not looked up: \(reason)")
    }
    let parent =
      try closeParent
      ? parents.reopen(run) : ParentRun(run: run, store: place, line: Self.leftOpen(run, place))
    return try keep(
      parent, as: parent.run, of: tracker, indices, deferred, isLeftOpen: !closeParent,
      in: directory)
  }

  private func found(
    _ tracked: ManifestEntry, _ indices: [Int], _ deferred: [Int], _ directory: SweepDirectory
  ) throws -> ParentRun {
    let parents = try MLflowParents(tracked)
    let tags = try directory.parentTags(configurations: indices, total: directory.manifest.count)
    let tracker = parents.tracker
    let isNamed = Host.variable("MLFLOW_RUN_ID") != nil
    let earlier =
      isNamed
      ? nil
      : try ParentRecord.latest(
        of: indices, in: directory, trackingURI: tracker.trackingURI,
        experiment: tracker.settings.experiment
      )
    let parent: ParentRun
    if let earlier, earlier.isLeftOpen {
      let (run, store) = (earlier.run, earlier.trackingURI)
      parent = ParentRun(run: run, store: store, line: Self.leftOpen(run, store))
    } else if let earlier {
      parent = try parents.reopen(earlier.run)
    } else {
      parent = try parents.create(
        name: tags["group_id"] ?? directory.name, tags: tags,
        description: isNamed
          ? nil : ParentDescription(directory, indices: indices + deferred))
    }
    let known = earlier?.run ?? parent.run
    let nested = try ParentRuns.reopenForResumed(indices, except: known, in: directory)
    return try keep(
      parent, as: known, of: tracker, indices.filter { !nested.contains($0) }, deferred,
      isLeftOpen: earlier?.isLeftOpen ?? false, in: directory)
  }

  /// Writes the parent down with what is started under it, and says so.
  private func keep(
    _ parent: ParentRun, as run: String, of tracker: Tracker, _ indices: [Int], _ deferred: [Int],
    isLeftOpen: Bool, in directory: SweepDirectory
  ) throws -> ParentRun {
    var parent = parent
    var record = ParentRecord(
      run: run, trackingURI: tracker.trackingURI, experiment: tracker.settings.experiment,
      journal: tracker.settings.journalDirectory, indices: indices, deferred: deferred,
      isLeftOpen: isLeftOpen)
    try record.add(to: directory)
    parent.record = record
    Terminal.note("MLflow parent run \(parent.run)")
    return parent
  }

  private static func leftOpen(_ run: String, _ store: String) -> String {
    "MLflow: \(store), parent run \(run), left for its owner to end"
  }
}
