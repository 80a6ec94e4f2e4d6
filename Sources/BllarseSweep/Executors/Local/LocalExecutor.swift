/// Runs configurations on this machine, a bounded number at a time.
///
/// Submitting an array runs it to its end; nothing waits anywhere.
package struct LocalExecutor: Executor {
  package static let name = "local"
  package static let keys = ["jobs", "retries", "retry_delay"]
  /// Memory, time and GPUs are nobody's to grant here.
  package static let resourceKeys = ["cpus"]

  /// What was asked for: `jobs` at once, or `cpus` for each; how often a failed configuration is tried
  /// again, and the pause before that, which doubles from one to the next.
  package let options: SubmitOptions
  /// How long a stopped program may take to checkpoint before it is killed.
  package var graceSeconds = 60.0
  package var launch: LaunchOptions
  package var report: (Event) -> Void = { _ in }
  private let directory: SweepDirectory

  package init(
    _ directory: SweepDirectory, options: SubmitOptions, runner: any CommandRunner = ProcessRunner()
  ) {
    (self.directory, self.options) = (directory, options)
    launch = LaunchOptions(
      program: options.program, python: PythonChoice(venv: options.venv),
      isStrict: options.isStrict)
  }

  package enum Event: Sendable {
    case started(index: Int, attempt: Int, resumed: Bool)
    /// Found at work, though what started it has ended.
    case adopted(index: Int)
    case finished(index: Int, seconds: Double)
    case failed(index: Int, reason: String, retryInSeconds: Double?)
    case interrupted(index: Int)
    case skipped(index: Int, reason: String)
    case stopping(signal: String)
  }

  package struct Summary: Sendable, Equatable {
    package var done: [Int] = []
    /// Failed, all retries included.
    package var failed: [Int] = []
    /// Done before, or run by somebody else.
    package var skipped: [Int] = []
    /// Stopped, or not begun because of a stop.
    package var interrupted: [Int] = []
  }

  /// The processors of each of `jobs` runs: equal shares, or one each when there are more runs.
  static func shares(of processors: [Int], jobs: Int) -> [[Int]] {
    let each = max(1, processors.count / jobs)
    return (0..<jobs).map { job in
      let start = job * each % processors.count
      return Array(processors[start..<min(start + each, processors.count)])
    }
  }

  package func jobCount(for count: Int) -> Int {
    let places = Host.processors.count / (options.resources.cpus ?? 1)
    return max(1, min(options["jobs"]?.intValue ?? places, count))
  }

  /// Runs the configurations until all have ended, or until a signal asks to stop.
  ///
  /// The first SIGINT, SIGTERM or SIGHUP asks the programs to checkpoint and end; the second kills
  /// them. Orphans, whose programs are at work though their launcher has ended, are waited for.
  package func run(_ indices: [Int], orphans: [Int] = []) throws -> Summary {
    let signals = Signals()
    let jobs = jobCount(for: indices.count + orphans.count)
    let shares = Self.shares(of: Host.processors, jobs: jobs)
    var launcher = Launcher(directory, launch)
    // A program that is missing is a fault of the command, not of its first configuration.
    if let first = indices.first {
      _ = try launcher.context(for: directory.manifest.entry(at: first))
    }
    var state = State(waiting: indices.reversed().map { ($0, 0, 0) })
    var free = Array((0..<jobs).reversed())
    for index in orphans {
      if let attempt = AdoptedAttempt(try directory.manifest.entry(at: index), in: directory) {
        report(.adopted(index: index))
        state.running.append(Running(attempt: attempt, slot: free.popLast(), failures: 0))
      } else {
        // Over since somebody looked: starting it tells whether it is done.
        state.waiting.append((index, 0, 0))
      }
    }

    while !state.running.isEmpty || (!state.waiting.isEmpty && !state.stopping) {
      while !state.stopping, let slot = free.last, let next = state.next(at: Host.monotonic) {
        if let attempt = try start(next.index, &launcher, shares[slot], &state.summary) {
          free.removeLast()
          state.running.append(Running(attempt: attempt, slot: slot, failures: next.failures))
        }
      }
      if let signal = signals.wait(seconds: 0.05) { stop(signal, &state) }
      if let killTime = state.killTime, Host.monotonic > killTime {
        for run in state.running { run.attempt.forward(Signals.kill) }
        state.killTime = .infinity
      }
      for place in state.running.indices.reversed() {
        let run = state.running[place]
        guard let end = try run.attempt.poll() else { continue }
        state.running.remove(at: place)
        if let slot = run.slot { free.append(slot) }
        settle(run, end, &state)
      }
    }
    state.summary.interrupted += state.waiting.map(\.index)
    return state.summary
  }

  package static func validate(_ key: String, _ value: JSON) throws {
    let number = value.doubleValue ?? -1
    switch key {
    case "jobs" where value.intValue == nil || number < 1:
      throw SweepError.data("a positive number")
    case "retries" where value.intValue == nil || number < 0:
      throw SweepError.data("a whole number from 0")
    case "retry_delay" where !(0...86_400).contains(number):
      throw SweepError.data("a number of seconds from 0 to 86400")
    default: break
    }
  }

  package func limits() throws -> ExecutorLimits { ExecutorLimits() }

  /// Runs the tasks to their end; an error (75) when a signal stopped it.
  package func submit(_ array: TaskArray) throws -> (job: String, command: [String]) {
    var executor = self
    executor.launch.environment.merge(array.environment) { $1 }
    let summary = try executor.run(array.chunk.indices)
    guard summary.interrupted.isEmpty else {
      throw SweepError.interrupted("stopped; \(Chunk.ranges(summary.interrupted)) have not ended")
    }
    return ("\(Host.name)-\(Host.processID)-\(array.submission.number)", [])
  }

  /// Knows of no task: each has ended when ``submit(_:)`` returns.
  package func states(of jobs: [String]) -> TaskStates { TaskStates() }
  package func cancel(_ tasks: [TaskReference], dryRun: Bool) throws -> [String] { [] }
  package static func task(in environment: [String: String]) -> TaskIdentity? { nil }
  private var retryDelaySeconds: Double { options["retry_delay"]?.doubleValue ?? 1 }

  private struct Running {
    let attempt: any WatchedAttempt
    /// Its place; nil for one that was found at work when all places were taken.
    let slot: Int?
    let failures: Int
  }

  private typealias Waiting = (index: Int, notBefore: Double, failures: Int)

  private struct State {
    var waiting: [Waiting]
    var running: [Running] = []
    var summary = Summary()
    var stopping = false
    var killTime: Double?

    /// The next configuration whose pause is over; the waiting ones are kept last first.
    mutating func next(at time: Double) -> Waiting? {
      guard let place = waiting.lastIndex(where: { $0.notBefore <= time }) else { return nil }
      return waiting.remove(at: place)
    }
  }

  private func start(
    _ index: Int, _ launcher: inout Launcher, _ processors: [Int], _ summary: inout Summary
  ) throws -> (any WatchedAttempt)? {
    let entry = try directory.manifest.entry(at: index)
    do {
      var context = try launcher.context(for: entry)
      context.processors = processors
      let attempt = try RunningAttempt(entry, in: directory, context: context)
      report(.started(index: index, attempt: attempt.attempt.number, resumed: attempt.resumed))
      return attempt
    } catch StartRefusal.alreadyDone {
      summary.skipped.append(index)
      report(.skipped(index: index, reason: "it has a result"))
    } catch StartRefusal.busy(let owner) {
      if let attempt = AdoptedAttempt(entry, in: directory) {
        report(.adopted(index: index))
        return attempt
      }
      summary.skipped.append(index)
      report(.skipped(index: index, reason: owner))
    } catch let error as SweepError {
      summary.failed.append(index)
      report(.failed(index: index, reason: error.description, retryInSeconds: nil))
    }
    return nil
  }

  private func stop(_ signal: Int32, _ state: inout State) {
    report(.stopping(signal: Signals.name(signal)))
    for run in state.running {
      run.attempt.forward(state.stopping ? Signals.kill : Signals.terminate)
    }
    if !state.stopping { state.killTime = Host.monotonic + graceSeconds }
    state.stopping = true
  }

  private func settle(_ run: Running, _ end: AttemptEnd, _ state: inout State) {
    let (index, failures) = (run.attempt.entry.index, run.failures)
    switch end.outcome {
    case .done:
      state.summary.done.append(index)
      report(.finished(index: index, seconds: end.seconds))
    case .interrupted:
      if state.stopping {
        state.summary.interrupted.append(index)
      } else {
        // The program asked to be started again.
        state.waiting.append((index, Host.monotonic + retryDelaySeconds, failures))
      }
      report(.interrupted(index: index))
    case .failed where end.exitCode < 0 && !state.stopping && run.attempt is AdoptedAttempt:
      // Killed with whatever looked after it: that says nothing against the configuration.
      state.waiting.append((index, 0, failures))
    case .failed:
      let again = failures < options["retries"]?.intValue ?? 0 && !state.stopping
      let pause = again ? (0..<failures).reduce(retryDelaySeconds) { pause, _ in pause * 2 } : nil
      report(.failed(index: index, reason: end.reason, retryInSeconds: pause))
      if let pause {
        state.waiting.append((index, Host.monotonic + pause, failures + 1))
      } else {
        state.summary.failed.append(index)
      }
    }
  }
}

/// How far a local pool has come: what has ended how, and when the rest will have.
package struct SweepProgress: Sendable {
  package private(set) var done = 0
  package private(set) var failed = 0
  private var skipped = 0
  private let total: Int
  private let jobs: Int
  private var started: [Int: Double] = [:]
  private var endedSeconds = 0.0
  private var endedCount = 0

  package init(total: Int, jobs: Int) { (self.total, self.jobs) = (total, max(1, jobs)) }

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

  /// The seconds left if the rest takes as long as what has ended took; nil while nothing has.
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
    let (size, name): (Double, String) =
      switch seconds {
      case ..<90: (1, "s")
      case ..<5400: (60, "min")
      case ..<172_800: (3600, "h")
      default: (86_400, "days")
      }
    return "about \(Int(min(max(1, seconds / size).rounded(.up), 1e9))) \(name)"
  }
}
