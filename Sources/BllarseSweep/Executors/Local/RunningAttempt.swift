package enum StartRefusal: Error, Equatable {
  case alreadyDone
  /// Somebody else runs it: the text says who.
  case busy(String)
}

/// A program that runs one configuration, and the state on disk that says so.
final class RunningAttempt {
  let entry: ManifestEntry
  let attempt: AttemptDirectory
  let resumed: Bool
  private let run: RunDirectory
  private let context: LaunchContext
  private let claim: AttemptClaim
  private let started = Host.monotonic
  private let process: Int32
  private var lastBeat = Host.monotonic
  private var stopSignal: Int32?
  private var followers: [LogFollower] = []

  /// Claims the configuration's next attempt and starts its program.
  init(_ entry: ManifestEntry, in directory: SweepDirectory, context: LaunchContext) throws {
    self.entry = entry
    self.context = context
    let run = directory.run(entry.index)
    self.run = run
    if !context.options.force, run.result(hash: entry.hash) != nil {
      throw StartRefusal.alreadyDone
    }
    let last = run.lastAttempt
    if let last { try Self.settle(last, run, entry, context) }
    let earlier = context.canResume ? last.flatMap { Self.resumable(run, after: $0) } : nil
    resumed = earlier != nil
    let number = (last?.number ?? 0) + 1
    let output = earlier ?? "attempt-\(number)/output"
    var claim = AttemptClaim(
      host: Host.name, process: Host.processID, startTime: Host.startTime(of: Host.processID) ?? 0,
      processNamespace: Host.processNamespace, started: Host.now, outputDirectory: output,
      resumed: resumed, task: context.task, source: context.source,
      hasKeeper: context.options.keeper != nil, needsResult: context.outputOption != nil,
      programChange: context.programChange)
    guard let attempt = try run.claim(attempt: number, claim) else {
      throw StartRefusal.busy("another process has just claimed attempt \(number)")
    }
    self.attempt = attempt
    do {
      if let change = context.programChange {
        if context.options.isStrict { throw SweepError.failed("\(change); --strict refuses that") }
        try Files.write("bllarse-sweep: note: \(change)\n", to: attempt.errors)
      }
      try Files.makeDirectory("\(run.path)/\(output)")
      process = try Self.spawn(entry, claim, context, directory, attempt).start()
    } catch let error as SweepError {
      try attempt.write(AttemptEnd(outcome: .failed, exitCode: 127, reason: error.description))
      throw error
    }
    claim.child = Int(process)
    claim.childStartTime = Host.startTime(of: Int(process))
    self.claim = claim
    try attempt.write(claim)
    if context.forwardsOutput {
      followers = [LogFollower(attempt.output, to: 1), LogFollower(attempt.errors, to: 2)]
    }
  }

  /// Makes sure that the last attempt is over, and records its end when nobody saw it.
  private static func settle(
    _ attempt: AttemptDirectory, _ run: RunDirectory, _ entry: ManifestEntry,
    _ context: LaunchContext
  ) throws {
    if attempt.end != nil { return }
    let claim = attempt.claim
    // The same job started again: its executor has ended what ran before.
    var reason = "ended without a word"
    if let task = context.task, claim?.task?.job == task.job,
      claim?.task?.restarts ?? 0 < task.restarts
    {
      reason = "stopped by \(Executors.title(of: task.executor)) and requeued"
    } else {
      // A program whose start was its claimant's last deed has its own environment a moment later.
      if let claim, claim.child == nil, claim.isAlive == false { Host.sleep(seconds: 0.2) }
      if attempt.isAlive(claim, at: Host.now) {
        let owner = claim.map { "process \($0.process) on \($0.host)" } ?? "another process"
        throw StartRefusal.busy("attempt \(attempt.number) runs: \(owner)")
      }
    }
    let end = try attempt.settle(run, hash: entry.hash, claim: claim, reason: reason)
    if end.outcome == .done, !context.options.force { throw StartRefusal.alreadyDone }
  }

  /// The output directory of the last attempt, when the program can go on from it: it said so by
  /// its exit code, or it was ended from outside and had written a checkpoint.
  static func resumable(_ run: RunDirectory, after last: AttemptDirectory) -> String? {
    guard let claim = last.claim, let end = last.end else { return nil }
    let directory = "\(run.path)/\(claim.outputDirectory)"
    let hasCheckpoint = Files.names(in: directory).contains { $0.hasPrefix("checkpoint") }
    let canResume =
      switch end.outcome {
      case .interrupted: hasCheckpoint || end.exitCode == 75
      case .failed: hasCheckpoint && (end.exitCode < 0 || end.signal != nil)
      case .done: false
      }
    return canResume ? claim.outputDirectory : nil
  }

  private static func spawn(
    _ entry: ManifestEntry, _ claim: AttemptClaim, _ context: LaunchContext,
    _ sweep: SweepDirectory, _ attempt: AttemptDirectory
  ) throws -> Spawn {
    guard let program = Host.find(context.command[0]) else {
      throw SweepError.failed(
        "there is no program '\(context.command[0])' on \(Host.name): not beside bllarse-sweep and not in PATH"
      )
    }
    let output = "\(sweep.run(entry.index).path)/\(claim.outputDirectory)"
    var arguments = [program] + context.command.dropFirst()
    if let option = context.outputOption { arguments += [option, output] }
    if claim.resumed, let option = context.resumeOption { arguments += [option, output] }
    if let keeper = context.options.keeper { arguments = keeper + [attempt.path] + arguments }
    let own: [String: String?] = [
      "BLLARSE_SWEEP_DIR": sweep.path, "BLLARSE_SWEEP_NAME": sweep.name,
      "BLLARSE_CONFIG_INDEX": String(entry.index), "BLLARSE_CONFIG_HASH": entry.hash,
      "BLLARSE_ATTEMPT": String(attempt.number), "BLLARSE_OUTPUT_DIR": output,
      "BLLARSE_RESUME_DIR": claim.resumed ? output : nil,
      AttemptDirectory.markName: attempt.programMark(claim),
    ]
    var environment = Host.inheritedEnvironment.merging(context.environment) { $1 }
    for (name, value) in own { environment[name] = value }
    if let processors = context.processors {
      for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLLARSE_NUM_THREADS"] {
        environment[name] = String(processors.count)
      }
    }
    return Spawn(
      arguments: arguments, environment: environment, output: .file(attempt.output),
      errors: .file(attempt.errors), ownGroup: true, processors: context.processors)
  }

  /// Forwards a signal; the request to checkpoint reaches only programs that can resume.
  func forward(_ signal: Int32) {
    if signal == Signals.checkpoint, !context.canResume { return }
    stopSignal = signal
    Child.pass(signal, to: process, isKeeper: context.options.keeper != nil)
  }

  /// Looks whether the program has ended; beats the heart and copies output while it has not.
  func poll() throws -> AttemptEnd? {
    let ending = Child.poll(process)
    for follower in followers { follower.copy() }
    if ending == nil, Host.monotonic - lastBeat > Keeper.heartbeatSeconds {
      lastBeat = Host.monotonic
      // A full disk must not end a run that may still finish.
      try? attempt.beat()
    }
    return try ending.map(finish)
  }

  private func finish(_ ending: Ending) throws -> AttemptEnd {
    var ending = ending
    if context.options.keeper != nil {
      if let record = attempt.exit {
        ending = record.ending
      } else if case .exit(let code) = ending, code > 128 {
        // The record could not be written; a keeper ends as a shell would.
        ending = .signal(code - 128)
      } else if case .signal = ending {
        // The keeper was killed: what it kept must not go on beside another attempt.
        attempt.send(Signals.kill, toMarked: claim)
      }
    }
    let conclusion = Conclusion(run: run, attempt: attempt, claim: claim, hash: entry.hash)
    let outcome = conclusion.outcome(
      of: ending, stopSignal: stopSignal, seconds: Host.monotonic - started, finished: Host.now)
    try conclusion.write(outcome)
    return outcome.end
  }
}

/// An attempt under way, whoever started it.
protocol WatchedAttempt: AnyObject {
  var entry: ManifestEntry { get }
  func forward(_ signal: Int32)
  func poll() throws -> AttemptEnd?
}

extension RunningAttempt: WatchedAttempt {}

/// An attempt whose program goes on though its launcher died: waited for, never started again.
final class AdoptedAttempt: WatchedAttempt {
  let entry: ManifestEntry
  private let run: RunDirectory
  private let attempt: AttemptDirectory
  private let claim: AttemptClaim
  private var lastLook = -Double.infinity

  /// Adopts a configuration's last attempt; nil when it is over, or somebody looks after it.
  init?(_ entry: ManifestEntry, in directory: SweepDirectory) {
    self.entry = entry
    run = directory.run(entry.index)
    guard let attempt = run.lastAttempt, let claim = attempt.claim, attempt.isOrphan(claim)
    else { return nil }
    (self.attempt, self.claim) = (attempt, claim)
  }

  func forward(_ signal: Int32) {
    if let keeper = claim.livingChild {
      Child.pass(signal, to: Int32(clamping: keeper), isKeeper: claim.hasKeeper)
    } else {
      attempt.send(signal, toMarked: claim)
    }
  }

  func poll() throws -> AttemptEnd? {
    if claim.livingChild != nil { return nil }
    // Looking for a mark means to look at every process.
    guard Host.monotonic - lastLook > 0.5 else { return nil }
    lastLook = Host.monotonic
    if attempt.isOrphan(claim) { return nil }
    if let end = attempt.end { return end }
    return try attempt.settle(run, hash: entry.hash, claim: claim)
  }
}

/// Copies what is appended to a file; the writer never waits, as it would on a pipe.
package final class LogFollower {
  private let path: String
  private let descriptor: Int32
  private var offset: Int

  /// Follows a file from a byte on, or from its present end for nil.
  package init(_ path: String, to descriptor: Int32, from offset: Int? = nil) {
    (self.path, self.descriptor) = (path, descriptor)
    self.offset = offset ?? Files.size(of: path) ?? 0
  }

  package func copy() {
    while true {
      let bytes = Files.bytes(of: path, from: offset, limit: 1 << 16)
      offset += bytes.count
      // Where nobody reads, the file keeps the text.
      let written = bytes.withUnsafeBytes { Files.write($0, to: descriptor) }
      if bytes.isEmpty || written < bytes.count { return }
    }
  }
}
