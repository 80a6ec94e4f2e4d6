/// Submits configurations to an executor as arrays of tasks.
public struct Submitter {
  private let directory: SweepDirectory
  private let executor: any Executor

  /// Makes a submitter.
  ///
  /// - Throws: ``SweepError`` (64) when there is no such executor.
  public init(_ directory: SweepDirectory, options: SubmitOptions) throws {
    self.directory = directory
    executor = try options.executor(for: directory)
  }

  /// A submission worked out, and not yet made.
  public struct Plan: Sendable {
    /// The arrays, in the order of submission.
    public let chunks: [Chunk]
    /// The configurations by position (task and offset); nil where that is the index itself.
    package let order: [Int]?
    /// Configurations that the executor's limit leaves for another time.
    public let deferred: [Int]
    package let limitName: String
    /// What the user is to know: what each run gets, what only the nodes can tell, a line each.
    public let notes: [String]
    package var parentRun: String?
    /// Where that run is tracked, without credentials.
    package var parentStore: String?
    package var cause: FailureCause?
  }

  /// Works a submission of configurations out; `memory` is what the one that needs most needs.
  ///
  /// - Throws: ``SweepError`` when the executor does not answer, or tasks would miss something.
  public func plan(_ indices: [Int], memory: CheckReport.MemoryEstimate? = nil) throws -> Plan {
    let limits = try executor.limits()
    let ordered = Chunk.ordered(indices, executor.options.arrayOrder)
    let now = Array(ordered.prefix(limits.submitLimit ?? .max))
    let (chunks, order) = try Chunk.plan(
      now, maxArraySize: limits.maxArraySize, allowsOrderFile: limits.readsOrder)
    return Plan(
      chunks: chunks, order: order, deferred: Array(ordered.dropFirst(now.count)),
      limitName: limits.submitLimitName,
      notes: chunks.isEmpty ? [] : try executor.check(memory: memory))
  }

  /// What submitting a plan would do: the commands and scripts.
  public func describe(_ plan: Plan) throws -> String {
    let number = nextNumber
    return try plan.chunks.indices.map { position in
      let array = array(
        plan, position, number: number, after: position > 0 ? "JOB-OF-CHUNK-\(position - 1)" : nil)
      return "# chunk \(position): configurations \(Chunk.ranges(array.chunk.indices.sorted()))\n"
        + (try executor.describe(array))
    }.joined()
  }

  /// Makes a submission: hands the executor one array after another, and records each job's id before the
  /// next goes out.
  ///
  /// - Throws: ``SweepError`` (1) with the executor's reason and the ids of the jobs that went out.
  @discardableResult
  public func submit(_ plan: Plan, onChunk: (Chunk, String) -> Void = { _, _ in }) throws
    -> [String]
  {
    try Files.makeDirectory("\(directory.path)/submissions")
    var number = nextNumber
    while try !Files.claim(path(number)) { number += 1 }
    if let order = plan.order {
      try Files.write(order.map { "\($0)\n" }.joined(), to: orderFile(number))
    }
    try writePlan(plan, to: path(number))
    var jobs: [String] = []
    for (position, chunk) in plan.chunks.enumerated() {
      let array = array(plan, position, number: number, after: jobs.last)
      let (job, command): (String, [String])
      do {
        (job, command) = try executor.submit(array)
      } catch let error as SweepError {
        let before =
          jobs.isEmpty
          ? "nothing was submitted" : "submitted before it: jobs \(jobs.joined(separator: ", "))"
        throw SweepError(error.code, "\(error.description) (\(before))")
      }
      jobs.append(job)
      let record: JSON = .object([
        "job": .string(job), "offset": .int(chunk.offset), "tasks": .ints(chunk.tasks),
        "indices": .ints(chunk.indices), "submitted": .string(Host.timestamp(Host.now)),
        "command": .strings(command),
      ])
      try Files.write(record.compact + "\n", to: "\(path(number))/chunk-\(position.digits(4)).json")
      onChunk(chunk, job)
    }
    if !executor.options.retryRules.isEmpty, !jobs.isEmpty {
      try followUp(array(plan, jobs.count - 1, number: number, after: jobs.last), jobs)
    }
    return jobs
  }

  private var nextNumber: Int {
    (Files.names(in: "\(directory.path)/submissions").compactMap { Int($0) }.max() ?? 0) + 1
  }

  private func path(_ number: Int) -> String { "\(directory.path)/submissions/\(number.digits(4))" }
  private func orderFile(_ number: Int) -> String { "\(path(number))/order" }

  private func array(_ plan: Plan, _ position: Int, number: Int, after job: String?) -> TaskArray {
    let chunk = plan.chunks[position]
    let order = plan.order == nil ? nil : orderFile(number)
    let executable = Host.executablePath ?? "bllarse-sweep"
    let options = executor.options
    let environment: [String: String?] = [
      "BLLARSE_SWEEP_SOURCE": directory.source, "BLLARSE_SWEEP_DIR": directory.path,
      "INDEX_OFFSET": String(chunk.offset), "BLLARSE_MAX_REQUEUES": String(options.maxRequeues),
      "BLLARSE_SWEEP_EXECUTABLE": executable, "VENV_NAME": options.venv,
      ProgramRecord.numberName: ProgramRecord.lastNumber(in: directory),
      "BLLARSE_STRICT": options.isStrict ? "1" : nil,
      // A task runs what was submitted, by the interpreter that was asked for.
      SweepDirectory.versionName: directory.python?.folder,
      "BLLARSE_PYTHON": options.venv == nil ? directory.python?.interpreter : nil,
      "MLFLOW_PARENT_RUN_ID": plan.parentRun, "BLLARSE_MLFLOW_STORE": plan.parentStore,
      "BLLARSE_TASK_ORDER": order,
    ]
    return TaskArray(
      sweep: directory, submission: (number, path(number)),
      position: (position, plan.chunks.count), chunk: chunk, orderFile: order, previousJob: job,
      environment: environment.compactMapValues(\.self), executable: executable)
  }

  private func writePlan(_ plan: Plan, to path: String) throws {
    let options = executor.options
    let script = try options["job_script"]?.stringValue.flatMap { try Files.text(of: $0) }
    try Files.write(
      JSON.object([
        "version": 1, "submitted": .string(Host.timestamp(Host.now)),
        "user": .optional(Host.userName), "host": .string(Host.name),
        "directory": .string(Files.currentDirectory), "executor": .string(options.executor),
        "options": options.json, "log_dir": .optional(options["log_dir"]?.stringValue),
        "parent_run_id": .optional(plan.parentRun), "cause": .optional(plan.cause?.rawValue),
        "chunks": .int(plan.chunks.count),
        "configurations": .int(plan.chunks.reduce(0) { $0 + $1.tasks.count }),
        "job_script_sha256": .optional(script.map { Digest.hex($0) }),
      ]).pretty + "\n", to: "\(path)/plan.json")
  }

  /// A short job after the arrays that applies the retry rules: nothing has to stay running here.
  private func followUp(_ array: TaskArray, _ jobs: [String]) throws {
    let command = [array.executable, "retry", directory.path, "--by-cause"]
    let byHand = "call 'bllarse-sweep retry \(directory.path) --by-cause' after they ended"
    func fault(_ reason: String) -> SweepError {
      SweepError.failed(
        "the jobs \(jobs.joined(separator: ", ")) are submitted, but not the one that applies the retry rules: \(reason); \(byHand)"
      )
    }
    guard let executor = executor as? any FollowUpExecutor else {
      throw fault("\(type(of: executor).title) starts nothing when jobs end")
    }
    do {
      let job = try executor.submit(command, with: array, after: jobs)
      try Files.write(
        JSON.object(["job": .string(job)]).compact + "\n",
        to: "\(array.submission.path)/follow-up.json")
    } catch let error as SweepError { throw fault(error.description) }
  }
}

/// One array of a submission.
public struct Chunk: Sendable, Equatable {
  /// Added to the array's task number: INDEX_OFFSET.
  public let offset: Int
  /// The array's task numbers, ascending.
  public let tasks: [Int]
  /// The configurations, one for each task.
  public let indices: [Int]

  /// Ascending numbers as ranges: `0-9,12`.
  package static func ranges(_ numbers: [Int]) -> String {
    var parts: [String] = []
    var start = 0
    while start < numbers.count {
      var end = start
      while end + 1 < numbers.count, numbers[end + 1] == numbers[end] + 1 { end += 1 }
      parts.append(start == end ? "\(numbers[start])" : "\(numbers[start])-\(numbers[end])")
      start = end + 1
    }
    return parts.joined(separator: ",")
  }

  /// Spreads the configurations of a submission over arrays of at most so many tasks.
  ///
  /// A script that only adds INDEX_OFFSET allows no order file: its tasks' numbers must lead to the index
  /// itself. `order` has the configurations by position (task and offset); nil where that is the index.
  static func plan(
    _ indices: [Int], maxArraySize: Int, allowsOrderFile: Bool
  ) throws -> (chunks: [Chunk], order: [Int]?) {
    let isAscending = zip(indices, indices.dropFirst()).allSatisfy(<)
    let isContiguous =
      isAscending && indices.last.map { $0 - indices[0] + 1 == indices.count } ?? true
    if isContiguous || allowsOrderFile {
      let first = isContiguous ? indices.first ?? 0 : 0
      let chunks = stride(from: 0, to: indices.count, by: maxArraySize).map { start in
        let count = min(maxArraySize, indices.count - start)
        return Chunk(
          offset: first + start, tasks: Array(0..<count),
          indices: Array(indices[start..<start + count]))
      }
      return (chunks, isContiguous ? nil : indices)
    }
    guard isAscending else {
      throw SweepError.usage(
        "--array-order needs a job script that reads BLLARSE_TASK_ORDER; this one only adds INDEX_OFFSET"
      )
    }
    var chunks: [Chunk] = []
    var rest = indices[...]
    while let offset = rest.first {
      let window = rest.prefix { $0 - offset < maxArraySize }
      chunks.append(
        Chunk(offset: offset, tasks: window.map { $0 - offset }, indices: Array(window)))
      rest = rest.dropFirst(window.count)
    }
    return (chunks, nil)
  }

  static func ordered(_ indices: [Int], _ order: SubmitOptions.ArrayOrder) -> [Int] {
    switch order {
    case .index: return indices
    case .reverse: return indices.reversed()
    case .shuffle:
      // Sorted by a hash: the same permutation on every machine.
      return indices.map { (index: $0, key: Digest.hex("order \($0)")) }
        .sorted { $0.key < $1.key }.map(\.index)
    }
  }
}
