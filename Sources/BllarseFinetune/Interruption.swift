import BllarseCore
import Foundation
import Synchronization

/// SIGTERM, SIGINT and SIGUSR1 (SLURM's warning before a time limit): the first asks the run to stop after
/// its step and to write a checkpoint, the second ends the process at once.
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
  /// When it came, in nanoseconds of the monotonic clock.
  private static let moment = Atomic<UInt64>(0)
  private static let currentPhase = Atomic<Phase>(.work)
  /// Whether somebody ends the process already: the run itself, or the thread.
  private static let isEnding = Atomic<Bool>(false)
  /// What a run that failed says, and its status.
  private static let report = Mutex<(line: String, status: Int32)>(("", 1))
  private static let closing = Mutex<(@Sendable (Phase) -> Void)?>(nil)

  /// Seconds after which everything that is waited for is over: two, with what else there is to do.
  private static let limit = 1.6
  /// Seconds that work is given to end by itself.
  private static let patience = 1.0
  /// Seconds that a step is given, at whose end there is a checkpoint; SLURM kills after thirty.
  private static let patienceForSteps = 10.0

  /// The signal that asked the run to stop, if one did.
  static var signal: Int32? {
    let value = received.load(ordering: .relaxed)
    return value == 0 ? nil : value
  }

  /// What the run is doing from now on.
  static func enter(_ phase: Phase) { currentPhase.store(phase, ordering: .relaxed) }

  /// The run failed, and tells its tracker so.
  static func enterFailure(_ error: any Error) {
    report.withLock { $0 = failure(error) }
    enter(.failure)
  }

  /// What has to be done before the process ends in the midst of work.
  static func beforeEnding(_ action: @escaping @Sendable (Phase) -> Void) {
    closing.withLock { $0 = action }
  }

  /// The time that is left until the process should have ended.
  static var timeLeft: Duration {
    let start = moment.load(ordering: .relaxed)
    return .seconds(start > 0 ? max(limit - Double(now - start) * 1e-9, 0.1) : limit)
  }

  /// The run ends by itself; from now on it is not interfered with.
  static func endsByItself() {
    guard isEnding.exchange(true, ordering: .acquiringAndReleasing) else { return }
    // The thread was first: it is about to end the process.
    while true { pause() }
  }

  private static var now: UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// Begins to listen for a run that can go on in this output directory, whose first signal is only
  /// noted; without one a signal ends the process.
  static func listen(_ directory: String?) {
    // The first access initialises what handlers use, here and not in one.
    guard received.load(ordering: .relaxed) == 0, moment.load(ordering: .relaxed) == 0,
      let directory
    else { return }
    watch(directory)
    // A parent that blocks signals (a thread pool's thread, some launchers) hands its mask down.
    var mask = sigset_t()
    sigemptyset(&mask)
    for number in [SIGTERM, SIGINT, SIGUSR1] {
      sigaddset(&mask, number)
      Foundation.signal(number) { number in
        // Only what may be called in a signal handler: atomic operations, the clock, sem_post and _exit.
        let (isFirst, _) = Interruption.received.compareExchange(
          expected: 0, desired: number, ordering: .relaxed)
        if !isFirst { _exit(128 + number) }
        Interruption.moment.store(Interruption.now, ordering: .relaxed)
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
      var waited = 0.0
      while waited < (currentPhase.load(ordering: .relaxed) == .steps ? patienceForSteps : patience)
      {
        Thread.sleep(forTimeInterval: 0.05)
        waited += 0.05
      }
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
