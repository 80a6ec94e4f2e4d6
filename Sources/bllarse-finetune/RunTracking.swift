import BllarseCore
import BllarseMLflow
import Foundation

/// Reports a run to a tracker under the names of the Python original.
final class RunTracking: RunObserver {
  private let run: Run
  private let outputPath: String?
  private let logsCheckpoint: Bool
  private let termination: TerminationHandler?

  init(_ run: Run, _ configuration: RunConfiguration, logsCheckpoint: Bool) {
    self.run = run
    self.outputPath = configuration.outputPath
    self.logsCheckpoint = logsCheckpoint
    // A run that a signal ends is closed as such, and the signal then has its effect; one that writes a
    // checkpoint and stops by itself is closed when it does.
    termination = configuration.outputPath == nil ? run.endOnTermination() : nil
    var parameters: [String: any CustomStringConvertible] = [:]
    for (name, value) in configuration.arguments { parameters[name] = value }
    parameters["num_vb_iters"] = parameters.removeValue(forKey: "num_update_iters")
    run.log(parameters: parameters)
  }

  func runDidFinishEpoch(_ record: EpochRecord) {
    var metrics = [
      "epoch": Double(record.epoch), "loss": record.loss, "nll": record.nll, "acc": record.acc,
      "ece": record.ece,
    ]
    metrics["elbo"] = record.elbo
    run.log(metrics: metrics, step: record.step)
  }

  /// Closes the run after it ended well.
  func finish(_ result: RunResult) {
    run.log(
      metrics: [
        "train.acc": result.train.acc, "train.nll": result.train.nll, "train.ece": result.train.ece,
        "train.brier": result.train.brier, "test.acc": result.test.acc,
        "test.nll": result.test.nll, "test.ece": result.test.ece, "test.brier": result.test.brier,
        "seconds.fit": result.seconds.fit, "seconds.total": result.seconds.total,
      ], step: 0)
    if let outputPath {
      do {
        try run.log(artifact: outputPath + "/result.json")
        if logsCheckpoint { try run.log(artifact: outputPath + "/head.safetensors") }
      } catch {
        Terminal().runDidNote("an artifact could not be kept for tracking: \(error)")
      }
    }
    termination?.cancel()
    run.finish(status: .finished)
  }

  /// Closes the run after it failed.
  func fail(interrupted: Bool) {
    termination?.cancel()
    run.finish(status: interrupted ? .killed : .failed)
  }
}
