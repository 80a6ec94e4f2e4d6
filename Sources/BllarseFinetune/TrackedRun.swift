import ArgumentParser
import BllarseCore
import BllarseMLflow
import Foundation
import Synchronization

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

/// Runs `body`; what it throws becomes one line on standard error and an exit status: 65 for bad data,
/// 1 for a failed run.
func reportingErrors(_ body: () throws -> Void) throws {
  do {
    try body()
  } catch let error as ExitCode {
    throw error
  } catch let stop as RunInterrupted {
    let directory = stop.directory ?? "."
    Terminal.tell("bllarse-finetune: \(stop); resume with: \(resumingCommand(directory))")
    throw ExitCode(75)
  } catch {
    let (line, status) = failure(error)
    FileHandle.standardError.write(Data(line.utf8))
    throw ExitCode(status)
  }
}

/// What a run that failed says, and its exit status: 65 for bad data, 64 for a setting that cannot be used,
/// 1 otherwise.
func failure(_ error: any Error) -> (line: String, status: Int32) {
  let status: Int32 =
    switch error {
    case is DataError: 65
    case let error as TrackingError where error.code == .settings: 64
    default: 1
    }
  return ("bllarse-finetune: error: \(error)".printableLines, status)
}

// MARK: - Interruption

/// SIGTERM, SIGINT and SIGUSR1 (SLURM's warning before a time limit): the first asks the run to stop after
/// its step and to write a checkpoint, a second one that is no echo of it ends the process at once.
///
/// Not all work asks whether to stop: files are read, rows are scored, a server is waited for. After
/// SIGTERM and SIGINT such work is ended by a thread of its own, within two seconds; files that are written
/// appear whole or not at all, so that nothing is lost by it but the work itself.
enum Interruption {
  /// What the run is doing, as far as an end to it matters.
  enum Phase: Int, AtomicRepresentable {
    /// Steps towards a checkpoint, which are waited for.
    case steps
    /// Work of which nothing is left when it is ended.
    case work
    /// The results are written; only their delivery to a server is waited for.
    case delivery
    /// The run failed; only the delivery of that is waited for.
    case failure
  }

  /// The first signal, or 0.
  private static let received = Atomic<Int32>(0)
  /// When it came, in seconds of the monotonic clock.
  private static let moment = Atomic<Double>(0)
  private static let currentPhase = Atomic<Phase>(.work)
  /// Whether somebody ends the process already: the run itself, or the thread.
  private static let isEnding = Atomic<Bool>(false)
  /// What a run that failed says, and its status.
  private static let report = Mutex<(line: String, status: Int32)>(("", 1))
  /// What has to be done before the process ends in the midst of work.
  static let closing = Mutex<(@Sendable (Phase) -> Void)?>(nil)

  /// Seconds after which everything that is waited for is over: two, with what else there is to do.
  private static let limit = 1.6
  /// Seconds that work is given to end by itself.
  private static let patience = 1.0
  /// Seconds that a step is given, at whose end there is a checkpoint; SLURM kills after thirty.
  private static let patienceForSteps = 10.0
  /// Seconds within which a further signal is the first one's echo: `timeout` sends SIGTERM to the program
  /// and then to its process group, and a launcher may pass on what a terminal sent to all.
  private static let echo = 1.0

  static var signal: Int32? {
    let value = received.load(ordering: .relaxed)
    return value == 0 ? nil : value
  }

  static func enter(_ phase: Phase) { currentPhase.store(phase, ordering: .relaxed) }

  /// The run failed, and tells its tracker so.
  static func enterFailure(_ error: any Error) {
    report.withLock { $0 = failure(error) }
    enter(.failure)
  }

  /// The time that is left until the process should have ended.
  static var timeLeft: Duration {
    let start = moment.load(ordering: .relaxed)
    return .seconds(start > 0 ? max(limit - (Host.monotonic - start), 0.1) : limit)
  }

  /// The run ends by itself; from now on it is not interfered with.
  static func endsByItself() {
    guard isEnding.exchange(true, ordering: .acquiringAndReleasing) else { return }
    // The thread was first: it is about to end the process.
    while true { pause() }
  }

  /// Begins to listen for a run that can go on in this output directory, whose first signal is only
  /// noted; without one a signal ends the process.
  static func listen(_ directory: String?) {
    // The first access initialises what handlers use, here and not in one.
    guard received.load(ordering: .relaxed) == 0, moment.load(ordering: .relaxed) == 0,
      echo > 0, let directory
    else { return }
    watch(directory)
    // A parent that blocks signals (a thread pool's thread, some launchers) hands its mask down.
    var mask = sigset_t()
    sigemptyset(&mask)
    for number in [SIGTERM, SIGINT, SIGUSR1] {
      sigaddset(&mask, number)
      Foundation.signal(number) { number in
        // Only what may be called in a signal handler: atomic operations, the clock, sem_post and _exit.
        let now = Host.monotonic
        let (isFirst, _) = Interruption.received.compareExchange(
          expected: 0, desired: number, ordering: .relaxed)
        let first = isFirst ? 0 : Interruption.moment.load(ordering: .relaxed)
        // Zero while the first one's handler has not come that far.
        if first > 0, now - first > Interruption.echo { _exit(128 + number) }
        if isFirst { Interruption.moment.store(now, ordering: .relaxed) }
        // A SIGTERM just after SIGUSR1 sets its own time limit.
        if number != SIGUSR1 { sem_post(Interruption.bell) }
      }
    }
    sigprocmask(SIG_UNBLOCK, &mask, nil)
  }

  /// What a handler rings, and the thread waits for.
  ///
  /// Access from several threads is what a semaphore is for; the pointer never changes.
  nonisolated(unsafe) private static let bell = {
    let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    sem_init(semaphore, 0, 0)
    return semaphore
  }()

  /// Starts the thread that ends what does not end by itself.
  private static func watch(_ directory: String) {
    // The first access makes it.
    _ = bell
    let line = "resume with: " + resumingCommand(directory)
    let thread = Thread {
      while sem_wait(bell) != 0 {}
      let start = Host.monotonic
      while Host.monotonic - start
        < (currentPhase.load(ordering: .relaxed) == .steps ? patienceForSteps : patience)
      { Thread.sleep(forTimeInterval: 0.05) }
      guard !isEnding.exchange(true, ordering: .acquiringAndReleasing) else { return }
      let phase = currentPhase.load(ordering: .relaxed)
      closing.withLock { $0 }?(phase)
      // The results of a run whose delivery was cut short are all there.
      if phase == .delivery { _exit(0) }
      if phase == .failure {
        let (line, status) = report.withLock { $0 }
        FileHandle.standardError.write(Data(line.utf8))
        _exit(status)
      }
      let text = "bllarse-finetune: interrupted; what was under way will start anew; \(line)\n"
      FileHandle.standardError.write(Data(text.utf8))
      _exit(75)
    }
    thread.stackSize = 1 << 18
    thread.start()
  }
}

/// Follows a run, so that an interruption knows what it would end.
struct InterruptionPhases: RunObserver {
  let configuration: RunConfiguration

  func runDidAssign(_ roles: SplitRoles) {
    // A fit that is one step has no checkpoint, and stops between its iterations.
    if !configuration.reachesOptimumAtOnce { Interruption.enter(.steps) }
  }

  func runDidFinishEpoch(_ record: EpochRecord) {
    if record.epoch >= configuration.effectiveEpochs { Interruption.enter(.work) }
  }
}

/// This process's command line, with a checkpoint to go on from.
func resumingCommand(_ directory: String) -> String {
  var words = CommandLine.arguments
  if !words.contains(where: { $0 == "--resume" || $0.hasPrefix("--resume=") }) {
    words += ["--resume", directory]
  }
  return Shell.join(words)
}
