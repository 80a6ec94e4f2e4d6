import ArgumentParser
import BllarseCore
import BllarseMLflow
import BllarseNumerics
import Foundation
import Logging

/// Where the run is tracked: the names of the Python original.
struct TrackingOptions: ParsableArguments {
  @Flag(name: [.long, .customLong("enable_mlflow")], help: "Track the run in MLflow.")
  var enableMlflow = false

  @Flag(help: "The old name of --enable-mlflow.")
  var enableWandb = false

  @Option(
    help: """
      An MLflow server or sqlite:///FILE. (default: MLFLOW_TRACKING_URI, the credentials file, or \
      ./mlflow.db)
      """)
  var mlflowTrackingUri: String?

  @Option(help: "The experiment. (default: MLFLOW_EXPERIMENT_NAME, or bllarse)")
  var mlflowExperiment: String?

  @Option(
    help: "Seconds to wait for delivery at the end; the rest stays in the journal. (default: 30)")
  var mlflowDrainSeconds: Double?

  @Option(
    help: "A name that runs of one sweep share; logged as a tag. (default: finetuning_test)")
  var groupId: String?

  @Option(
    help: "The name of the run. (default: BLLARSE_RUN_NAME, which a sweep sets, or one made up)")
  var uid: String?

  @Flag(
    help: """
      Upload the head, and for a head that is fitted by steps or batches every --save-every epochs the \
      state of the run with that of its optimiser (checkpoints/epoch_00010.safetensors).
      """)
  var logCheckpoints = false

  /// The group of runs that belong to none, as the Python original names it.
  static let defaultGroup = "finetuning_test"

  /// Threads of the journal, of the delivery, and of signals.
  private static let threadCount = 5

  /// Whether tracking is asked for.
  var isEnabled: Bool { enableMlflow || enableWandb }

  func validate() throws {
    try requireRange(
      "--mlflow-drain-seconds", mlflowDrainSeconds, "a number from 0 to 604800, a week",
      (0...604_800).contains)
  }

  /// Starts tracking, if it was asked for.
  ///
  /// - Parameters:
  ///   - configuration: the run.
  ///   - terminal: takes notes.
  ///   - group: the group when none is given.
  ///   - more: tags beside those of every run.
  /// - Returns: the run, or `nil` when it is not tracked.
  /// - Throws: what makes tracking impossible from the start, an unusable URI for one; a server that
  ///   does not answer is no such thing.
  func start(
    _ configuration: RunConfiguration, _ terminal: Terminal, group: String = defaultGroup,
    tags more: [String: String] = [:]
  ) throws -> RunTracking? {
    guard isEnabled else { return nil }
    guard ThreadReservation.canStart(Self.threadCount) else {
      throw NumericsError.outOfThreads(Self.threadCount, purpose: "tracking (--enable-mlflow)")
    }
    var settings = TrackerConfiguration(
      trackingURI: mlflowTrackingUri.flatMap { $0.isEmpty ? nil : $0 },
      experiment: mlflowExperiment.flatMap { $0.isEmpty ? nil : $0 })
    settings.drainTimeout = .milliseconds(Int((mlflowDrainSeconds ?? 30) * 1000))
    var tags = ["loss_fn": configuration.lossFunction, "tune_mode": "last_layer"]
    tags["optimizer"] =
      HeadRegistry.isClosedForm(configuration.lossFunction)
      ? "none" : configuration.optimizer.rawValue
    tags["group_id"] = groupId ?? group
    if let text = configuration.text { tags["optimizer"] = text.optimizer.rawValue }
    tags.merge(more) { $1 }
    let (run, id) = try startOrResume(settings, configuration, tags: tags)
    return RunTracking(
      run, configuration, id: id, logsCheckpoint: logCheckpoints,
      drainTimeout: settings.drainTimeout)
  }

  /// What the user calls the run, else what its sweep does.
  private var runName: String? {
    uid.flatMap { $0.isEmpty ? nil : $0 } ?? EnvironmentVariable.runName.value
  }

  /// A new run, whose id and journal's place are kept in the output directory; or the one that is kept
  /// there, when a run goes on, from wherever that is done.
  private func startOrResume(
    _ settings: TrackerConfiguration, _ configuration: RunConfiguration, tags: [String: String]
  ) throws -> (run: Run, id: KeptID?) {
    guard let directory = configuration.outputPath else {
      return (try Tracker(settings).startRun(name: runName, tags: tags), nil)
    }
    let holdsRun = try RunPlan.checkOutput(of: configuration)
    let path = directory + "/mlflow_run_id"
    if configuration.resumes, let text = try? String(contentsOfFile: path, encoding: .utf8) {
      let lines = text.split(whereSeparator: \.isNewline).map(String.init)
      if let id = lines.first {
        var settings = settings
        if lines.count > 1, FileManager.default.fileExists(atPath: lines[1] + "/" + id) {
          settings.journalDirectory = lines[1]
        }
        return (try Tracker(settings).resumeRun(id: id, tags: tags), nil)
      }
    }
    let tracker = try Tracker(settings)
    let run = try tracker.startRun(name: runName, tags: tags)
    // A directory that must exist and does not is for the run to report.
    guard
      !configuration.resumes || !configuration.resumesExistingOnly
        || FileManager.default.fileExists(atPath: directory)
    else { return (run, nil) }
    try Files.prepareDirectory(directory)
    let id = KeptID(path: path, text: "\(run.id)\n\(tracker.journalDirectory)\n")
    // Where a run is already, its files stay until there are others.
    if holdsRun { return (run, id) }
    try id.write()
    return (run, nil)
  }
}

/// The id of a tracked run in the output directory, by which a run that goes on finds it.
struct KeptID {
  let path: String
  let text: String

  /// Writes the file.
  ///
  /// - Throws: `DataError.Code.unwritableFile`.
  func write() throws(DataError) { try Files.write(text, to: path, durability: .whole) }
}
