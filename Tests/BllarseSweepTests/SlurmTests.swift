import BllarseTestSupport
import Testing

@testable import BllarseSweep

/// Answers commands by their first words and remembers them: for answers that a real cluster gives
/// only after a fault.
final class ScriptedRunner: CommandRunner {
  private let answers: [String: CommandResult]
  private(set) var calls: [[String]] = []

  init(_ answers: [String: CommandResult]) { self.answers = answers }

  func run(_ arguments: [String], environment: [String: String]) throws -> CommandResult {
    calls.append(arguments)
    guard let answer = answers[arguments[0]] else {
      return CommandResult(status: 1, errors: "\(arguments[0]): not here")
    }
    return answer
  }
}

@Suite("SLURM: planning")
struct SlurmPlanTests {
  @Test("2,500 configurations become three arrays where the highest task number is 1000")
  func chunks() throws {
    let plan = try Chunk.plan(Array(0..<2500), maxArraySize: 1001, allowsOrderFile: true)
    #expect(plan.chunks.map(\.tasks.count) == [1001, 1001, 498])
    #expect(plan.chunks.map(\.offset) == [0, 1001, 2002])
    #expect(plan.chunks.allSatisfy { $0.tasks.first == 0 && $0.tasks.last! <= 1000 })
    #expect(plan.order == nil)
  }

  @Test("every configuration is run by exactly one task", arguments: 0..<200)
  func cover(seed: Int) throws {
    var generator = SplitMix64(seed: seed)
    let indices = (0..<200).filter { _ in Bool.random(using: &generator) }
    let plan = try Chunk.plan(
      indices, maxArraySize: Int.random(in: 1...50, using: &generator),
      allowsOrderFile: Bool.random(using: &generator))
    let run = plan.chunks.flatMap { chunk in
      chunk.tasks.map { task in plan.order?[task + chunk.offset] ?? task + chunk.offset }
    }
    #expect(run == indices)
    #expect(plan.chunks.flatMap(\.indices) == indices)
  }

  @Test("a script that only adds an offset gets task numbers that lead to the index")
  func windows() throws {
    let plan = try Chunk.plan([3, 5, 900, 1500], maxArraySize: 1001, allowsOrderFile: false)
    #expect(plan.chunks.map(\.offset) == [3, 1500])
    #expect(plan.chunks[0].tasks == [0, 2, 897])
    #expect(throws: SweepError.self) {
      try Chunk.plan([2, 1, 0], maxArraySize: 10, allowsOrderFile: false)
    }
  }

  @Test("orders are permutations, the shuffle the same everywhere")
  func orders() {
    let indices = Array(0..<8)
    #expect(Chunk.ordered(indices, .reverse) == [7, 6, 5, 4, 3, 2, 1, 0])
    let shuffled = Chunk.ordered(indices, .shuffle)
    #expect(shuffled.sorted() == indices && shuffled != indices)
    #expect(shuffled == Chunk.ordered(indices.reversed(), .shuffle))
  }

  @Test("numbers are written as SLURM's ranges")
  func ranges() {
    #expect(Chunk.ranges([0, 1, 2, 4, 6, 7]) == "0-2,4,6-7")
    #expect(Chunk.ranges([]) == "")
  }

  @Test("limits are asked of the cluster, and what is queued counts")
  func limits() throws {
    let config = "MaxArraySize            = 501\nMaxJobCount             = 10000\nOther = x\n"
    let runner = ScriptedRunner([
      "scontrol": CommandResult(status: 0, output: config),
      "squeue": CommandResult(status: 0, output: "1_0\n1_1\n1_2\n"),
      "sacctmgr": CommandResult(status: 0, output: "\n40\n"),
    ])
    let limits = try ClusterLimits.ask(runner, qos: nil).tasks
    #expect(limits.maxArraySize == 501)
    #expect(limits.submitLimit == 37)
    #expect(limits.submitLimitName == "MaxSubmitJobs of the account")
    #expect(throws: SweepError(.failed, "SLURM does not answer: scontrol: not here")) {
      try ClusterLimits.ask(ScriptedRunner([:]), qos: nil)
    }
  }

  @Test("quantities are read as SLURM writes them")
  func units() throws {
    #expect(Memory("1536M") == Memory(kibibytes: 3 << 19) && Memory("500")?.kibibytes == 500 << 10)
    #expect(Memory("x") == nil)
    #expect(Duration(clock: "90") == .seconds(5400))
    #expect(Duration(clock: "1:30") == .seconds(90))
    #expect(Duration(clock: "2:00:00") == .seconds(7200))
    #expect(Duration(clock: "1-2:30") == .seconds(95400))
    #expect(Duration(clock: "1:x") == nil)
    #expect(Duration.seconds(95400).clock == "1-02:30:00")
    #expect(Duration(clock: "UNLIMITED") == .zero)
    // What is passed on is what was written, until it is multiplied.
    var options = SubmitOptions()
    for (key, text) in [("mem", "512"), ("time", "30")] { try options.set(key, to: .string(text)) }
    #expect(options.requested(["time", "mem"]) == ["--time", "30", "--mem", "512"])
    let more = try options.changed(by: RetryRule(parsing: "oom:1:mem*2"), nodes: [])
    #expect(more.requested(["time", "mem"]) == ["--time", "30", "--mem", "1G"])
  }

  @Test(
    "memory prints itself as it was read, in the largest unit of which it is a whole number",
    arguments: ["4G", "400M", "1536M", "3T", "1K", "0"])
  func memory(text: String) { #expect(Memory(text)?.description == text) }
}

@Suite("SLURM: retry rules")
struct RetryRuleTests {
  @Test(
    "rules are read and written alike",
    arguments: [
      "oom:2:mem*1.5", "timeout:1:time*2", "node:3:exclude", "failed:1",
    ])
  func roundTrip(text: String) throws {
    #expect(try RetryRule(parsing: text).description == text)
  }

  @Test("a rule that cannot be read shows how one looks")
  func faults() {
    #expect(
      throws: SweepError(
        .usage,
        "--retry oon:2: the cause is one of oom, timeout, node, failed; did you mean 'oom'?")
    ) { try RetryRule(parsing: "oon:2") }
    for text in ["oom", "oom:0", "oom:1:mem*0.5", "oom:1:ram*2", "oom:1:mem*2:3"] {
      #expect(throws: SweepError.self) { try RetryRule(parsing: text) }
    }
  }

  @Test("each try has more memory than the one before, up to the budget")
  func budget() throws {
    var options = SubmitOptions()
    options.resources.memory = Memory("1G")
    options.retryRules = [try RetryRule(parsing: "oom:2:mem*1.5")]
    var status = RunStatus(index: 4, state: .failed)
    status.cause = .memory
    func submission(_ cause: FailureCause?) -> SubmissionRecord {
      SubmissionRecord(
        number: 1, path: "", options: options,
        chunks: [("1", Chunk(offset: 0, tasks: [0], indices: [4]))], parentRun: nil, cause: cause)
    }
    var history = [submission(nil)]
    for memory in ["1536M", "2304M"] {
      let (groups, exhausted) = Retry.byCause([status], submissions: history, options: options)
      #expect(groups.map(\.options.resources.memory?.description) == [memory])
      #expect(groups.map(\.indices) == [[4]])
      #expect(exhausted.isEmpty)
      history.append(submission(.memory))
    }
    let (groups, exhausted) = Retry.byCause([status], submissions: history, options: options)
    #expect(groups.isEmpty && exhausted == [4])
  }

  @Test("a failed node is excluded from the next try")
  func node() throws {
    var options = SubmitOptions()
    options.excludedNodes = ["n1"]
    let changed = options.changed(by: try RetryRule(parsing: "node:1"), nodes: ["n2", "n1"])
    #expect(changed.excludedNodes == ["n1", "n2"])
  }
}

@Suite("SLURM: status")
struct StatusTests {
  /// One configuration, submitted as task 0 of job 9, with the state of its queue entry.
  static func status(
    queue state: String? = nil, problem: String? = nil, reason: String = "",
    prepare: (Scratch) throws -> Void = { _ in }
  ) throws -> RunStatus {
    let scratch = try Scratch("grid: {a: [1]}")
    try prepare(scratch)
    var view = TaskStates()
    view.problem = problem
    if let state {
      view.tasks[TaskReference(slurm: "9", 0)] = TaskState(slurm: state, reason: reason, node: "n1")
    }
    let submission = SubmissionRecord(
      number: 1, path: "", options: SubmitOptions(),
      chunks: [("9", Chunk(offset: 0, tasks: [0], indices: [0]))], parentRun: nil, cause: nil)
    let reader = StatusReader(
      scratch.directory, submissions: [submission], states: view, now: Host.now)
    return reader.status(of: try scratch.directory.manifest.entry(at: 0))
  }

  /// An attempt of task 0 of job 9 on another machine.
  static func attempt(_ scratch: Scratch, end: AttemptEnd? = nil, restarts: Int = 0) throws {
    let run = scratch.directory.run(0)
    let number = (run.attempts.last ?? 0) + 1
    let claim = AttemptClaim(
      host: "elsewhere", process: 1, startTime: 1, started: Host.now - 5,
      outputDirectory: "attempt-\(number)/output", resumed: false,
      task: TaskIdentity(
        executor: "slurm", job: "9", arrayJob: "9", arrayTask: 0, restarts: restarts, node: "n1"))
    let attempt = try #require(try run.claim(attempt: number, claim))
    if let end { try attempt.write(end) }
  }

  static func end(_ outcome: AttemptEnd.Outcome, code: Int, _ reason: String) -> AttemptEnd {
    AttemptEnd(
      outcome: outcome, exitCode: code, signal: nil, reason: reason, seconds: 3, finished: 0)
  }

  @Test("what waits is pending, with SLURM's reason")
  func pending() throws {
    let status = try Self.status(queue: "PENDING", reason: "Resources")
    #expect(status.state == .pending && status.reason == "Resources")
  }

  @Test("a state that this program has never heard of is shown, and is no failure")
  func unknownState() throws {
    let status = try Self.status(queue: "HIBERNATING")
    #expect(status.state == .running && status.reason == "HIBERNATING")
  }

  @Test(
    "a task that died without a word has failed, with SLURM's reason",
    arguments: [
      ("OUT_OF_MEMORY", FailureCause.memory), ("TIMEOUT", .time), ("NODE_FAIL", .node),
      ("FAILED", .failed),
    ])
  func silentDeath(state: String, cause: FailureCause) throws {
    let status = try Self.status(queue: state) { try Self.attempt($0) }
    #expect(status.state == .failed)
    #expect(status.cause == cause)
    #expect(status.reason == "\(state), and the run wrote no end")
    let before = try Self.status(queue: state)
    #expect(before.state == .failed && before.cause == cause)
    #expect(before.reason == "\(state) before the run began; see the job's log")
  }

  @Test("a cancelled task is cancelled, whether it had begun or not")
  func cancelled() throws {
    #expect(try Self.status(queue: "CANCELLED").state == .cancelled)
    #expect(try Self.status(queue: "CANCELLED") { try Self.attempt($0) }.state == .cancelled)
    let stopped = try Self.status(queue: "CANCELLED") {
      try Self.attempt($0, end: Self.end(.interrupted, code: 75, "stopped"))
    }
    #expect(stopped.state == .cancelled)
    let marked = try Self.status { scratch in
      let run = scratch.directory.run(0)
      try Files.makeDirectory(run.path)
      try Files.write("9_0\n", to: "\(run.path)/cancelled")
    }
    #expect(marked.state == .cancelled)
  }

  @Test("an id that the queue no longer knows is lost, unless the queue did not answer")
  func lost() throws {
    #expect(try Self.status().state == .lost)
    #expect(try Self.status(problem: "down").state == .pending)
  }

  @Test("a program's failure keeps its code and last error line")
  func failure() throws {
    let status = try Self.status(queue: "FAILED") {
      try Self.attempt($0, end: Self.end(.failed, code: 3, "ValueError: x"))
    }
    #expect(status.state == .failed && status.exitCode == 3 && status.reason == "ValueError: x")
    #expect(status.cause == .failed)
  }

  @Test("a requeued task is pending although its last attempt was interrupted")
  func requeued() throws {
    let status = try Self.status(queue: "PENDING", reason: "BeginTime") {
      try Self.attempt($0, end: Self.end(.interrupted, code: 75, "interrupted"))
    }
    #expect(status.state == .pending && status.reason == "requeued (BeginTime)")
  }

  @Test("a result counts, whatever the queue says")
  func done() throws {
    #expect(try Self.status(queue: "TIMEOUT") { try $0.finish(0, nll: 1) }.state == .done)
  }

  @Test("without a cluster, a fresh heartbeat elsewhere is running and an old one is dead")
  func heartbeat() throws {
    let fresh = try Self.status(problem: "down") { try Self.attempt($0) }
    #expect(fresh.state == .running)
    let scratch = try Scratch("grid: {a: [1]}")
    try Self.attempt(scratch)
    let reader = StatusReader(
      scratch.directory, submissions: [], now: Host.now + 1000)
    let old = reader.status(of: try scratch.directory.manifest.entry(at: 0))
    #expect(old.state == .failed && old.reason == "ended without a word")
  }

  @Test("squeue, then sacct, then scontrol are put together")
  func queue() {
    let runner = ScriptedRunner([
      "squeue": CommandResult(
        status: 0,
        output:
          "9|0|RUNNING|None|n1\n9|1|FAILED|NonZeroExitCode|n1\n8|0|RUNNING|None|n\n"),
      "sacct": CommandResult(status: 1, errors: "no accounting"),
      "scontrol": CommandResult(
        status: 0,
        output: "JobId=11 ArrayJobId=9 ArrayTaskId=1 JobName=x JobState=FAILED ExitCode=3:0\n"),
    ])
    let view = TaskStates.askSlurm(runner, jobs: ["9"])
    #expect(view.tasks.count == 2)
    #expect(view.tasks[TaskReference(slurm: "9", 1)]?.exitCode == 3)
    #expect(view.tasks[TaskReference(slurm: "9", 0)]?.isActive == true)
    let withAccounting = ScriptedRunner([
      "squeue": CommandResult(status: 0, output: ""),
      "sacct": CommandResult(
        status: 0,
        output: "9_4|CANCELLED by 0|0:15|n2\n9_5|OUT_OF_MEMORY|0:125|n2\n"),
    ])
    let accounted = TaskStates.askSlurm(withAccounting, jobs: ["9"])
    #expect(accounted.tasks[TaskReference(slurm: "9", 4)]?.phase == .cancelled)
    #expect(accounted.tasks[TaskReference(slurm: "9", 5)]?.cause == .memory)
  }
}
