import ArgumentParser
import BllarseCore
import BllarseMLflow
import BllarseNumerics
import Foundation
import Logging

/// The options about tracking: the names of the Python original.
enum TrackingList: OptionList {
  static let options: [OptionInfo] = {
    func option(
      _ name: String, _ help: String, default text: String? = nil, isFlag: Bool = false,
      isNoted: Bool = true
    ) -> OptionInfo {
      var info = OptionInfo(name, group: .running, help, default: text)
      if isFlag { info.arity = .flag }
      info.isNotedWhereIdle = isNoted
      return info
    }
    var enable = option("enable-mlflow", "Track the run in MLflow.", isFlag: true)
    enable.otherName = "enable_mlflow"
    return [
      enable, option("enable-wandb", "The old name of --enable-mlflow.", isFlag: true),
      option(
        "mlflow-tracking-uri", "An MLflow server or sqlite:///FILE.",
        default: "MLFLOW_TRACKING_URI, the credentials file, or ./mlflow.db"),
      option("mlflow-experiment", "The experiment.", default: "MLFLOW_EXPERIMENT_NAME, or bllarse"),
      option(
        "mlflow-drain-seconds",
        "Seconds to wait for delivery at the end; the rest stays in the journal.", default: "30",
        isNoted: false),
      option(
        "group-id", "A name that runs of one sweep share; logged as a tag.",
        default: TrackingOptions.defaultGroup),
      option(
        "uid", "The name of the run.",
        default: "BLLARSE_RUN_NAME, which a sweep sets, or one made up"),
      option(
        "log-checkpoints",
        """
        Upload the head, and for a head that is fitted by steps or batches every --save-every epochs the \
        state of the run with that of its optimiser (checkpoints/epoch_00010.safetensors).
        """, isFlag: true),
    ]
  }()
}

struct TrackingOptions {
  private let given: GivenOptions

  init(_ given: GivenOptions) { self.given = given }

  /// The group of runs that belong to none, as the Python original names it.
  static let defaultGroup = "finetuning_test"

  /// Threads of the journal, of the delivery, and of signals.
  private static let threadCount = 5

  var isEnabled: Bool { given.contains("enable-mlflow") || given.contains("enable-wandb") }

  private func text(_ name: String) -> String? { given[name].flatMap { $0.isEmpty ? nil : $0 } }

  private var idle: [OptionInfo] {
    isEnabled
      ? []
      : TrackingList.options.filter {
        $0.arity == .flag ? given.contains($0.name) : text($0.name) != nil
      }
  }

  /// What is to be said about options that change nothing, as the run is not tracked.
  var notes: [String] {
    idle.filter(\.isNotedWhereIdle).map {
      "--\($0.name) has no effect here: it is for runs with --enable-mlflow"
    }
  }

  /// Refuses what cannot be, and what would change nothing.
  func check() throws {
    if let info = idle.first(where: { !$0.isNotedWhereIdle }) {
      throw ValidationError("--\(info.name) is for runs with --enable-mlflow")
    }
    guard let text = given["mlflow-drain-seconds"] else { return }
    guard let seconds = Double(text), 0...604_800 ~= seconds else {
      throw ValidationError(
        "--mlflow-drain-seconds is '\(text)'; expected a number from 0 to 604800, a week")
    }
  }

  /// Starts tracking, if it was asked for, with a group for when none is given, and further tags.
  ///
  /// - Throws: what makes tracking impossible from the start, an unusable URI for one; a server that
  ///   does not answer is no such thing.
  func start(
    _ configuration: RunConfiguration, group: String, tags more: [String: String]
  ) throws -> RunTracking? {
    guard isEnabled else { return nil }
    guard ThreadReservation.canStart(Self.threadCount) else {
      throw NumericsError.outOfThreads(Self.threadCount, purpose: "tracking (--enable-mlflow)")
    }
    var settings = TrackerConfiguration(
      trackingURI: text("mlflow-tracking-uri"), experiment: text("mlflow-experiment"))
    settings.drainTimeout = .milliseconds(
      Int((text("mlflow-drain-seconds").flatMap(Double.init) ?? 30) * 1000))
    let method = configuration.method
    var tags = [
      "loss_fn": method.head, "tune_mode": "last_layer", "group_id": given["group-id"] ?? group,
    ]
    tags["optimizer"] =
      configuration.data.text?.optimizer.rawValue
      ?? (method.selector?.name == "optimizer" ? method.wayName ?? "newton" : "none")
    tags.merge(more) { $1 }
    let (run, keepID) = try startOrResume(settings, configuration, tags: tags)
    return RunTracking(
      run, configuration, keepID: keepID, logsCheckpoint: given.contains("log-checkpoints"),
      drainTimeout: settings.drainTimeout)
  }

  /// What the user calls the run, else what its sweep does.
  private var runName: String? { text("uid") ?? Host.variable("BLLARSE_RUN_NAME") }

  /// A new run, whose id and journal's place are kept in the output directory, now or by a call later on; or
  /// the one that is kept there, when a run goes on, from wherever that is done.
  private func startOrResume(
    _ settings: TrackerConfiguration, _ configuration: RunConfiguration, tags: [String: String]
  ) throws -> (run: Run, keepID: (() throws -> Void)?) {
    guard let directory = configuration.output.path else {
      return (try Tracker(settings).startRun(name: runName, tags: tags), nil)
    }
    let holdsRun = try RunPlan.checkOutput(of: configuration)
    let path = directory + "/mlflow_run_id"
    if configuration.output.resumes, let text = try? String(contentsOfFile: path, encoding: .utf8) {
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
      !configuration.output.resumes || !configuration.output.resumesExistingOnly
        || FileManager.default.fileExists(atPath: directory)
    else { return (run, nil) }
    try Files.prepareDirectory(directory)
    let text = "\(run.id)\n\(tracker.journalDirectory)\n"
    func keepID() throws { try Files.write(text, to: path, durability: .whole) }
    // Where a run is already, its files stay until there are others.
    if holdsRun { return (run, keepID) }
    try keepID()
    return (run, nil)
  }
}
