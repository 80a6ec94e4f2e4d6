import BllarseCore
import BllarseMLflow
import Foundation

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
  /// The last epoch that is logged.
  private var lastStep: Int
  /// The run's id, until it can be kept.
  private var id: KeptID?

  init(
    _ run: Run, _ configuration: RunConfiguration, id: KeptID?, logsCheckpoint: Bool,
    drainTimeout: Duration
  ) {
    self.run = run
    self.id = id
    self.drainTimeout = drainTimeout
    self.outputPath = configuration.output.path
    method = configuration.methodWords
    self.logsCheckpoint = logsCheckpoint
    // A run that a signal ends is closed as such, and the signal then has its effect; one that writes a
    // checkpoint and stops by itself is closed when it does; a lost terminal ends both.
    termination = run.endOnTermination(
      signals: configuration.output.path == nil ? [SIGTERM, SIGINT, SIGHUP] : [SIGHUP],
      waitingUpTo: .seconds(1.5),
      report: { Terminal().runIsTracked($0.location) })
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
    run.log(
      metrics: Dictionary(uniqueKeysWithValues: test.values.map { ("baseline_\($0)", $1) }))
  }

  func runDidScoreBatch(_ record: EpochRecord) { runDidFinishEpoch(record) }

  /// Keeps the id, once there are files of the run that it belongs to.
  private func keepID() {
    guard let id else { return }
    self.id = nil
    do {
      try id.write()
    } catch {
      Terminal().runDidNote("\(error)")
    }
  }

  func runDidFinishEpoch(_ record: EpochRecord) {
    keepID()
    // An epoch that a resumed run computes again is there already.
    guard record.step > lastStep else { return }
    lastStep = record.step
    run.log(
      metrics: record.metrics.merging(["epoch": Double(record.epoch)]) { $1 }, step: record.step)
    // Epochs may take milliseconds: the training does not wait for the disk.
    run.flush(waitsForDisk: false)
  }

  func runWillSave(epoch: Int, write: (String) throws -> Void) {
    let digits = String(epoch)
    let number = String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    keep(as: "checkpoints/epoch_\(number).safetensors", write)
  }

  func runDidFit(write: (String) throws -> Void) {
    // With an output directory its file is logged at the end.
    if outputPath == nil { keep(as: "head.safetensors", write) }
  }

  /// Writes a file beside the journal, and logs it; the journal keeps a link of its own.
  private func keep(as name: String, _ write: (String) throws -> Void) {
    guard logsCheckpoint else { return }
    let path = run.directory + "/checkpoint.safetensors"
    do {
      defer { try? FileManager.default.removeItem(atPath: path) }
      try write(path)
      try run.log(artifact: path, as: name, staging: .link)
    } catch {
      Terminal().runDidNote("\(name) could not be kept for tracking: \(error)")
    }
  }

  /// Logs metrics that a run has once.
  func log(_ metrics: [String: Double]) {
    run.log(metrics: metrics.filter { loggedSteps?[$0.key] == nil }, step: 0)
  }

  /// Logs the epochs that the killed process had finished, and could not log any more.
  private func takeUpEpochs(in directory: String) {
    guard let text = try? String(contentsOfFile: directory + "/metrics.jsonl", encoding: .utf8)
    else { return }
    for line in text.split(separator: "\n") {
      guard let record = RunOutput.decode(EpochRecord.self, from: String(line)) else {
        return
      }
      if loggedSteps == nil { lastStep = record.step } else { runDidFinishEpoch(record) }
    }
  }

  /// Closes the run after it ended well.
  func finish(_ result: RunResult) {
    keepID()
    let scores = result.trackedMetrics
    // Under the last step, where a page sorts them; a run that was over and is resumed gives the same
    // scores again.
    run.log(metrics: scores.filter { loggedSteps?[$0.key] == nil }, step: lastStep)
    // A run that was over has these, and a parameter keeps its first value.
    if loggedSteps?["test.acc"] == nil { run.log(parameters: result.trackedParameters) }
    run.set(description: result.description(method: method, data: dataName))
    keepReliability(result)
    if let outputPath {
      do {
        try run.log(artifact: outputPath + "/result.json")
        if logsCheckpoint && result.hasHead {
          try run.log(artifact: outputPath + "/head.safetensors")
        }
      } catch {
        Terminal().runDidNote("an artifact could not be kept for tracking: \(error)")
      }
    }
    termination.cancel()
    run.finish(status: .finished)
    Terminal().runIsTracked(run.location)
  }

  private func keepReliability(_ result: RunResult) {
    guard let text = result.reliabilityText else { return }
    do {
      try run.log(text: text, as: "reliability.json")
    } catch {
      Terminal().runDidNote("the reliability diagram could not be kept for tracking: \(error)")
    }
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
