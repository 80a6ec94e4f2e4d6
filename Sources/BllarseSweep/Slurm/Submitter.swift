/// Submits configurations as SLURM job arrays.
public struct Submitter {
  private let directory: SweepDirectory
  private let runner: any CommandRunner

  /// Makes a submitter.
  public init(_ directory: SweepDirectory, runner: any CommandRunner = ProcessRunner()) {
    self.directory = directory
    self.runner = runner
  }

  /// A submission worked out, and not yet made.
  public struct Plan: Sendable {
    /// The job arrays.
    public let chunks: ChunkPlan
    /// What is asked of SLURM.
    public let options: SubmitOptions
    /// Configurations that the cluster's limit leaves for another time.
    public let deferred: [Int]
    /// The limit that did so.
    public let limitName: String
    /// What each run gets.
    public let resources: JobResources
    /// The MLflow run that the configurations' runs are nested in.
    public var parentRun: String?
    /// Where that run is tracked, without credentials.
    public var parentStore: String?
    /// The cause of the failures that the submission tries again.
    public var cause: FailureCause?
    /// What only the nodes can tell, a line each.
    public var notes: [String] = []
    /// A file that the job script shares with others, and that goes with the submission.
    var sharedScript: String?
  }

  /// Works a submission out.
  ///
  /// - Parameters:
  ///   - indices: the configurations, ascending.
  ///   - options: what is asked of SLURM.
  ///   - known: the cluster's limits; nil to ask it.
  /// - Returns: the plan.
  /// - Throws: ``SweepError`` when the cluster does not answer or the job script cannot be used.
  public func plan(
    _ indices: [Int], options: SubmitOptions, limits known: ClusterLimits? = nil
  ) throws -> Plan {
    let limits =
      try known
      ?? ClusterLimits.ask(
        runner, partition: options.partition, qos: options.qos)
    var options = options
    options.logDirectory = Files.absolute(options.logDirectory)
    options.jobScript = options.jobScript.map { Files.absolute($0) }
    options.venv = options.venv.map { Files.absolute($0) }
    if let script = options.jobScript, !Files.exists(script) {
      throw SweepError(.usage, "there is no job script \(script)")
    }
    let requirements = JobRequirements(options: options, runner: runner)
    let ordered = ChunkPlan.ordered(indices, options.arrayOrder)
    let now = Array(ordered.prefix(limits.submitLimit ?? .max))
    let script = try options.jobScript.flatMap { try Files.text(of: $0) }
    let readsOrder = script?.contains("BLLARSE_TASK_ORDER")
    let chunks = try ChunkPlan(
      indices: now, maxArraySize: limits.maxArraySize, allowsOrderFile: readsOrder ?? true)
    var plan = Plan(
      chunks: chunks, options: options, deferred: Array(ordered.dropFirst(now.count)),
      limitName: limits.submitLimitName,
      resources: JobResources.ask(options, limits: limits, script: script, runner: runner))
    plan.notes = try requirements.check()
    plan.sharedScript = try requirements.sharedScript()
    return plan
  }

  /// The commands and scripts of a plan, as they would be run.
  public func describe(_ plan: Plan) throws -> String {
    let number = nextNumber
    var text = ""
    for (position, chunk) in plan.chunks.chunks.enumerated() {
      let environment = self.environment(plan, chunk: chunk, number: number)
      let command = arguments(
        plan, position: position, after: position > 0 ? "JOB-OF-CHUNK-\(position - 1)" : nil)
      text += "# chunk \(position): configurations \(Chunk.ranges(chunk.indices.sorted()))\n"
      for (name, value) in environment.sorted(by: { $0.key < $1.key }) {
        text += "\(name)=\(Shell.quote(value)) "
      }
      text += Shell.join(command + [scriptPath(plan, position: position, number: number)]) + "\n"
      if plan.options.jobScript == nil {
        text += "# --- the script ---\n" + script(plan, position: position, number: number).text
        text += "# --- end of the script ---\n"
      }
    }
    return text
  }

  /// Makes a submission: writes the scripts, calls sbatch for each chunk, and records each job's id
  /// before the next goes out.
  ///
  /// - Parameters:
  ///   - plan: what to submit.
  ///   - onChunk: called with a chunk and its job's id.
  /// - Returns: the job ids.
  /// - Throws: ``SweepError`` (1) with SLURM's reason and the ids of the chunks that went out.
  public func submit(_ plan: Plan, onChunk: (Chunk, String) -> Void = { _, _ in }) throws
    -> [String]
  {
    try Files.makeDirectory("\(directory.path)/submissions")
    var number = nextNumber
    while try !Files.claim(path(number)) { number += 1 }
    // SLURM before 23.02 does not make the directory, and a job without one dies unheard.
    try Files.makeDirectory(plan.options.logDirectory)
    if let order = plan.chunks.order {
      try Files.write(order.map { "\($0)\n" }.joined(), to: "\(path(number))/order")
    }
    if let shared = plan.sharedScript, let text = try Files.text(of: shared) {
      // What was submitted is what runs, whatever becomes of the original.
      try Files.write(text, to: "\(path(number))/\(JobRequirements.sharedFile)")
    }
    for position in plan.chunks.chunks.indices where plan.options.jobScript == nil {
      try Files.write(
        script(plan, position: position, number: number).text,
        to: scriptPath(plan, position: position, number: number), executable: true)
    }
    try Files.write(
      JSON.object([
        "version": 1, "submitted": .string(Host.timestamp(Host.now)),
        "user": .optional(Host.userName), "host": .string(Host.name),
        "directory": .string(Files.currentDirectory), "options": plan.options.json,
        "log_dir": .string(plan.options.logDirectory),
        "parent_run_id": .optional(plan.parentRun), "cause": .optional(plan.cause?.rawValue),
        "chunks": .int(plan.chunks.chunks.count),
        "configurations": .int(plan.chunks.chunks.reduce(0) { $0 + $1.tasks.count }),
        "job_script_sha256": .optional(
          try plan.options.jobScript.flatMap { try Files.text(of: $0) }.map { Digest.hex($0) }),
      ]).pretty + "\n", to: "\(path(number))/plan.json")
    var jobs: [String] = []
    for (position, chunk) in plan.chunks.chunks.enumerated() {
      let command =
        arguments(plan, position: position, after: jobs.last)
        + [scriptPath(plan, position: position, number: number)]
      let result = try runner.run(
        command, environment: environment(plan, chunk: chunk, number: number))
      guard result.status == 0,
        let job = result.output.split(separator: "\n").last?.split(separator: ";").first
      else {
        let before =
          jobs.isEmpty
          ? "nothing was submitted" : "submitted before it: jobs \(jobs.joined(separator: ", "))"
        throw SweepError(
          .failed,
          "sbatch refused chunk \(position) of \(plan.chunks.chunks.count): \(result.firstError) (\(before))"
        )
      }
      jobs.append(String(job))
      try record(chunk, position: position, job: String(job), command: command, number: number)
      onChunk(chunk, String(job))
    }
    if !plan.options.retryRules.isEmpty {
      try submitFollowUp(plan, after: jobs, number: number)
    }
    return jobs
  }

  // MARK: - Parts

  private var nextNumber: Int {
    (Files.names(in: "\(directory.path)/submissions").compactMap { Int($0) }.max() ?? 0) + 1
  }

  private func path(_ number: Int) -> String {
    "\(directory.path)/submissions/\(SweepDirectory.fourDigits(number))"
  }

  private func scriptPath(_ plan: Plan, position: Int, number: Int) -> String {
    plan.options.jobScript ?? "\(path(number))/chunk-\(SweepDirectory.fourDigits(position)).sh"
  }

  private func script(_ plan: Plan, position: Int, number: Int) -> JobScript {
    JobScript(
      sweepName: directory.name, submission: number, chunk: position,
      offset: plan.chunks.chunks[position].offset,
      orderFile: plan.chunks.order == nil ? nil : "\(path(number))/order",
      sweepDirectory: directory.path, source: directory.source,
      executable: Host.executablePath ?? "bllarse-sweep", program: plan.options.program,
      maxRequeues: plan.options.maxRequeues)
  }

  /// The arguments of sbatch.
  ///
  /// Chunks under a limit wait for one another: `%` holds for one array
  /// only, and two arrays side by side would run twice as many tasks.
  private func arguments(_ plan: Plan, position: Int, after job: String?) -> [String] {
    let chunk = plan.chunks.chunks[position]
    let limit = plan.options.maxConcurrent
    var arguments = plan.options.sbatchArguments(name: directory.name)
    arguments += ["--array", chunk.arraySpecification(limit: limit)]
    if limit != nil, let job { arguments += ["--dependency", "afterany:\(job)"] }
    return arguments
  }

  private func environment(_ plan: Plan, chunk: Chunk, number: Int) -> [String: String] {
    var environment = [
      "BLLARSE_SWEEP_SOURCE": directory.source, "BLLARSE_SWEEP_DIR": directory.path,
      "INDEX_OFFSET": String(chunk.offset),
      "BLLARSE_MAX_REQUEUES": String(plan.options.maxRequeues),
      "BLLARSE_SWEEP_EXECUTABLE": Host.executablePath ?? "bllarse-sweep",
    ]
    environment["VENV_NAME"] = plan.options.venv
    environment[ProgramRecord.numberName] = ProgramRecord.lastNumber(in: directory)
    environment["BLLARSE_STRICT"] = plan.options.isStrict ? "1" : nil
    if plan.sharedScript != nil { environment["BLLARSE_SWEEP_SCRIPTS"] = path(number) }
    if let python = directory.python {
      // A task runs what was submitted, by the interpreter that was asked for.
      environment[SweepDirectory.versionName] = python.folder
      if plan.options.venv == nil { environment["BLLARSE_PYTHON"] = python.interpreter }
    }
    environment["MLFLOW_PARENT_RUN_ID"] = plan.parentRun
    environment["BLLARSE_MLFLOW_STORE"] = plan.parentStore
    if plan.chunks.order != nil { environment["BLLARSE_TASK_ORDER"] = "\(path(number))/order" }
    return environment
  }

  private func record(
    _ chunk: Chunk, position: Int, job: String, command: [String], number: Int
  ) throws {
    let record: JSON = .object([
      "job": .string(job), "offset": .int(chunk.offset),
      "tasks": .array(chunk.tasks.map { .int($0) }),
      "indices": .array(chunk.indices.map { .int($0) }),
      "submitted": .string(Host.timestamp(Host.now)),
      "command": .array(command.map { .string($0) }),
    ])
    try Files.write(
      record.compact + "\n",
      to: "\(path(number))/chunk-\(SweepDirectory.fourDigits(position)).json")
  }

  /// A short job after the arrays that applies the retry rules: nothing has to stay running on the
  /// login node.
  private func submitFollowUp(_ plan: Plan, after jobs: [String], number: Int) throws {
    let script = "\(path(number))/follow-up.sh"
    let executable = Shell.quote(Host.executablePath ?? "bllarse-sweep")
    try Files.write(
      """
      #!/usr/bin/env bash
      # Written by bllarse-sweep: tries again what failed in submission \(number), as its rules say.
      exec \(executable) retry \(Shell.quote(directory.path)) --by-cause

      """, to: script, executable: true)
    var arguments = [
      "sbatch", "--parsable", "--export", "ALL", "--job-name", "\(directory.name)-retry",
      "--time", "10", "--dependency", "afterany:\(jobs.joined(separator: ":"))",
      "--output", "\(plan.options.logDirectory)/%x.%j.out",
    ]
    if let partition = plan.options.partition { arguments += ["--partition", partition] }
    if let account = plan.options.account { arguments += ["--account", account] }
    if let qos = plan.options.qos { arguments += ["--qos", qos] }
    var environment: [String: String] = [:]
    environment["MLFLOW_PARENT_RUN_ID"] = plan.parentRun
    environment["BLLARSE_MLFLOW_STORE"] = plan.parentStore
    let result = try runner.run(arguments + [script], environment: environment)
    guard result.status == 0, let job = result.output.split(separator: "\n").last else {
      throw SweepError(
        .failed,
        "the jobs \(jobs.joined(separator: ", ")) are submitted, but not the one that applies the retry rules: \(result.firstError); call 'bllarse-sweep retry \(directory.path) --by-cause' after they ended"
      )
    }
    try Files.write(
      JSON.object(["job": .string(String(job))]).compact + "\n",
      to: "\(path(number))/follow-up.json")
  }
}
