import BllarseSweep

/// Tells what a local pool does, a line an event: what has ended, its score, and how much is left.
///
/// The lines are whole and carry no terminal's codes, so that a log file reads as a terminal does.
final class ProgressReporter {
  private let directory: SweepDirectory
  private let labels: ConfigurationLabels
  private var progress: SweepProgress

  init(_ directory: SweepDirectory, count: Int, jobs: Int) throws {
    self.directory = directory
    labels = try ConfigurationLabels(directory)
    progress = SweepProgress(total: count, jobs: jobs)
  }

  func report(_ event: LocalExecutor.Event) {
    progress.record(event, at: Host.monotonic)
    Terminal.note(line(event))
  }

  private func line(_ event: LocalExecutor.Event) -> String {
    switch event {
    case .started(let index, let attempt, let resumed):
      let again = (attempt > 1 ? ", attempt \(attempt)" : "") + (resumed ? ", resumed" : "")
      return "\(index): started\(again)\(label(index))"
    case .adopted(let index):
      return "\(index): is at work, though what started it has ended; waiting for it\(label(index))"
    case .finished(let index, let seconds):
      let time = JSON.number((seconds * 10).rounded() / 10).compact
      let score = score(index)
      return
        "\(index): done in \(time) s\(score.isEmpty ? "" : ": \(score)")\(label(index))\(state)"
    case .failed(let index, let reason, let pause):
      let again = pause.map { "; again in \(JSON.number($0).compact) s" } ?? ""
      return "\(index): failed: \(reason)\(again)\(label(index))\(state)"
    case .interrupted(let index): return "\(index): interrupted"
    case .skipped(let index, let reason): return "\(index): skipped: \(reason)"
    case .stopping(let signal):
      return "\(signal): stopping; runs checkpoint and end (once more to kill them)"
    }
  }

  private var state: String { " | \(progress.text(at: Host.monotonic))" }

  private func entry(_ index: Int) -> ManifestEntry? { try? directory.manifest.entry(at: index) }

  /// What varies, in brackets; nothing where nothing does.
  private func label(_ index: Int) -> String {
    let values = entry(index).map(labels.values) ?? ""
    return values.isEmpty ? "" : " (\(values))"
  }

  private func score(_ index: Int) -> String {
    entry(index).flatMap { directory.run(index).result(hash: $0.hash)?.scoreText() } ?? ""
  }
}
