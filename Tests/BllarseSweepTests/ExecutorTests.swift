import BllarseSweep
import BllarseTestSupport
import Synchronization
import Testing

/// An executor as somebody else would write it: it runs the first task of each array at once, and keeps
/// the others on a shelf until they are cancelled.
struct ShelfExecutor: Executor {
  static let name = "shelf"
  static let title = "the shelf"
  static let keys = ["height"]
  static let resourceKeys = ["cpus"]
  private static let known = Mutex<[TaskReference: TaskState]>([:])

  let options: SubmitOptions
  private let directory: SweepDirectory

  init(_ directory: SweepDirectory, options: SubmitOptions, runner: any CommandRunner) {
    (self.directory, self.options) = (directory, options)
  }

  static func validate(_ key: String, _ value: JSON) throws {
    if value.intValue ?? 0 < 1 { throw SweepError(.data, "a positive number") }
  }

  func limits() throws -> ExecutorLimits { ExecutorLimits(maxArraySize: 2) }

  func check(memory: CheckReport.MemoryEstimate?) throws -> [String] {
    ["\(options.resources.cpus ?? 0) processors, shelf \(options["height"]?.intValue ?? 0)"]
  }

  func submit(_ array: TaskArray) throws -> (job: String, command: [String]) {
    let job = "\(directory.path)-\(array.position.index)"
    for (task, index) in zip(array.chunk.tasks, array.chunk.indices) {
      let reference = TaskReference(executor: Self.name, job: job, task: task)
      var state = TaskState(.pending, word: "shelved", reason: "on the shelf")
      if task == 0 {
        var run = SingleRun()
        run.environment = array.environment
        run.task = TaskIdentity(executor: Self.name, job: job, arrayJob: job, arrayTask: task)
        #expect(try run.run(index, in: array.sweep) == 0)
        state = TaskState(.completed)
      }
      Self.known.withLock { $0[reference] = state }
    }
    return (job, array.command(for: 0))
  }

  func states(of jobs: [String]) -> TaskStates {
    var states = TaskStates()
    states.tasks = Self.known.withLock { $0.filter { jobs.contains($0.key.job) } }
    return states
  }

  func cancel(_ tasks: [TaskReference], dryRun: Bool) throws -> [String] {
    for task in tasks where !dryRun {
      Self.known.withLock { $0[task]?.phase = .cancelled }
    }
    return tasks.map { "unshelve \($0.task)" }
  }

  static func task(in environment: [String: String]) -> TaskIdentity? {
    environment["SHELF"].map { TaskIdentity(executor: name, job: $0) }
  }
}

@Suite("Executors")
struct ExecutorTests {
  @Test("ShelfExecutor: one that the package does not know runs a sweep of three configurations")
  func outside() throws {
    try Executors.register(ShelfExecutor.self)
    #expect(Set(Executors.names).isSuperset(of: ["local", "shelf", "slurm"]))
    let scratch = try Scratch(
      "seeds: 3\nexecutor: {name: shelf, cpus: 2, memory: 1G, height: 3}")
    let directory = scratch.directory
    let (options, ignored) = try directory.options(for: ShelfExecutor.self)
    #expect(ignored == ["memory"])
    let submitter = try Submitter(directory, options: options)
    let plan = try submitter.plan([0, 1, 2])
    #expect(plan.chunks.map(\.indices) == [[0, 1], [2]])
    #expect(plan.notes == ["2 processors, shelf 3"])
    #expect(try submitter.describe(plan).contains("run-config \(directory.path) 1\n"))
    try submitter.submit(plan)

    var statuses = try StatusReader(directory).all()
    #expect(statuses.map(\.state) == [.done, .pending, .done])
    #expect(statuses[1].reason == "on the shelf")
    // A configuration is told whose task it was, from its claim alone.
    #expect(directory.run(2).attempt(1).claim?.task?.executor == "shelf")

    let canceller = Canceller(directory)
    let waiting = try canceller.tasks()
    #expect(waiting.map(\.index) == [1])
    #expect(try canceller.cancel(waiting, followUps: true, dryRun: true) == ["unshelve 1"])
    #expect(try StatusReader(directory).all()[1].state == .pending)
    try canceller.cancel(waiting, followUps: true)
    statuses = try StatusReader(directory).all()
    #expect(statuses.map(\.state) == [.done, .cancelled, .done])

    #expect(Executors.task(in: ["SHELF": "7"])?.executor == "shelf")
    #expect(Executors.task(in: ["SLURM_JOB_ID": "7"])?.executor == "slurm")
    #expect(Executors.task(in: ["PATH": "/bin"]) == nil)
  }

  @Test("LocalExecutor: submitting an array runs it to its end")
  func local() throws {
    let scratch = try Scratch("seeds: 2\nexecutor: local")
    let options = try scratch.directory.options(for: LocalExecutor.self).options
    let submitter = try Submitter(scratch.directory, options: options)
    try submitter.submit(try submitter.plan([0, 1]))
    let statuses = try StatusReader(scratch.directory).all()
    #expect(statuses.map(\.state) == [.done, .done])
    #expect(LocalExecutor(scratch.directory, options: options).jobCount(for: 1) == 1)
  }

  @Test("Executors: a name that cannot stand in a file is refused, an unknown one is answered")
  func names() throws {
    struct Shouting: FollowUpExecutor {
      static let name = "LOUD"
      let options: SubmitOptions
      init(_ directory: SweepDirectory, options: SubmitOptions, runner: any CommandRunner) {
        self.options = options
      }
      func limits() throws -> ExecutorLimits { ExecutorLimits() }
      func submit(_ array: TaskArray) throws -> (job: String, command: [String]) { ("", []) }
      func states(of jobs: [String]) -> TaskStates { TaskStates() }
      func cancel(_ tasks: [TaskReference], dryRun: Bool) throws -> [String] { [] }
      func submit(_ command: [String], with array: TaskArray, after jobs: [String]) -> String { "" }
      func cancelFollowUp(_ job: String) throws {}
      static func task(in environment: [String: String]) -> TaskIdentity? { nil }
    }
    #expect(throws: SweepError.self) { try Executors.register(Shouting.self) }
    let error = #expect(throws: SweepError.self) { try Executors.type(named: "slrum") }
    #expect(error?.description.hasPrefix("unknown executor 'slrum'; did you mean 'slurm'?") == true)
  }

  @Test(
    "executor: unknown names and keys, and wrong values, are told with their place",
    arguments: [
      ("executor: slrum", "s.yaml:1:11: unknown executor 'slrum'; did you mean 'slurm'? (known: "),
      ("executor: 3", "s.yaml:1:11: 'executor' is one of local, "),
      ("executor: {cpus: 2}", "s.yaml:1:11: 'executor' is one of local, "),
      (
        "executor: {name: slurm, memroy: 4G}",
        "s.yaml:1:25: unknown key 'memroy' under 'executor'; did you mean 'memory'? (keys: cpus, memory, time, gpus, job_name, "
      ),
      (
        "executor: {name: local, partition: x}",
        "s.yaml:1:25: unknown key 'partition' under 'executor' (keys: cpus, memory, time, gpus, jobs, retries, retry_delay)"
      ),
      (
        "executor:\n  name: slurm\n  memory: 1.5G",
        "s.yaml:3:11: executor.memory is a whole number with K, M, G or T (megabytes without), such as 4G; found '1.5G'"
      ),
      (
        "executor: {name: slurm, signal_seconds: 99999}",
        "s.yaml:1:41: executor.signal_seconds is a number of seconds from 1 to 65535; found '99999'"
      ),
      (
        "executor: {name: local, jobs: 0}",
        "s.yaml:1:31: executor.jobs is a positive number; found 0"
      ),
    ])
  func faults(yaml: String, message: String) {
    let error = #expect(throws: SweepError.self) { try SweepFile.decode(yaml, path: "s.yaml") }
    #expect(error?.description.hasPrefix(message) == true, "\(error?.description ?? "")")
  }

  @Test("executor: its keys come after those of resources and slurm, where they have a meaning")
  func precedence() throws {
    let scratch = try Scratch(
      """
      seeds: 1
      executor: {name: slurm, cpus: 4, memory: 4G, partition: big}
      resources: {cpus: 2, time: 30, gpus: 1}
      slurm: {partition: small, account: me}
      """)
    let submit = try scratch.directory.options(for: Executors.submitting)
    #expect(submit.ignored == [])
    #expect(submit.options.resources.cpus == 4)
    #expect(submit.options.resources.memory == Memory("4G"))
    #expect(submit.options.resources.time == .seconds(1800))
    #expect(["partition", "account", "gres"].map { submit.options[$0] } == ["big", "me", "gpu:1"])
    let run = try scratch.directory.options(for: Executors.running)
    #expect(run.options.resources.cpus == 4 && run.ignored == ["memory", "partition"])
    // A directory keeps the choice; without one its description is what it was.
    let again = try SweepDirectory.open(scratch.directory.path)
    #expect(try again.options(for: Executors.submitting).options == submit.options)
    let plain = try Scratch("seeds: 1\nresources: {memory: 2G}")
    let text = try #require(try Files.text(of: "\(plain.directory.path)/sweep.json"))
    #expect(!text.contains("executor") && text.contains("\"mem\": \"2G\""))
  }

  @Test("records of versions with one executor are read as that one's")
  func earlier() throws {
    let scratch = try Scratch("seeds: 1")
    let folder = "\(scratch.directory.path)/submissions/0001"
    try Files.makeDirectory(folder)
    try Files.write(
      """
      {"version": 1, "log_dir": "/logs", "options": {"gres": "gpu:1", "time": "30", "mem": "1G",
       "cpus_per_task": 2, "exclude_nodes": "n1,n2", "max_concurrent": "none", "array_order": "index",
       "signal_seconds": 60, "max_requeues": 10, "retry": ["oom:2:mem*1.5"], "sbatch_args": ["--nice"],
       "log_dir": "/logs"}}
      """, to: "\(folder)/plan.json")
    try Files.write(
      #"{"job": "7", "offset": 0, "tasks": [0], "indices": [0]}"#, to: "\(folder)/chunk-0000.json")
    let record = try #require(try SubmissionRecord.all(in: scratch.directory).first)
    #expect(record.options.executor == "slurm" && record.options.resources.cpus == 2)
    #expect(record.options.excludedNodes == ["n1", "n2"] && record.options.maxConcurrent == nil)
    let task = try #require(record.tasks.first?.task)
    #expect(
      try record.executor(scratch.directory).logs(of: task)
        == ["/logs/sweep.7_0.out", "/logs/sweep.7_0.err"])
    var again = SubmitOptions()
    try again.apply(record.options.json.members ?? [], file: "plan.json")
    #expect(again == record.options)
  }
}
