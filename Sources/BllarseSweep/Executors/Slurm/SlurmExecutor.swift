/// Runs tasks as job arrays of a SLURM cluster; its own keys are options of sbatch.
final class SlurmExecutor: FollowUpExecutor {
  static let name = "slurm"
  static let title = "SLURM"
  static let keys = [
    "job_name", "partition", "account", "qos", "constraint", "gres", "time", "mem",
    "cpus_per_task", "exclude_nodes", "max_concurrent", "array_order", "signal_seconds",
    "max_requeues", "retry", "sbatch_args", "job_script", "venv", "log_dir", "strict",
  ]

  static let recordedVariables = ["SLURM_CLUSTER_NAME", "SLURM_CONF"]

  let options: SubmitOptions
  private let directory: SweepDirectory
  private let runner: any CommandRunner
  /// What the cluster said of itself; nil before it was asked.
  private var cluster: ClusterLimits?

  init(_ directory: SweepDirectory, options: SubmitOptions, runner: any CommandRunner) {
    (self.directory, self.runner) = (directory, runner)
    var options = options
    options.logDirectory = Files.absolute(options.logDirectory)
    options.jobScript = options.jobScript.map { Files.absolute($0) }
    options.venv = options.venv.map { Files.absolute($0) }
    // Versions that knew no `gpus` read the record too.
    options["gres"] = options["gres"] ?? Self.gres(options.resources.gpus)
    options.resources.gpus = nil
    self.options = options
  }

  static func validate(_ key: String, _ value: JSON) throws {
    guard key == "signal_seconds", !(1...65_535).contains(value.intValue ?? 0) else { return }
    let isPositive = value.intValue.map { $0 > 0 } ?? false
    throw SweepError.data(isPositive ? "a number of seconds from 1 to 65535" : "a positive number")
  }

  /// A resource in the words of a file's `slurm` section; nil for none at all.
  static func section(_ key: String, _ value: JSON) -> JSON.Member? {
    switch key {
    case "cpus": JSON.Member("cpus_per_task", value)
    case "memory": JSON.Member("mem", value)
    case "gpus": gres(value.intValue).map { JSON.Member("gres", $0) }
    default: JSON.Member(key, value)
    }
  }

  private static func gres(_ gpus: Int?) -> JSON? {
    gpus.flatMap { $0 > 0 ? .string("gpu:\($0)") : nil }
  }

  func limits() throws -> ExecutorLimits {
    let cluster = try ClusterLimits.ask(runner, qos: options["qos"]?.plainText)
    self.cluster = cluster
    var limits = cluster.tasks
    if let path = options.jobScript {
      guard let script = try Files.text(of: path) else {
        throw SweepError.usage("there is no job script \(path)")
      }
      limits.readsOrder = script.contains("BLLARSE_TASK_ORDER")
    }
    return limits
  }

  func check(memory: CheckReport.MemoryEstimate?) throws -> [String] {
    let notes = try requirements.check()
    _ = try requirements.sharedScript()
    let resources = JobResources.ask(
      options, limits: cluster ?? ClusterLimits(),
      script: try options.jobScript.flatMap { try Files.text(of: $0) }, runner: runner)
    return notes + [resources.line]
      + (resources.warning(for: memory).map { ["warning: \($0)"] } ?? [])
  }

  func describe(_ array: TaskArray) throws -> String {
    let variables = try environment(array).sorted { $0.key < $1.key }
      .map { "\($0.key)=\(Shell.quote($0.value)) " }.joined()
    let script = "# --- the script ---\n\(script(array))# --- end of the script ---\n"
    return "\(variables)\(Shell.join(command(array)))\n" + (options.jobScript == nil ? script : "")
  }

  func submit(_ array: TaskArray) throws -> (job: String, command: [String]) {
    // SLURM before 23.02 does not make the directory, and a job without one dies unheard.
    try Files.makeDirectory(options.logDirectory)
    if let shared = try requirements.sharedScript(), let text = try Files.text(of: shared) {
      // What was submitted is what runs, whatever becomes of the original.
      try Files.write(text, to: "\(array.submission.path)/\(JobRequirements.sharedFile)")
    }
    if options.jobScript == nil {
      try Files.write(script(array), to: scriptPath(array), executable: true)
    }
    let command = command(array)
    let result = try runner.run(command, environment: environment(array))
    guard result.status == 0,
      let job = result.output.split(separator: "\n").last?.split(separator: ";").first
    else {
      throw SweepError.failed(
        "sbatch refused chunk \(array.position.index) of \(array.position.count): \(result.firstError)"
      )
    }
    return (String(job), command)
  }

  private var requirements: JobRequirements { JobRequirements(options: options, runner: runner) }

  private func scriptPath(_ array: TaskArray) -> String {
    let name = "chunk-\(array.position.index.digits(4)).sh"
    return options.jobScript ?? "\(array.submission.path)/\(name)"
  }

  private func script(_ array: TaskArray) -> String {
    let lookUp = array.orderFile.map { "\nindex=$(sed -n \"$((index + 1))p\" \(Shell.quote($0)))" }
    let program = options.program.map { " --program \(Shell.quote($0))" }
    return """
      #!/usr/bin/env bash
      # Written by bllarse-sweep: submission \(array.submission.number), chunk \(array.position.index) of sweep \(array.sweep.name).
      set -uo pipefail

      export BLLARSE_SWEEP_DIR=\(Shell.quote(array.sweep.path))
      export BLLARSE_SWEEP_SOURCE=\(Shell.quote(array.sweep.source))
      export INDEX_OFFSET=\(array.chunk.offset)
      export BLLARSE_MAX_REQUEUES=\(options.maxRequeues)
      node=${SLURMD_NODENAME:-$(hostname)}

      \(Self.scriptBody)\
      index=$((SLURM_ARRAY_TASK_ID + INDEX_OFFSET))\(lookUp ?? "")
      activate_venv
      run_task \(Shell.quote(array.executable)) run-config "$BLLARSE_SWEEP_DIR" "$index"\(program ?? "")

      """
  }

  /// The functions that `Scripts/slurm/common.sh` holds too: a generated script is whole, so that it
  /// runs wherever SLURM copies it.
  static let scriptBody = String(decoding: PackageResources.job_sh, as: UTF8.self)

  private func environment(_ array: TaskArray) throws -> [String: String] {
    var environment = array.environment
    if try requirements.sharedScript() != nil {
      environment["BLLARSE_SWEEP_SCRIPTS"] = array.submission.path
    }
    return environment
  }

  /// The call of sbatch.
  ///
  /// Arrays under a limit wait for one another: `%` holds for one array only, and two side by side would
  /// run twice as many tasks.
  private func command(_ array: TaskArray) -> [String] {
    let name = options.jobName ?? directory.name
    var words = ["sbatch", "--parsable", "--export", "ALL", "--job-name", name]
    words += options.requested(SubmitOptions.requestKeys)
    words += [
      "--output", "\(options.logDirectory)/%x.%A_%a.out",
      "--error", "\(options.logDirectory)/%x.%A_%a.err",
      "--open-mode", "append", "--requeue", "--signal", "B:USR1@\(options.signalSeconds)",
    ]
    words += options.sbatchArguments
    let limit = options.maxConcurrent.map { "%\($0)" } ?? ""
    words += ["--array", Chunk.ranges(array.chunk.tasks) + limit]
    if options.maxConcurrent != nil, let job = array.previousJob {
      words += ["--dependency", "afterany:\(job)"]
    }
    return words + [scriptPath(array)]
  }

  func submit(_ command: [String], with array: TaskArray, after jobs: [String]) throws -> String {
    let script = "\(array.submission.path)/follow-up.sh"
    try Files.write(
      """
      #!/usr/bin/env bash
      # Written by bllarse-sweep: tries again what failed in submission \(array.submission.number), as its rules say.
      exec \(Shell.join(command))

      """, to: script, executable: true)
    var words = [
      "sbatch", "--parsable", "--export", "ALL", "--job-name", "\(directory.name)-retry",
      "--time", "10", "--dependency", "afterany:\(jobs.joined(separator: ":"))",
      "--output", "\(options.logDirectory)/%x.%j.out",
    ]
    words += options.requested(["partition", "account", "qos"])
    let result = try runner.run(
      words + [script],
      environment: array.environment.filter {
        ["MLFLOW_PARENT_RUN_ID", "BLLARSE_MLFLOW_STORE"].contains($0.key)
      })
    guard result.status == 0, let job = result.output.split(separator: "\n").last else {
      throw SweepError.failed(result.firstError)
    }
    return String(job)
  }

  func cancelFollowUp(_ job: String) throws {
    // It may be over: then there is nothing to cancel.
    _ = try runner.run(["scancel", "--quiet", job])
  }

  func states(of jobs: [String]) -> TaskStates { TaskStates.askSlurm(runner, jobs: jobs) }

  func cancel(_ tasks: [TaskReference], dryRun: Bool) throws -> [String] {
    let byJob = Dictionary(grouping: tasks, by: \.job).sorted { $0.key < $1.key }
    return try byJob.map { job, tasks in
      let command = ["scancel", "\(job)_[\(Chunk.ranges(tasks.map(\.task).sorted()))]"]
      let line = Shell.join(command)
      if !dryRun {
        let result = try runner.run(command)
        guard result.status == 0 else { throw SweepError.failed("\(line): \(result.firstError)") }
      }
      return line
    }
  }

  static func task(in environment: [String: String]) -> TaskIdentity? {
    guard let job = environment["SLURM_JOB_ID"], !job.isEmpty else { return nil }
    return TaskIdentity(
      executor: name, job: job, arrayJob: environment["SLURM_ARRAY_JOB_ID"],
      arrayTask: environment["SLURM_ARRAY_TASK_ID"].flatMap(Int.init),
      restarts: environment["SLURM_RESTART_COUNT"].flatMap(Int.init) ?? 0,
      node: environment["SLURMD_NODENAME"])
  }

  func logs(of task: TaskReference) -> [String] {
    let stem = "\(options.logDirectory)/\(options.jobName ?? directory.name).\(task.name)"
    return ["\(stem).out", "\(stem).err"]
  }

  /// Clusters without cgroups call a job killed for its memory FAILED; only its log tells.
  func verdict(on task: TaskReference) -> (cause: FailureCause, reason: String)? {
    let signs = ["exceeded memory limit", "exceeded job memory limit", "oom-kill", "oom_kill"]
    let line = Files.lastLines(12, of: logs(of: task)[1])
      .first { line in signs.contains { line.lowercased().contains($0) } }
    return line.map { (.memory, "out of memory: \($0)") }
  }
}

extension SubmitOptions {
  var jobScript: String? {
    get { self["job_script"]?.plainText }
    set { self["job_script"] = newValue.map { .string($0) } }
  }
  var logDirectory: String {
    get { self["log_dir"]?.plainText ?? "slurm_logs" }
    set { self["log_dir"] = .string(newValue) }
  }
  /// Seconds before the time limit at which a run is asked to checkpoint.
  var signalSeconds: Int { self["signal_seconds"]?.intValue ?? 120 }
  var sbatchArguments: [String] {
    self["sbatch_args"].map { $0.arrayValue?.map(\.plainText) ?? [$0.plainText] } ?? []
  }

  static let requestKeys = [
    "partition", "account", "qos", "constraint", "gres", "time", "mem", "cpus-per-task", "exclude",
  ]

  func requested(_ keys: [String]) -> [String] {
    keys.flatMap { key -> [String] in
      let value =
        switch key {
        case "time": timeText
        case "mem": memoryText
        case "cpus-per-task": resources.cpus.map(String.init)
        case "exclude": excludedNodes.isEmpty ? nil : excludedNodes.joined(separator: ",")
        default: self[key]?.plainText
        }
      return value.map { ["--\(key)", $0] } ?? []
    }
  }
}

/// The words `Name=value` of a line of `scontrol show --oneliner`; of several of one name the first.
func slurmFields(_ line: Substring) -> [String: String] {
  let pairs = line.split(separator: " ").map { $0.split(separator: "=", maxSplits: 1) }
  return Dictionary(
    pairs.filter { $0.count == 2 }.map { (String($0[0]), String($0[1])) },
    uniquingKeysWith: { first, _ in first })
}

extension TaskState {
  /// Of SLURM's word for it: RUNNING, PENDING, OUT_OF_MEMORY…; an unknown one is no end.
  init(slurm word: String, reason: String = "", node: String = "") {
    let (phase, cause): (Phase, FailureCause?) =
      switch word {
      case "PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED": (.pending, nil)
      case "COMPLETING": (.completing, nil)
      case "COMPLETED": (.completed, nil)
      case "CANCELLED": (.cancelled, nil)
      case "OUT_OF_MEMORY": (.failed, .memory)
      case "TIMEOUT", "DEADLINE": (.failed, .time)
      case "NODE_FAIL", "BOOT_FAIL", "PREEMPTED": (.failed, .node)
      case "FAILED", "REVOKED", "SPECIAL_EXIT": (.failed, nil)
      default: (.running, nil)
      }
    self.init(phase, word: word, reason: reason, node: node)
    self.cause = cause
  }
}

extension TaskStates {
  /// Asks the queue, and for what it has forgotten the accounting.
  static func askSlurm(_ runner: any CommandRunner, jobs: [String]) -> TaskStates {
    var view = TaskStates()
    guard !jobs.isEmpty else { return view }
    do {
      // Asking for ids that the controller has forgotten is an error, so all of the user's are asked.
      let result = try runner.run([
        "squeue", "--noheader", "--array", "--all", "--me", "--states", "all", "--format",
        "%F|%K|%T|%r|%N",
      ])
      guard result.status == 0 else { throw SweepError.failed("squeue: \(result.firstError)") }
      for line in result.output.split(separator: "\n") {
        let fields = line.split(separator: "|", omittingEmptySubsequences: false).map { $0.trimmed }
        guard fields.count >= 5, jobs.contains(fields[0]), let task = Int(fields[1])
        else { continue }
        view.tasks[TaskReference(slurm: fields[0], task)] = TaskState(
          slurm: fields[2], reason: fields[3] == "None" ? "" : fields[3], node: fields[4])
      }
      view.askAccounting(runner, jobs: jobs)
      view.askController(runner, jobs: jobs)
    } catch { view.problem = "\(error)" }
    return view
  }

  /// States and exit codes from the accounting, which takes 128 off the code of a script that a signal
  /// ended: 9 where the controller says 137.
  private mutating func askAccounting(_ runner: any CommandRunner, jobs: [String]) {
    guard
      let result = try? runner.run([
        "sacct", "--noheader", "--parsable2", "--allocations", "--jobs",
        jobs.joined(separator: ","), "--format", "JobID,State,ExitCode,NodeList",
      ]), result.status == 0
    else { return }
    for line in result.output.split(separator: "\n") {
      let fields = line.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
      guard fields.count >= 4 else { continue }
      let id = fields[0].split(separator: "_").map(String.init)
      guard id.count == 2, let number = Int(id[1]) else { continue }
      let task = TaskReference(slurm: id[0], number)
      // `CANCELLED by 1000`
      let state = fields[1].split(separator: " ").first.map(String.init) ?? fields[1]
      let code = fields[2].split(separator: ":").compactMap { Int($0) }
      if let known = tasks[task], known.isActive { continue }
      tasks[task, default: TaskState(slurm: state, node: fields[3])].exitCode = code.first
    }
  }

  /// Exit codes without accounting: the controller knows a job for a while after its end.
  private mutating func askController(_ runner: any CommandRunner, jobs: [String]) {
    let open = tasks.filter { !$0.value.isActive && $0.value.exitCode == nil }
    guard !open.isEmpty,
      let result = try? runner.run(["scontrol", "show", "job", "--oneliner"]), result.status == 0
    else { return }
    for line in result.output.split(separator: "\n") {
      let fields = slurmFields(line)
      guard let job = fields["ArrayJobId"], jobs.contains(job),
        let number = fields["ArrayTaskId"].flatMap({ Int($0) }), let exit = fields["ExitCode"]
      else { continue }
      let code = exit.split(separator: ":").compactMap { Int($0) }
      tasks[TaskReference(slurm: job, number)]?.exitCode = code.first
    }
  }
}

extension TaskReference {
  init(slurm job: String, _ task: Int) {
    self.init(executor: SlurmExecutor.name, job: job, task: task)
  }
}
