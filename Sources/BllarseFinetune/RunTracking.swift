import ArgumentParser
import BllarseCore
import BllarseMLflow
import BllarseNumerics
import Foundation
import Logging
import Synchronization

/// The options about tracking: the names of the Python original.
enum TrackingList: OptionList {
  static let options: [OptionInfo] = {
    func option(_ name: String, _ help: String, default text: String? = nil) -> OptionInfo {
      var info = OptionInfo(name, group: .running, help, default: text)
      if text == nil { info.arity = .flag }
      info.isNotedWhereIdle = name != "mlflow-drain-seconds"
      if name == "enable-mlflow" { info.otherName = "enable_mlflow" }
      return info
    }
    return [
      option("enable-mlflow", "Track the run in MLflow."),
      option("enable-wandb", "The old name of --enable-mlflow."),
      option(
        "mlflow-tracking-uri", "An MLflow server or sqlite:///FILE.",
        default: "MLFLOW_TRACKING_URI, the credentials file, or ./mlflow.db"),
      option("mlflow-experiment", "The experiment.", default: "MLFLOW_EXPERIMENT_NAME, or bllarse"),
      option(
        "mlflow-drain-seconds",
        "Seconds to wait for delivery at the end; the rest stays in the journal.", default: "30"),
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
        """),
    ]
  }()
}

struct TrackingOptions {
  let given: GivenOptions

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
        given[$0.name] == "" && $0.arity == .flag || text($0.name) != nil
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

  /// Where runs are tracked.
  var settings: TrackerConfiguration {
    var settings = TrackerConfiguration(
      trackingURI: text("mlflow-tracking-uri"), experiment: text("mlflow-experiment"))
    settings.drainTimeout = .milliseconds(
      Int((text("mlflow-drain-seconds").flatMap(Double.init) ?? 30) * 1000))
    return settings
  }

  /// What the user calls the run, else what its sweep does.
  var runName: String? { text("uid") ?? Host.variable("BLLARSE_RUN_NAME") }

  /// The name that runs share.
  var groupID: String { text("group-id") ?? Self.defaultGroup }

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
    let settings = settings
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

  /// A new run, whose id and journal's place are kept in the output directory, now or by a call later on; or
  /// the one that is kept there, when a run goes on, from wherever that is done.
  private func startOrResume(
    _ settings: TrackerConfiguration, _ configuration: RunConfiguration, tags: [String: String]
  ) throws -> (run: Run, keepID: (() throws -> Void)?) {
    let name = runName
    guard let directory = configuration.output.path else {
      return (try Tracker(settings).startRun(name: name, tags: tags), nil)
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
    let run = try tracker.startRun(name: name, tags: tags)
    // A directory that must exist and does not is for the run to report.
    guard
      !configuration.output.resumes || !configuration.output.resumesExistingOnly
        || FileManager.default.fileExists(atPath: directory)
    else { return (run, nil) }
    try Files.prepareDirectory(directory)
    let text = "\(run.id)\n\(tracker.settings.journalDirectory)\n"
    let keepID = { try Files.write(text, to: path, durability: .whole) }
    // Where a run is already, its files stay until there are others.
    if !holdsRun { try keepID() }
    return (run, holdsRun ? keepID : nil)
  }
}

// MARK: - The run

/// Reports a run to a tracker under the names of the Python original.
final class RunTracking: RunObserver {
  private let run: Run
  private let outputPath: String?
  private let method: String
  private var dataName = "the data"
  private let logsCheckpoint: Bool
  private let drainTimeout: Duration
  private let termination: TerminationHandler
  /// The greatest step of each metric that the run had before it was resumed; nil if its journal is
  /// not here any more.
  private let loggedSteps: [String: Int]?
  private var lastStep: Int
  /// Keeps the run's id, until that is done.
  private var keepID: (() throws -> Void)?

  init(
    _ run: Run, _ configuration: RunConfiguration, keepID: (() throws -> Void)?,
    logsCheckpoint: Bool, drainTimeout: Duration
  ) {
    (self.run, self.keepID, self.drainTimeout) = (run, keepID, drainTimeout)
    (outputPath, method) = (configuration.output.path, configuration.methodWords)
    self.logsCheckpoint = logsCheckpoint
    // A run that a signal ends is closed as such, and the signal then has its effect; one that writes a
    // checkpoint and stops by itself is closed when it does; a lost terminal ends both.
    termination = run.endOnTermination(
      signals: configuration.output.path == nil ? [SIGTERM, SIGINT, SIGHUP] : [SIGHUP],
      waitingUpTo: .seconds(1.5), report: { Terminal().runIsTracked($0.location) })
    loggedSteps = run.lastSteps()
    lastStep = loggedSteps?["loss"] ?? 0
    run.log(parameters: configuration.trackedParameters)
    if configuration.output.resumes, let outputPath { takeUpEpochs(in: outputPath) }
    // The end of the work that a signal cuts off is the run's end, too.
    Interruption.closing.withLock { closing in
      closing = { phase in
        let status: RunStatus =
          phase == .delivery ? .finished : phase == .failure ? .failed : .killed
        run.finish(status: status, waitingUpTo: .seconds(0.5))
      }
    }
  }

  func runDidLoad(_ data: FeatureDataset, seconds: RunSeconds) {
    dataName = data.name
    run.log(parameters: ["embed_dim": data.featureCount])
  }

  func runDidUse(_ backbone: ResidualMLP) {
    run.log(parameters: ["num_blocks": backbone.configuration.blockCount])
  }

  func runDidScoreBaseline(_ test: SplitScores) {
    guard loggedSteps?["baseline_acc"] == nil else { return }
    run.log(metrics: Dictionary(uniqueKeysWithValues: test.values.map { ("baseline_\($0)", $1) }))
  }

  func runDidScoreBatch(_ record: EpochRecord) { runDidFinishEpoch(record) }

  /// Keeps the id, once there are files of the run that it belongs to.
  private func keepIDOnce() {
    defer { keepID = nil }
    do { try keepID?() } catch { Terminal().runDidNote("\(error)") }
  }

  func runDidFinishEpoch(_ record: EpochRecord) {
    keepIDOnce()
    // An epoch that a resumed run computes again is there already.
    guard record.step > lastStep else { return }
    lastStep = record.step
    run.log(
      metrics: record.metrics.merging(["epoch": Double(record.epoch)]) { $1 }, step: record.step)
    // Epochs may take milliseconds: the training does not wait for the disk.
    run.flush(waitsForDisk: false)
  }

  func runWillSave(epoch: Int, write: (String) throws -> Void) {
    keep(as: "checkpoints/epoch_\(String.digits(epoch, width: 5)).safetensors", write)
  }

  func runDidFit(write: (String) throws -> Void) {
    // With an output directory its file is logged at the end.
    if outputPath == nil { keep(as: "head.safetensors", write) }
  }

  /// Writes a file beside the journal, and logs it; the journal keeps a link of its own.
  private func keep(as name: String, _ write: (String) throws -> Void) {
    guard logsCheckpoint else { return }
    let path = run.directory + "/checkpoint.safetensors"
    noting(name) {
      defer { try? FileManager.default.removeItem(atPath: path) }
      try write(path)
      try run.log(artifact: path, as: name, staging: .link)
    }
  }

  private func noting(_ what: String, _ keep: () throws -> Void) {
    do { try keep() } catch {
      Terminal().runDidNote("\(what) could not be kept for tracking: \(error)")
    }
  }

  func log(_ metrics: [String: Double]) {
    run.log(metrics: metrics.filter { loggedSteps?[$0.key] == nil }, step: 0)
  }

  /// Logs the epochs that the killed process had finished, and could not log any more.
  private func takeUpEpochs(in directory: String) {
    guard let text = try? String(contentsOfFile: directory + "/metrics.jsonl", encoding: .utf8)
    else { return }
    for line in text.split(separator: "\n") {
      guard let record = RunOutput.decode(EpochRecord.self, from: String(line)) else { return }
      if loggedSteps == nil { lastStep = record.step } else { runDidFinishEpoch(record) }
    }
  }

  func finish(_ result: RunResult) {
    keepIDOnce()
    let scores = result.trackedMetrics
    // Under the last step, where a page sorts them; a run that was over and is resumed gives the same
    // scores again.
    run.log(metrics: scores.filter { loggedSteps?[$0.key] == nil }, step: lastStep)
    // A run that was over has these, and a parameter keeps its first value.
    if loggedSteps?["test.nll"] == nil { run.log(parameters: result.trackedParameters) }
    run.set(description: result.description(method: method, data: dataName))
    if let text = result.reliabilityText {
      noting("the reliability diagram") { try run.log(text: text, as: "reliability.json") }
    }
    if let outputPath {
      noting("an artifact") {
        try run.log(artifact: outputPath + "/result.json")
        if logsCheckpoint && result.hasHead {
          try run.log(artifact: outputPath + "/head.safetensors")
        }
      }
    }
    termination.cancel()
    run.finish(status: .finished)
    Terminal().runIsTracked(run.location)
  }

  /// Closes the run after it failed, or was asked to stop: then somebody waits for its end.
  func fail(interrupted: Bool) {
    termination.cancel()
    run.finish(
      status: interrupted ? .killed : .failed,
      waitingUpTo: interrupted ? min(drainTimeout, Interruption.timeLeft) : nil)
    Terminal().runIsTracked(run.location)
  }
}

extension RunConfiguration {
  /// The parameters a run is tracked with.
  ///
  /// The keys of the Python original, also where there is one answer only here. The backbone's size is
  /// logged when it is there.
  var trackedParameters: [String: any CustomStringConvertible] {
    if data.text != nil {
      // The text script's own keys.
      let given: [String: any CustomStringConvertible] = [
        "max_train_samples": -1, "max_val_samples": -1, "train_subset_seed": -1,
      ]
      return given.merging(arguments.map { ($0.name, $0.value) }) { $1 }
    }
    var parameters: [String: any CustomStringConvertible] = [
      "optimizer": "none", "label_smooth": 0.0, "nodataaug": "True", "sequential_update": "False",
      "reset_loss_per_epoch": "False", "pretrained": pretraining,
    ]
    for (name, value) in arguments { parameters[name] = value }
    parameters["num_vb_iters"] = parameters.removeValue(forKey: "num_update_iters")
    return parameters
  }

  /// What the backbone was trained on, or the name of its file.
  private var pretraining: String {
    if data.featuresPath != nil { return "none" }
    if let namedBackbone = data.namedBackbone { return namedBackbone.pretraining.rawValue }
    let path = data.backbonePath ?? DigitsDataset.backboneName
    return URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent
  }
}

extension RunResult {
  /// What the fit chose, in words.
  var trackedParameters: [String: any CustomStringConvertible] {
    Dictionary(uniqueKeysWithValues: (chosen?.words ?? [:]).map { ("chosen.\($0.key)", $0.value) })
  }

  /// What stands at the top of the run's page, in Markdown.
  func description(method: String, data: String) -> String {
    func number(_ value: Double) -> String { String(format: "%.4g", value) }
    func figures(_ scores: SplitScores) -> String {
      let words = [
        ("accuracy", "acc"), ("RMSE", "rmse"), ("NLL", "nll"), ("CRPS", "crps"), ("ECE", "ece"),
      ]
      return words.compactMap { word, name in
        scores.values[name].map { "\(word) \(number($0))" }
      }.joined(separator: ", ")
    }
    var text = "\(method) on \(data): \(roles.test) \(figures(test))"
    if hasHead, let before = baseline?.first(where: { $0.split == roles.test })?.scores {
      text += "; the pretrained classifier before: \(figures(before))"
    }
    text += "."
    if let chosen {
      let names = ["prior_precision", "l2", "temperature"]
      let numbers = names.compactMap { name in
        chosen.numbers[name].map { "\(Self.word(name)) \(number($0))" }
      }
      let words = chosen.words.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
      text += "\n\nChosen: \((numbers + words).joined(separator: ", "))."
    }
    if let estimate = recipe?.estimate {
      text +=
        " To expect on new rows: accuracy \(number(estimate.acc)), NLL \(number(estimate.nll)) "
        + "± \(number(estimate.nllError ?? .nan)), ECE \(number(estimate.ece))."
    }
    let reasons = recipe?.reasons ?? []
    return text
      + (reasons.isEmpty ? "" : "\n\n" + reasons.map { "- \($0)" }.joined(separator: "\n"))
  }

  private static func word(_ name: String) -> String {
    name == "l2" ? "L2 strength" : name.replacing("_", with: " ")
  }
}

extension RunConfiguration {
  /// The head and how it is fitted: "IBProbit, converged,"; there is one way for softmax.
  var methodWords: String {
    guard effectiveEpochs > 0 else { return "The pretrained classifier" }
    guard method.selector != nil, let way = try? method.way() else { return method.head }
    return "\(method.head), \(way.name),"
  }
}
