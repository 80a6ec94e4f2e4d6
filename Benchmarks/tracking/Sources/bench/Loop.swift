import BllarseCore
import BllarseMLflow
import Foundation

extension Bench {
  /// A real training (cross-entropy on the digits by Adam, batches of 64, one thread) with and without a
  /// thousand metrics a second: blocks of two seconds in turn, so that drift of the machine cancels.
  ///
  /// A block is timed after a lead-in with the same logging, so that writing, syncing and delivering are
  /// under way in all of it; what is left is delivered before the next block begins.
  func measureLoop() throws {
    let budget = 84.0  // seconds in all
    let start = Time.wall
    let run = try makeTracker().startRun(name: "overhead")
    run.log(metric: "loss", 0)
    run.waitForDelivery(upTo: .seconds(5))

    // Metrics are logged after every so many steps, or several after each, to make a thousand a second.
    let free = try Block(seconds: 1, run: nil, interval: 1, count: 1).measure()
    let rate = free.steps / free.wall
    let interval = max(1, Int((rate / 1000).rounded(.down)))
    let count = max(1, Int((1000 / rate).rounded(.up)))

    var wall: [Double] = []
    var processor: [Double] = []
    var others: [Double] = []
    var rates: [Double] = []
    var calls: [Double] = []
    while Time.wall - start < budget {
      var pair: [Bool: Block.Result] = [:]
      // The order changes from pair to pair.
      for isLogging in wall.count % 2 == 0 ? [false, true] : [true, false] {
        pair[isLogging] = try Block(
          seconds: 1.5, run: isLogging ? run : nil, interval: interval, count: count
        ).measure()
        if isLogging { run.waitForDelivery(upTo: uri.hasSuffix(":9") ? .zero : .seconds(5)) }
      }
      guard let silent = pair[false], let logging = pair[true] else { continue }
      wall.append(logging.wall / logging.steps / (silent.wall / silent.steps) - 1)
      processor.append(logging.thread / logging.steps / (silent.thread / silent.steps) - 1)
      others.append((logging.process - logging.thread) / logging.wall)
      rates.append(logging.metrics / logging.wall)
      calls.append(logging.calls / logging.wall)
    }
    func percent(_ values: [Double]) -> String {
      let figure = values.medianWithInterval
      return String(
        format: "%.2f %% (%.2f to %.2f)", 100 * figure.median, 100 * figure.low, 100 * figure.high)
    }
    show(
      "training, \(destination)",
      String(format: "%.0f steps/s, %.0f metrics/s logged", rate, rates.quantile(0.5)))
    show(
      "training slowed by logging, \(destination) (median of \(wall.count) pairs, 95 % interval)",
      percent(wall))
    show(
      "time of the training's thread in the logging calls, \(destination)",
      String(format: "%.2f %%", 100 * calls.quantile(0.5)))
    show("the same in processor time of the training's thread, \(destination)", percent(processor))
    show(
      "processor time of the journal's and delivery's threads, \(destination)",
      String(format: "%.1f %% of one core", 100 * others.quantile(0.5)))
    run.finish(waitingUpTo: .seconds(3))
  }
}

/// Some seconds of training.
struct Block {
  struct Result: Sendable {
    var steps = 0.0
    var metrics = 0.0
    /// Seconds in the logging calls.
    var calls = 0.0
    var wall = 0.0
    var thread = 0.0
    var process = 0.0
  }

  let seconds: Double
  /// The run that is logged to; nil to train only.
  let run: Run?
  let interval: Int
  let count: Int
  static let leadIn = 1.3

  func measure() throws -> Result {
    var configuration = RunConfiguration()
    configuration.lossFunction = "CrossEntropy"
    configuration.optimizer = .adam
    configuration.batchSize = 64
    configuration.epochs = 1_000_000
    configuration.threadCount = 1
    let counter = StepCounter(self)
    let training = FineTuning(configuration, shouldStop: { counter.step() })
    do { _ = try training.run() } catch is RunInterrupted {}
    return counter.result
  }
}

/// What the training calls after each of its steps: logs, and stops it when the time is over.
final class StepCounter: @unchecked Sendable {
  // Touched by the training's thread only, and read when that has ended.
  private let block: Block
  private let names: [String]
  private var steps = 0
  private var metrics = 0
  private var calls = 0.0
  private let begin = Time.wall
  private var start: Block.Result?
  private(set) var result = Block.Result()

  init(_ block: Block) {
    self.block = block
    names = (0..<block.count).map { "loss\($0)" }
  }

  func step() -> Bool {
    steps += 1
    if let run = block.run, steps % block.interval == 0 {
      let before = Time.wall
      for name in names { run.log(metrics: [name: 1 / Double(steps)], step: steps) }
      calls += Time.wall - before
      metrics += names.count
    }
    let now = Time.wall
    guard now - begin >= Block.leadIn else { return false }
    guard let start else {
      self.start = reading(now)
      return false
    }
    guard now - start.wall >= block.seconds else { return false }
    let end = reading(now)
    result = Block.Result(
      steps: end.steps - start.steps, metrics: end.metrics - start.metrics,
      calls: end.calls - start.calls,
      wall: end.wall - start.wall, thread: end.thread - start.thread,
      process: end.process - start.process)
    return true
  }

  private func reading(_ now: Double) -> Block.Result {
    Block.Result(
      steps: Double(steps), metrics: Double(metrics), calls: calls, wall: now, thread: Time.thread,
      process: Time.process)
  }
}
