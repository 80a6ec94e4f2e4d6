/// Tells where each configuration stands, by the runs' own files and by what the executors say.
public struct StatusReader {
  private let directory: SweepDirectory
  private let states: TaskStates
  private let submissions: [SubmissionRecord]
  private let references: [Int: [TaskReference]]
  private let now: Double
  /// Why configurations were left out, when the program said that they cannot run.
  private let refusals: [Int: String]

  /// Why an executor's part is missing; nil when it answered or when there is none.
  public var problem: String? { states.problem }

  /// Reads the submissions, and asks their executors when there are any.
  public init(_ directory: SweepDirectory) throws {
    let submissions = try SubmissionRecord.all(in: directory)
    self.init(
      directory, submissions: submissions, states: TaskStates.ask(submissions, of: directory),
      refusals: try RefusalRecord.read(directory))
  }

  init(
    _ directory: SweepDirectory, submissions: [SubmissionRecord],
    states: TaskStates = TaskStates(), now: Double = Host.now, refusals: [Int: String] = [:]
  ) {
    (self.directory, self.submissions, self.states) = (directory, submissions, states)
    (self.now, self.refusals) = (now, refusals)
    references = Dictionary(grouping: submissions.flatMap(\.tasks), by: \.index)
      .mapValues { $0.map(\.task) }
  }

  /// Reads the runs' own files and asks nobody.
  package static func fromFiles(_ directory: SweepDirectory) -> StatusReader {
    StatusReader(directory, submissions: [])
  }

  /// The states of all configurations, in order; the runs of `ended` are known to be over, whatever is said
  /// of the tasks around them.
  ///
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
        status.set(.failed, "the task ended before its run began", .failed)
      }
      return status
    }
  }

  func activeTasks(of index: Int) -> [TaskReference] {
    references[index, default: []].filter { states.tasks[$0]?.isActive == true }
  }

  package func hasTask(for indices: some Sequence<Int>) -> Bool {
    indices.contains { !activeTasks(of: $0).isEmpty }
  }

  package func status(of entry: ManifestEntry, hasEnded: Bool = false) -> RunStatus {
    let run = directory.run(entry.index)
    var status = RunStatus(index: entry.index, state: .new)
    let numbers = run.attempts
    status.attempts = numbers.count
    let attempt = numbers.last.map { run.attempt($0) }
    let claim = attempt?.claim
    let task = claim?.task?.reference.flatMap { states.tasks[$0] }
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
    let tasks = references[entry.index, default: []]
    if let claim {
      status.node = claim.task?.node ?? claim.host
      status.lastMetric = Self.lastMetric("\(run.path)/\(claim.outputDirectory)")
      status.elapsedSeconds = end?.seconds ?? max(0, now - claim.started)
      status.task = claim.task?.name
    }
    if !hasEnded, let active = activeTasks(of: entry.index).last, let task = states.tasks[active],
      apply(active, task, claim: claim, end: end, to: &status)
    {
      return status
    }
    // A later task than the one that made the last attempt may have ended without beginning one.
    let later = tasks.last.flatMap { $0 == claim?.task?.reference ? nil : states.tasks[$0] }
    guard let attempt, later?.isActive != false else {
      applyQueueAlone(tasks.last, to: &status)
      return status
    }
    if let end {
      apply(end, claim, task, to: &status)
      if end.outcome == .failed, end.exitCode < 0, let claim, claim.task == nil {
        // Killed together with what started it: that says nothing against the configuration.
        status.state = .lost
        status.cause = nil
      }
    } else {
      applySilence(attempt, claim, task, to: &status)
    }
    status.add(claim?.programChange)
    return status
  }

  /// A task that its executor still has; false when its attempt is over and the job only cleans up.
  private func apply(
    _ reference: TaskReference, _ task: TaskState, claim: AttemptClaim?, end: AttemptEnd?,
    to status: inout RunStatus
  ) -> Bool {
    status.task = reference.name
    if task.phase == .pending {
      let isRequeued = end?.outcome == .interrupted
      status.set(.pending, isRequeued ? "requeued (\(task.reason))" : task.reason)
      if end == nil { status.elapsedSeconds = nil }
      return true
    }
    // An interrupted attempt's job completes before it waits again: that is no end.
    if claim?.task?.reference == reference, let end, end.outcome != .interrupted,
      task.phase == .completing
    {
      return false
    }
    status.set(.running, task.isPlain ? "" : task.word)
    status.node = task.node
    return true
  }

  private func apply(
    _ end: AttemptEnd, _ claim: AttemptClaim?, _ task: TaskState?, to status: inout RunStatus
  ) {
    status.exitCode = end.exitCode >= 0 ? end.exitCode : task?.exitCode
    status.reason = end.reason
    let ended = task.flatMap { $0.isActive ? nil : $0 }
    switch end.outcome {
    case .done:
      // result.json was there when the end was written; somebody has damaged it since.
      status.set(.failed, "the result is missing or damaged", .failed)
    case .interrupted:
      status.state = ended?.phase == .cancelled ? .cancelled : .interrupted
      if ended?.cause == .time { status.cause = .time }
      // A task that is to be started again would be known.
      status.isAbandoned = references[status.index] != nil && states.problem == nil
    case .failed:
      // An executor's own SIGTERM may reach the program before the one that is passed on to it.
      let isEndedFromOutside = end.exitCode < 0 || end.signal == "SIGTERM"
      let isCancelled = ended?.phase == .cancelled || isCancelled(status)
      let word = ended.map { $0.isPlain ? "" : "\($0.word): " } ?? ""
      status.set(
        isEndedFromOutside && isCancelled ? .cancelled : .failed, word + end.reason,
        ended?.cause ?? .failed)
      if end.signal == "SIGKILL" { applyLog(claim?.task?.reference, to: &status) }
    }
  }

  /// An attempt without an end: alive, or dead without a word.
  private func applySilence(
    _ attempt: AttemptDirectory, _ claim: AttemptClaim?, _ task: TaskState?,
    to status: inout RunStatus
  ) {
    if let task, !task.isActive {
      (status.node, status.exitCode) = (task.node, task.exitCode)
      status.set(
        task.phase == .cancelled ? .cancelled : .failed, "\(task.word), and the run wrote no end",
        task.cause ?? .failed)
      applyLog(claim?.task?.reference, to: &status)
    } else if attempt.isAlive(claim, at: now) {
      status.isOrphan = claim?.isClaimantAlive == false
      status.set(.running, status.isOrphan ? "goes on, though what started it has ended" : "")
    } else if let claim, claim.task == nil, claim.isClaimantAlive == false {
      status.set(.lost, "ended without a word, as did what started it")
    } else {
      status.set(.failed, "ended without a word", .node)
    }
  }

  private func isCancelled(_ status: RunStatus) -> Bool {
    guard let task = status.task else { return false }
    return directory.run(status.index).cancelledTask == task
  }

  /// A configuration of which only an executor can tell something.
  private func applyQueueAlone(_ reference: TaskReference?, to status: inout RunStatus) {
    guard let reference else { return }
    status.task = reference.name
    if let task = states.tasks[reference] {
      (status.node, status.exitCode) = (task.node, task.exitCode)
      status.state = .cancelled
      if task.phase != .cancelled {
        status.set(
          .failed, "\(task.word) before the run began; see the job's log", task.cause ?? .failed)
      }
    } else if isCancelled(status) {
      status.state = .cancelled
    } else if states.problem == nil {
      let executor = Executors.title(of: reference.executor)
      status.set(.lost, "\(executor) no longer knows \(reference.name), which left nothing")
    } else {
      status.set(.pending, "\(Executors.title(of: reference.executor)) does not answer")
    }
  }

  /// What the log of a task that was killed says of that.
  private func applyLog(_ task: TaskReference?, to status: inout RunStatus) {
    guard let task,
      let submission = submissions.first(where: { submission in
        submission.tasks.contains { $0.task == task }
      }), let found = try? submission.executor(directory).verdict(on: task)
    else { return }
    (status.cause, status.reason) = (found.cause, found.reason)
  }

  /// The last whole line of `metrics.jsonl`: one that is being written is not yet whole.
  static func lastMetric(_ outputDirectory: String) -> JSON? {
    Files.lastLines(2, of: "\(outputDirectory)/metrics.jsonl").reversed().lazy
      .compactMap { try? JSON.parse($0) }.first
  }
}

// What the last task of a submission looks at, to know that it is the last.
extension SweepDirectory {
  package func isRunning(_ index: Int) -> Bool {
    guard let attempt = run(index).lastAttempt, attempt.end == nil else { return false }
    return attempt.isAlive(attempt.claim, at: Host.now)
  }

  package func hasResult(_ index: Int) throws -> Bool {
    run(index).result(hash: try manifest.entry(at: index).hash) != nil
  }

  /// Whether the next attempt goes on with a tracked run, which stays nested where it is.
  package func resumesTrackedRun(_ index: Int) -> Bool {
    let run = run(index)
    let output = run.lastAttempt.flatMap { RunningAttempt.resumable(run, after: $0) }
    return output.map { Files.exists("\(run.path)/\($0)/mlflow_run_id") } ?? false
  }

  /// Whether this process' task is started again by its script when its program asks for that.
  package func requeuesItself(_ index: Int) -> Bool {
    guard let task = Executors.task(in: Host.environment) else { return false }
    let limit = Host.variable("BLLARSE_MAX_REQUEUES").flatMap { Int($0) } ?? 0
    return task.restarts < limit && run(index).cancelledTask != task.name
  }
}
