import BllarseCore
import BllarseMLflow
import Foundation

/// A run with all that is around it: signals, progress, tracking, its results on the terminal.
struct TrackedRun {
  let configuration: RunConfiguration
  let tracking: TrackingOptions
  /// The group of the tracked run when none is given.
  var group = TrackingOptions.defaultGroup
  /// Tags of the tracked run beside those of every run.
  var tags: [String: String] = [:]
  /// Whether the scores of the best epoch are shown, as the Python original's text script reports them.
  var showsBest = false

  init(_ configuration: RunConfiguration, _ tracking: TrackingOptions) {
    (self.configuration, self.tracking) = (configuration, tracking)
  }

  /// Does it; `prepare` is called when the tracker has started, before anything is loaded.
  func run(prepare: (RunTracking?) throws -> Void = { _ in }) throws {
    let terminal = Terminal()
    Interruption.listen(configuration.output.path)
    try reportingErrors {
      _ = try RunPlan.checkOutput(of: configuration)
      let tracker = try tracking.start(configuration, group: group, tags: tags)
      do {
        try prepare(tracker)
        let observers: [any RunObserver] =
          [terminal, InterruptionPhases(configuration: configuration)]
          + (tracker.map { [$0] } ?? [])
        let (result, _) = try FineTuning(
          configuration, observers: observers, shouldStop: { Interruption.signal != nil }
        ).run()
        terminal.show(result, output: configuration.output.path)
        if showsBest, let best = result.best {
          terminal.show(best, isWithinEpochs: configuration.effectiveInterval > 0)
        }
        Interruption.enter(.delivery)
        tracker?.finish(result)
        Interruption.endsByItself()
      } catch {
        let isInterrupted = error is RunInterrupted
        if isInterrupted { Interruption.endsByItself() } else { Interruption.enterFailure(error) }
        tracker?.fail(interrupted: isInterrupted)
        if !isInterrupted { Interruption.endsByItself() }
        throw error
      }
    }
  }
}

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
    Interruption.beforeEnding { phase in
      let status: RunStatus =
        switch phase {
        case .delivery: .finished
        case .failure: .failed
        case .steps, .work: .killed
        }
      run.finish(status: status, waitingUpTo: .seconds(0.5))
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
    do {
      try keepID?()
    } catch {
      Terminal().runDidNote("\(error)")
    }
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
    do {
      try keep()
    } catch {
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

  /// Closes the run after it ended well.
  func finish(_ result: RunResult) {
    keepIDOnce()
    let scores = result.trackedMetrics
    // Under the last step, where a page sorts them; a run that was over and is resumed gives the same
    // scores again.
    run.log(metrics: scores.filter { loggedSteps?[$0.key] == nil }, step: lastStep)
    // A run that was over has these, and a parameter keeps its first value.
    if loggedSteps?["test.acc"] == nil { run.log(parameters: result.trackedParameters) }
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
      "accuracy \(number(scores.acc)), NLL \(number(scores.nll)), ECE \(number(scores.ece))"
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

  /// A name as a person says it.
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
