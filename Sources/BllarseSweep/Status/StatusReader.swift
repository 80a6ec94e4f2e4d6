/// Tells where each configuration stands: from the runs' own files first, then from the queue, then
/// from the accounting.
///
/// Works without the last two.
public struct StatusReader {
  private let directory: SweepDirectory
  private let queue: QueueView
  private let references: [Int: [TaskReference]]
  private let logStems: [String: String]
  private let now: Double
  /// Why configurations were left out, when the program said that they cannot run.
  private let refusals: [Int: String]

  /// Why the cluster's part is missing; nil when it answered or when there is none.
  public var problem: String? { queue.problem }

  /// Reads the submissions, and asks the queue when there are any.
  public init(_ directory: SweepDirectory, runner: any CommandRunner = ProcessRunner()) throws {
    let submissions = try SubmissionRecord.all(in: directory)
    let jobs = submissions.flatMap { $0.chunks.map(\.job) }
    self.init(
      directory, submissions: submissions, queue: QueueView.ask(runner, jobs: jobs), now: Host.now,
      refusals: try RefusalRecord.read(directory))
  }

  init(
    _ directory: SweepDirectory, submissions: [SubmissionRecord], queue: QueueView, now: Double,
    refusals: [Int: String] = [:]
  ) {
    self.refusals = refusals
    self.directory = directory
    self.queue = queue
    self.now = now
    var references: [Int: [TaskReference]] = [:]
    for chunk in submissions.flatMap(\.chunks) {
      for (task, index) in zip(chunk.tasks, chunk.indices) {
        references[index, default: []].append(TaskReference(job: chunk.job, task: task))
      }
    }
    self.references = references
    logStems = Dictionary(
      submissions.flatMap { submission in
        let name = submission.options.jobName ?? directory.name
        return submission.chunks.map { ($0.job, "\(submission.logDirectory)/\(name).\($0.job)_") }
      }, uniquingKeysWith: { $1 })
  }

  /// The states of all configurations, in order.
  ///
  /// - Parameter ended: configurations whose runs are known to be over, whatever the queue says of the
  ///   scripts around them.
  /// - Returns: the states.
  /// - Throws: ``SweepError`` when the manifest cannot be read.
  public func all(ended: Set<Int> = []) throws -> [RunStatus] {
    try directory.manifest.entries().map { entry in
      var status = status(of: entry, hasEnded: ended.contains(entry.index))
      if status.state == .new, let reason = refusals[entry.index] {
        status.reason = "cannot run: \(reason)"
      }
      guard ended.contains(entry.index) else { return status }
      if status.state == .interrupted { status.isAbandoned = true }
      if status.state == .new {
        status.state = .failed
        status.reason = "the task ended before its run began"
        status.cause = .failed
      }
      return status
    }
  }

  package func tasks(of index: Int) -> [TaskReference] { references[index] ?? [] }

  package func queueTask(_ reference: TaskReference) -> QueueView.Task? { queue.tasks[reference] }

  /// The state of one configuration.
  package func status(of entry: ManifestEntry, hasEnded: Bool = false) -> RunStatus {
    let run = directory.run(entry.index)
    var status = RunStatus(index: entry.index, state: .new)
    let numbers = run.attempts
    status.attempts = numbers.count
    let attempt = numbers.last.map { run.attempt($0) }
    let claim = attempt?.claim
    let task = claim?.slurm.flatMap { slurm in
      slurm.arrayJob.flatMap { job in
        slurm.arrayTask.flatMap { queue.tasks[TaskReference(job: job, task: $0)] }
      }
    }
    // A launcher that died says nothing of what its program has done since.
    let recovered = numbers.last.flatMap {
      run.recover($0, hash: entry.hash, at: now, isOver: task?.isActive == false)
    }
    if let result = recovered?.result ?? run.result(hash: entry.hash) {
      status.state = .done
      status.elapsedSeconds = result.seconds
      status.node = result.host
      status.exitCode = 0
      status.lastMetric = result.metrics
      // A forced attempt that has not replaced the result, or not yet.
      if let last = numbers.last, last > result.attempt {
        let outcome = run.attempt(last).end.map { "\($0.outcome.rawValue): \($0.reason)" }
        status.reason = "result of attempt \(result.attempt); attempt \(last) \(outcome ?? "runs")"
      }
      status.add(run.attempt(result.attempt).claim?.programChange)
      return status
    }
    let end = recovered?.end ?? attempt?.end
    if let claim {
      status.node = claim.slurm?.node ?? claim.host
      status.lastMetric = Self.lastMetric("\(run.path)/\(claim.outputDirectory)")
      status.elapsedSeconds = end?.seconds ?? max(0, now - claim.started)
      status.task = claim.slurm?.name
    }
    let tasks = references[entry.index] ?? []
    if !hasEnded, let active = tasks.last(where: { queue.tasks[$0]?.isActive == true }),
      let task = queue.tasks[active],
      apply(active, task, claim: claim, end: end, to: &status)
    {
      return status
    }
    guard let attempt else {
      applyQueueAlone(tasks.last, to: &status)
      return status
    }
    if let last = tasks.last, claim?.slurm?.name != last.name, let task = queue.tasks[last],
      !task.isActive
    {
      // A later task than the one that made the last attempt has ended without beginning one.
      applyQueueAlone(last, to: &status)
      return status
    }
    if let end {
      apply(end, task, to: &status)
      if end.outcome == .failed, end.exitCode < 0, let claim, claim.slurm == nil {
        // Killed together with what started it: that says nothing against the configuration.
        status.state = .lost
        status.cause = nil
      }
      status.add(claim?.programChange)
    } else {
      applySilence(attempt, claim, task, to: &status)
      status.add(claim?.programChange)
    }
    return status
  }

  // MARK: - Cases

  /// A task that SLURM still has.
  ///
  /// False when its attempt is over and the job only cleans up.
  private func apply(
    _ reference: TaskReference, _ task: QueueView.Task, claim: AttemptClaim?, end: AttemptEnd?,
    to status: inout RunStatus
  ) -> Bool {
    status.task = reference.name
    if task.isPending {
      status.state = .pending
      status.reason = end?.outcome == .interrupted ? "requeued (\(task.reason))" : task.reason
      if end == nil { status.elapsedSeconds = nil }
      return true
    }
    // An interrupted attempt's job completes before it waits again: that is no end.
    if claim?.slurm?.name == reference.name, let end, end.outcome != .interrupted,
      task.state == "COMPLETING"
    {
      return false
    }
    status.state = .running
    status.node = task.node
    status.reason = task.state == "RUNNING" ? "" : task.state
    return true
  }

  /// An attempt that wrote its end.
  private func apply(_ end: AttemptEnd, _ task: QueueView.Task?, to status: inout RunStatus) {
    status.exitCode = end.exitCode >= 0 ? end.exitCode : task?.exitCode
    status.reason = end.reason
    let slurmState = task?.isActive == false ? task?.state ?? "" : ""
    switch end.outcome {
    case .done:
      // result.json was there when the end was written; somebody has damaged it since.
      status.state = .failed
      status.reason = "the result is missing or damaged"
      status.cause = .failed
    case .interrupted:
      status.state = slurmState == "CANCELLED" ? .cancelled : .interrupted
      if slurmState == "TIMEOUT" { status.cause = .time }
      // A task that was to requeue itself would be in the queue.
      status.isAbandoned = !tasks(of: status.index).isEmpty && queue.problem == nil
    case .failed:
      // SLURM's own SIGTERM may reach the program before the one that is passed on to it.
      let isEndedFromOutside = end.exitCode < 0 || end.signal == "SIGTERM"
      let isCancelled = slurmState == "CANCELLED" || isCancelled(status)
      status.state = isEndedFromOutside && isCancelled ? .cancelled : .failed
      status.cause = Self.cause(slurmState) ?? .failed
      if !["", "FAILED", "COMPLETED"].contains(slurmState) {
        status.reason = "\(slurmState): \(end.reason)"
      }
      if end.signal == "SIGKILL" { applyJobLog(status.task, to: &status) }
    }
  }

  /// An attempt without an end: alive, or dead without a word.
  private func applySilence(
    _ attempt: AttemptDirectory, _ claim: AttemptClaim?, _ task: QueueView.Task?,
    to status: inout RunStatus
  ) {
    if let task, !task.isActive {
      status.state = task.state == "CANCELLED" ? .cancelled : .failed
      status.exitCode = task.exitCode
      status.node = task.node
      status.reason = "\(task.state), and the run wrote no end"
      status.cause = Self.cause(task.state) ?? .failed
      applyJobLog(claim?.slurm?.name, to: &status)
      return
    }
    if attempt.isAlive(claim, at: now) {
      status.state = .running
      status.isOrphan = claim?.isClaimantAlive == false
      if status.isOrphan { status.reason = "goes on, though what started it has ended" }
    } else if let claim, claim.slurm == nil, claim.isClaimantAlive == false {
      status.state = .lost
      status.reason = "ended without a word, as did what started it"
    } else {
      status.state = .failed
      status.reason = "ended without a word"
      status.cause = .node
    }
  }

  /// Whether `cancel` has asked SLURM to end the configuration's task.
  private func isCancelled(_ status: RunStatus) -> Bool {
    let path = "\(directory.run(status.index).path)/cancelled"
    guard let task = status.task, let text = try? Files.text(of: path) else { return false }
    return text.trimmed == task
  }

  /// A configuration of which only the queue can tell something.
  private func applyQueueAlone(_ reference: TaskReference?, to status: inout RunStatus) {
    guard let reference else { return }
    status.task = reference.name
    guard let task = queue.tasks[reference] else {
      if isCancelled(status) {
        status.state = .cancelled
        return
      }
      status.state = queue.problem == nil ? .lost : .pending
      status.reason =
        queue.problem == nil
        ? "SLURM no longer knows \(reference.name), which left nothing" : "SLURM does not answer"
      return
    }
    status.node = task.node
    status.exitCode = task.exitCode
    if task.state == "CANCELLED" {
      status.state = .cancelled
    } else {
      status.state = .failed
      status.reason = "\(task.state) before the run began; see the job's log"
      status.cause = Self.cause(task.state) ?? .failed
    }
  }

  /// Clusters without cgroups call a job that was killed for its memory FAILED; only the last lines
  /// of its log tell.
  private func applyJobLog(_ task: String?, to status: inout RunStatus) {
    let parts = task?.split(separator: "_").map(String.init) ?? []
    guard parts.count == 2, let stem = logStems[parts[0]] else { return }
    let signs = ["exceeded memory limit", "exceeded job memory limit", "oom-kill", "oom_kill"]
    let lines = Files.lastLines(12, of: "\(stem)\(parts[1]).err")
    if let line = lines.first(where: { line in signs.contains { line.lowercased().contains($0) } })
    {
      status.cause = .memory
      status.reason = "out of memory: \(line)"
    }
  }

  static func cause(_ slurmState: String) -> FailureCause? {
    switch slurmState {
    case "OUT_OF_MEMORY": .memory
    case "TIMEOUT", "DEADLINE": .time
    case "NODE_FAIL", "BOOT_FAIL", "PREEMPTED": .node
    default: nil
    }
  }

  /// The last whole line of `metrics.jsonl`: one that is being written is not yet whole.
  static func lastMetric(_ outputDirectory: String) -> JSON? {
    Files.lastLines(2, of: "\(outputDirectory)/metrics.jsonl").reversed().lazy
      .compactMap { try? JSON.parse($0) }.first
  }
}
