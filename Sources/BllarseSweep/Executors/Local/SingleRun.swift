/// Runs one configuration in the foreground, as a task of an executor or by hand.
public struct SingleRun {
  /// Whether a signal asked it to end for good, and not only to checkpoint.
  package private(set) var isTerminated = false
  package var launch = LaunchOptions()
  /// The task that it runs as; nil for what this process' environment says.
  public var task: TaskIdentity?
  /// Variables for the program.
  public var environment: [String: String] = [:]

  /// Makes a run.
  public init() {}

  /// Runs a configuration to its end and forwards the signals that arrive meanwhile.
  ///
  /// - Returns: the exit code: 0 also when there is a result already, 75 when the program asks to
  ///   be started again, 128 and the signal when one ended it.
  @discardableResult
  public mutating func run(
    _ index: Int, in directory: SweepDirectory, report: (String) -> Void = { _ in }
  ) throws -> Int32 {
    let signals = Signals()
    let entry = try directory.manifest.entry(at: index)
    var launcher = Launcher(directory, launch)
    var context = try launcher.context(for: entry)
    context.environment.merge(environment) { $1 }
    context.forwardsOutput = true
    context.task = task ?? Executors.task(in: Host.environment)
    // An executor ends a task as a whole: there nothing outlives what started it.
    if context.task != nil { context.options.keeper = nil }
    let attempt: RunningAttempt
    do {
      attempt = try RunningAttempt(entry, in: directory, context: context)
    } catch StartRefusal.alreadyDone {
      report("configuration \(index) has a result; nothing to do (--force runs it again)")
      return 0
    } catch StartRefusal.busy(let owner) {
      throw SweepError.failed("configuration \(index) is being run already (\(owner))")
    }
    if let change = context.programChange { report("note: \(change)") }
    report(
      "configuration \(index), attempt \(attempt.attempt.number)\(attempt.resumed ? ", resumed" : "")"
    )
    while true {
      if let signal = signals.wait(seconds: 0.2) {
        isTerminated = isTerminated || signal != Signals.checkpoint
        attempt.forward(signal)
      }
      guard let end = try attempt.poll() else { continue }
      let (word, code): (String, Int) =
        switch end.outcome {
        case .done: ("done", 0)
        case .interrupted: (end.reason, 75)
        // A program that ended well without a result has failed all the same.
        case .failed: ("failed: \(end.reason)", end.exitCode == 0 ? 1 : end.exitCode)
        }
      report("configuration \(index) \(word)")
      return Int32(clamping: code)
    }
  }
}
