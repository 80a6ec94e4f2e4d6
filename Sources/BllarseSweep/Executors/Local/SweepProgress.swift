/// How far a local pool has come: what has ended how, and when the rest will have.
package struct SweepProgress: Sendable {
  package private(set) var done = 0
  package private(set) var failed = 0
  private var skipped = 0
  private let total: Int
  private let jobs: Int
  /// When each that is under way started.
  private var started: [Int: Double] = [:]
  private var endedSeconds = 0.0
  private var endedCount = 0

  package init(total: Int, jobs: Int) {
    self.total = total
    self.jobs = max(1, jobs)
  }

  package var left: Int { total - done - failed - skipped }

  package mutating func record(_ event: LocalExecutor.Event, at time: Double) {
    switch event {
    case .started(let index, _, _): started[index] = time
    case .finished(let index, _):
      done += 1
      settle(index, at: time)
    case .failed(let index, _, let pause):
      if pause == nil { failed += 1 }
      settle(index, at: time)
    case .interrupted(let index): started[index] = nil
    case .skipped: skipped += 1
    // When it started is not known here, so that it says nothing about how long a run takes.
    case .adopted, .stopping: break
    }
  }

  private mutating func settle(_ index: Int, at time: Double) {
    // What could not even be started says nothing about how long a run takes.
    guard let begin = started.removeValue(forKey: index) else { return }
    endedSeconds += time - begin
    endedCount += 1
  }

  /// The seconds until the last will have ended, if what is left takes as long as what has ended took on
  /// average; nil while nothing has.
  package func secondsLeft(at time: Double) -> Double? {
    guard left > 0 else { return 0 }
    guard endedCount > 0 else { return nil }
    let each = endedSeconds / Double(endedCount)
    let running = started.values.map { max(0, each - (time - $0)) }
    let waiting = Double(max(0, left - started.count)) * each
    // All processors share the work, but no run is shared.
    let slots = Double(min(jobs, max(1, left)))
    let least = waiting > 0 ? each : running.max() ?? 0
    return max(least, (running.reduce(0, +) + waiting) / slots)
  }

  /// `3 done, 1 failed, 8 left, about 2 min`.
  package func text(at time: Double) -> String {
    var parts = ["\(done) done"]
    if failed > 0 { parts.append("\(failed) failed") }
    parts.append("\(left) left")
    if left > 0, let seconds = secondsLeft(at: time) { parts.append(Self.about(seconds)) }
    return parts.joined(separator: ", ")
  }

  /// A time that is only estimated, in the unit that a person would take.
  static func about(_ seconds: Double) -> String {
    func number(_ value: Double) -> Int { Int(min(value.rounded(.up), 1e9)) }
    if seconds < 1 { return "about 1 s" }
    if seconds < 90 { return "about \(number(seconds)) s" }
    if seconds < 90 * 60 { return "about \(number(seconds / 60)) min" }
    if seconds < 48 * 3600 { return "about \(number(seconds / 3600)) h" }
    return "about \(number(seconds / 86_400)) days"
  }
}

extension RunResult {
  /// The main scores of the result, for a line: `test.acc 0.988, test.nll 0.02906`.
  package func scoreText(limit: Int = 3) -> String {
    var names: [String] = []
    Collector.numbers(in: metrics, prefix: "") { name, _ in names.append(name) }
    return MainScores.among(Collector.ownNumbers(names), count: limit).compactMap { name in
      metrics[path: name]?.doubleValue.map {
        "\(name) \(JSON.number(ResultTable.rounded($0, digits: 4)).compact)"
      }
    }.joined(separator: ", ")
  }
}
