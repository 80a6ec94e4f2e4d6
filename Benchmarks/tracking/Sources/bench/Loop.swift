import BllarseCore
import BllarseMLflow
import Foundation

extension Bench {
  /// A real training (cross-entropy on the digits by Adam, batches of 64, one thread) that logs a
  /// thousand metrics a second in every other window of three seconds.
  ///
  /// All windows belong to one training, so that data and weights lie in the same places. The first part
  /// of a window is not timed: then writing, syncing and delivering are under way in all that is timed
  /// with logging, and over in what is timed without. Each window with logging is compared with its two
  /// neighbours without, which cancels drift.
  func measureLoop() throws {
    let run = try makeTracker().startRun(name: "overhead")
    run.log(metric: "loss", 0)
    run.waitForDelivery(upTo: .seconds(5))

    var configuration = RunConfiguration()
    configuration.method = Method("CrossEntropy", "adam")
    configuration.method[FitOptions.batchSize] = 64
    configuration.epochs = 1_000_000
    configuration.threadCount = 1
    let windows = Windows(run: run, count: 27)
    let training = FineTuning(configuration, shouldStop: { windows.step() })
    do { _ = try training.run() } catch is RunInterrupted {}

    let results = windows.results
    var ratios: [Double] = []
    for index in stride(from: 1, to: results.count - 1, by: 2) {
      let around = (results[index - 1].secondsPerStep + results[index + 1].secondsPerStep) / 2
      ratios.append(100 * (results[index].secondsPerStep / around - 1))
    }
    let logging = stride(from: 1, to: results.count, by: 2).map { results[$0] }
    let rate = logging.map { $0.metrics / $0.wall }.quantile(0.5)
    let speed = results.map { 1 / $0.secondsPerStep }.quantile(0.5)
    let figure = ratios.medianWithInterval
    show(
      "a training of \(Int(speed.rounded())) steps/s that logs \(Int(rate.rounded())) metrics/s, \(destination): slowed by",
      String(
        format: "%.2f %% (95 %% interval of the median: %.2f to %.2f)", figure.median, figure.low,
        figure.high))
    show(
      "  of that, in the logging calls",
      String(format: "%.2f %%", 100 * logging.map { $0.calls / $0.wall }.quantile(0.5)))
    show(
      "  processor time of the threads that write and deliver",
      String(
        format: "%.1f %% of one core",
        100 * logging.map { ($0.process - $0.thread) / $0.wall }.quantile(0.5)))
    run.finish(waitingUpTo: .seconds(3))
  }
}

/// What the training calls after each of its steps.
final class Windows: @unchecked Sendable {
  struct Result {
    var metrics = 0.0
    /// Seconds in the logging calls.
    var calls = 0.0
    var wall = 0.0
    /// Processor time of the training's thread, and of all threads.
    var thread = 0.0
    var process = 0.0
    /// Seconds for a step in each piece of ten milliseconds.
    var pieces: [Double] = []

    /// The mean of the pieces but the slowest tenth, in which the machine did something else.
    var secondsPerStep: Double {
      let kept = pieces.sorted().prefix(max(1, pieces.count * 9 / 10))
      return kept.reduce(0, +) / Double(kept.count)
    }
  }
  static let seconds = 3.0
  static let leadIn = 1.2
  static let piece = 0.01

  // Touched by the training's thread only, and read when that has ended.
  private let run: Run
  private let count: Int
  private(set) var results: [Result] = []
  private var current = Result()
  private var begin = Time.wall
  private var isTimed = false
  private var steps = 0
  private var interval = 1
  private var pieceStart = 0.0
  private var pieceSteps = 0

  init(run: Run, count: Int) {
    self.run = run
    self.count = count
  }

  func step() -> Bool {
    steps += 1
    pieceSteps += 1
    if results.count % 2 == 1, steps % interval == 0 {
      let before = Time.wall
      run.log(metrics: ["loss": 1 / Double(steps)], step: steps)
      current.calls += Time.wall - before
      current.metrics += 1
    }
    let now = Time.wall
    if !isTimed {
      guard now - begin >= Self.leadIn else { return false }
      isTimed = true
      current = Result(wall: -now, thread: -Time.thread, process: -Time.process)
      (pieceStart, pieceSteps) = (now, 0)
      return false
    }
    if now - pieceStart >= Self.piece {
      current.pieces.append((now - pieceStart) / Double(pieceSteps))
      (pieceStart, pieceSteps) = (now, 0)
    }
    guard now - begin >= Self.seconds else { return false }
    current.wall += now
    current.thread += Time.thread
    current.process += Time.process
    results.append(current)
    // A thousand metrics a second at the speed of the window before.
    interval = max(1, Int((1e-3 / current.secondsPerStep).rounded(.down)))
    (begin, isTimed) = (now, false)
    return results.count == count
  }
}
