/// The directory of one configuration: its attempts, and its result once it has one.
package struct RunDirectory: Sendable {
  package let path: String
  package let index: Int

  package var attempts: [Int] {
    Files.names(in: path).compactMap { name in
      name.hasPrefix("attempt-") ? Int(name.dropFirst(8)) : nil
    }.sorted()
  }

  /// The last task of the configuration that `cancel` has ended.
  var cancelledTask: String? { (try? Files.text(of: "\(path)/cancelled"))?.trimmed }

  package func attempt(_ number: Int) -> AttemptDirectory {
    AttemptDirectory(path: "\(path)/attempt-\(number)", number: number)
  }

  var lastAttempt: AttemptDirectory? { attempts.last.map(attempt) }

  /// The result of the configuration, when it is valid: whole, and of this very content.
  package func result(hash: String) -> RunResult? {
    JSON(file: "\(path)/result.json").flatMap { RunResult($0) }
      .flatMap { $0.hash == hash ? $0 : nil }
  }

  package func write(_ result: RunResult) throws {
    try Files.write(result.json.pretty + "\n", to: "\(path)/result.json")
  }

  /// Claims an attempt: of several processes exactly one gets it, the others nil.
  ///
  /// Its number is one more than the last attempt that is known to be over. Somebody who saw the same
  /// and came first has it; taking the next number then would run both. The directory never exists without
  /// saying whose it is, wherever its maker is killed.
  package func claim(attempt number: Int, _ claim: AttemptClaim) throws -> AttemptDirectory? {
    try Files.makeDirectory(path)
    return try Files.claim(
      "\(path)/attempt-\(number)", containing: [("claim.json", claim.json.pretty + "\n")])
      ? attempt(number) : nil
  }
}

package struct RunResult: Sendable, Equatable {
  package let index: Int
  package let hash: String
  package let attempt: Int
  package let seconds: Double
  /// When it ended, in seconds since 1970.
  package let finished: Double
  package let host: String
  package let metrics: JSON

  var json: JSON {
    .object([
      "version": 1, "index": .int(index), "hash": .string(hash), "attempt": .int(attempt),
      "seconds": .number(seconds), "finished": .string(Host.timestamp(finished)),
      "finished_seconds": .number(finished), "host": .string(host), "metrics": metrics,
    ])
  }
}

extension RunResult {
  init?(_ json: JSON) {
    guard let index = json["index"]?.intValue, let hash = json["hash"]?.stringValue,
      let attempt = json["attempt"]?.intValue, let metrics = json["metrics"]
    else { return nil }
    self.init(
      index: index, hash: hash, attempt: attempt, seconds: json["seconds"]?.doubleValue ?? 0,
      finished: json["finished_seconds"]?.doubleValue ?? 0, host: json["host"]?.stringValue ?? "",
      metrics: metrics)
  }
}

/// One attempt: who claimed it, whether it lives, how it ended.
package struct AttemptDirectory: Sendable {
  package let path: String
  package let number: Int

  package var claim: AttemptClaim? { JSON(file: "\(path)/claim.json").flatMap { AttemptClaim($0) } }
  package var end: AttemptEnd? { JSON(file: "\(path)/end.json").flatMap { AttemptEnd($0) } }
  /// What the keeper wrote of the program's end; nil while it runs, and where there was no keeper.
  package var exit: ExitRecord? { JSON(file: "\(path)/exit.json").flatMap { ExitRecord($0) } }

  package func write(_ claim: AttemptClaim) throws {
    try Files.write(claim.json.pretty + "\n", to: "\(path)/claim.json")
  }

  package func write(_ record: ExitRecord) throws {
    try Files.write(record.json.compact + "\n", to: "\(path)/exit.json")
  }

  /// Records the end, once: whoever comes second changes nothing.
  package func write(_ end: AttemptEnd) throws {
    _ = try Files.create("\(path)/end.json", end.json.pretty + "\n")
  }

  /// Whether somebody runs the attempt: certainly, or as far as its last sign of life tells.
  package func isAlive(_ claim: AttemptClaim?, at now: Double) -> Bool {
    guard let claim, let isSeen = claim.isAlive else {
      return silence(at: now) < Self.silenceLimitSeconds
    }
    if claim.isClaimantAlive == true { return true }
    // A program that has ended may have left something running that has its environment. Whoever claimed
    // it may have died after the start and before that was written down; and a keeper before its program.
    return exit == nil && (isSeen || !Host.processes(with: mark(claim)).isEmpty)
  }

  /// Whether the program goes on though nobody looks after it any more, as far as this host can see.
  func isOrphan(_ claim: AttemptClaim) -> Bool {
    end == nil && claim.isClaimantAlive == false && isAlive(claim, at: Host.now)
  }

  func mark(_ claim: AttemptClaim) -> String { "\(Self.markName)=\(programMark(claim))" }

  func send(_ signal: Int32, toMarked claim: AttemptClaim) {
    for process in Host.processes(with: mark(claim)) {
      Child.send(signal, to: Int32(clamping: process))
    }
  }

  /// Records the end of an attempt that is over, and whose launcher saw no end.
  func settle(
    _ run: RunDirectory, hash: String, claim: AttemptClaim?, reason: String = "ended without a word"
  ) throws -> AttemptEnd {
    let conclusion = claim.map { Conclusion(run: run, attempt: self, claim: $0, hash: hash) }
    if let conclusion, let outcome = conclusion.recovered() {
      try conclusion.write(outcome)
      return outcome.end
    }
    let end = AttemptEnd(outcome: .failed, exitCode: -1, reason: reason)
    try write(end)
    return end
  }

  /// The variable that an attempt's program is known by.
  package static let markName = "BLLARSE_CLAIM"

  /// The variable's value: no other attempt has it.
  package func programMark(_ claim: AttemptClaim) -> String {
    let run = Files.parent(of: path).map(Files.name) ?? ""
    return "\(claim.process)-\(claim.startTime)-\(run)-\(number)"
  }

  /// Another host's attempt that has been silent for this long is dead.
  package static let silenceLimitSeconds = 90.0

  /// The heartbeat's age in seconds; the claim's, before the first beat.
  package func silence(at now: Double) -> Double {
    let last = Files.modified("\(path)/heartbeat") ?? Files.modified(path) ?? 0
    return max(0, now - last)
  }

  package func beat() throws { try Files.write("", to: "\(path)/heartbeat") }
  package var output: String { "\(path)/stdout.log" }
  package var errors: String { "\(path)/stderr.log" }
}

package struct AttemptClaim: Sendable, Equatable {
  package var host: String
  package var process: Int
  /// The process' start in the kernel's clock ticks.
  package var startTime: Int
  /// The namespace that process ids are of; a container has one of its own, under the node's name.
  package var processNamespace: String?
  package var started: Double
  /// The directory that the program writes to, relative to the run's directory.
  package var outputDirectory: String
  package var resumed: Bool
  /// The program's process, once it runs, or its keeper's.
  package var child: Int?
  package var childStartTime: Int?
  package var task: TaskIdentity?
  /// The kept sources that run, for a Python module's own `run`.
  package var source: String?
  /// Whether the child is a ``Keeper``, and the program its child.
  package var hasKeeper = false
  /// Whether a good end leaves a result in its directory; nil in claims that did not say.
  package var needsResult: Bool?
  /// What of the program was not as it was submitted.
  package var programChange: String?

  var json: JSON {
    .object([
      "host": .string(host), "pid": .int(process), "start_ticks": .int(startTime),
      "pid_namespace": .optional(processNamespace), "started": .number(started),
      "started_at": .string(Host.timestamp(started)),
      "output": .string(outputDirectory), "resumed": .bool(resumed),
      "child_pid": .optional(child), "child_start_ticks": .optional(childStartTime),
      // Files of all versions have the first executor's name here.
      "slurm": task?.json ?? .null, "source": .optional(source), "keeper": .bool(hasKeeper),
      "needs_result": needsResult.map { .bool($0) } ?? .null,
      "program_change": .optional(programChange),
    ])
  }
}

extension AttemptClaim {
  init?(_ json: JSON) {
    guard let host = json["host"]?.stringValue, let process = json["pid"]?.intValue,
      let output = json["output"]?.stringValue
    else { return nil }
    self.init(
      host: host, process: process, startTime: json["start_ticks"]?.intValue ?? 0,
      processNamespace: json["pid_namespace"]?.stringValue,
      started: json["started"]?.doubleValue ?? 0, outputDirectory: output,
      resumed: json["resumed"]?.boolValue ?? false, child: json["child_pid"]?.intValue,
      childStartTime: json["child_start_ticks"]?.intValue,
      task: json["slurm"].flatMap { TaskIdentity($0) }, source: json["source"]?.stringValue,
      hasKeeper: json["keeper"]?.boolValue ?? false, needsResult: json["needs_result"]?.boolValue,
      programChange: json["program_change"]?.stringValue)
  }

  /// Whether the claiming process certainly runs, certainly does not, or cannot be seen from here.
  package var isClaimantAlive: Bool? { isVisible ? Host.startTime(of: process) == startTime : nil }

  var livingChild: Int? {
    guard isVisible, let child, let childStartTime, Host.startTime(of: child) == childStartTime
    else { return nil }
    return child
  }

  private var isVisible: Bool {
    host == Host.name && (processNamespace == nil || processNamespace == Host.processNamespace)
  }

  /// The same of the claiming process or its child.
  package var isAlive: Bool? { isClaimantAlive.map { $0 || livingChild != nil } }
}

package struct AttemptEnd: Sendable, Equatable {
  package enum Outcome: String, Sendable {
    case done
    case failed
    /// Stopped before its end with a checkpoint to go on from.
    case interrupted
  }

  package var outcome: Outcome
  package var exitCode: Int
  package var signal: String?
  package var reason: String
  package var seconds = 0.0
  package var finished = Host.now

  var json: JSON {
    .object([
      "outcome": .string(outcome.rawValue), "exit_code": .int(exitCode),
      "signal": .optional(signal), "reason": .string(reason), "seconds": .number(seconds),
      "finished": .number(finished), "finished_at": .string(Host.timestamp(finished)),
    ])
  }
}

extension AttemptEnd {
  init?(_ json: JSON) {
    guard let outcome = json["outcome"]?.stringValue.flatMap(Outcome.init),
      let code = json["exit_code"]?.intValue
    else { return nil }
    self.init(
      outcome: outcome, exitCode: code, signal: json["signal"]?.stringValue,
      reason: json["reason"]?.stringValue ?? "", seconds: json["seconds"]?.doubleValue ?? 0,
      finished: json["finished"]?.doubleValue ?? 0)
  }
}

/// How an attempt's program ended, as its keeper wrote it down, whoever lived to see it.
package struct ExitRecord {
  let ending: Ending
  let seconds: Double
  let finished: Double
}

extension ExitRecord {
  init?(_ json: JSON) {
    let signal = json["signal"]?.intValue.map { Ending.signal(Int32(clamping: $0)) }
    guard let ending = signal ?? json["exit_code"]?.intValue.map({ .exit(Int32(clamping: $0)) })
    else { return nil }
    self.init(
      ending: ending, seconds: json["seconds"]?.doubleValue ?? 0,
      finished: json["finished"]?.doubleValue ?? 0)
  }

  var json: JSON {
    let (name, number) =
      switch ending {
      case .exit(let code): ("exit_code", code)
      case .signal(let number): ("signal", number)
      }
    return .object([
      JSON.Member(name, .int(Int(number))), JSON.Member("seconds", .number(seconds)),
      JSON.Member("finished", .number(finished)),
    ])
  }
}
