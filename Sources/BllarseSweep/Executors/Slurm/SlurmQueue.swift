extension TaskState {
  /// Of SLURM's word for it: RUNNING, PENDING, OUT_OF_MEMORY…; an unknown one is no end.
  init(slurm word: String, reason: String = "", node: String = "") {
    let phase: Phase =
      switch word {
      case "PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED": .pending
      case "COMPLETING": .completing
      case "COMPLETED": .completed
      case "CANCELLED": .cancelled
      case "BOOT_FAIL", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT",
        "REVOKED", "SPECIAL_EXIT":
        .failed
      default: .running
      }
    self.init(phase, word: word, reason: reason, node: node)
    switch word {
    case "OUT_OF_MEMORY": cause = .memory
    case "TIMEOUT", "DEADLINE": cause = .time
    case "NODE_FAIL", "BOOT_FAIL", "PREEMPTED": cause = .node
    default: break
    }
  }
}

/// What SLURM says of the tasks of a sweep.
extension TaskStates {
  /// Asks the queue, and for what it has forgotten the accounting.
  static func askSlurm(_ runner: any CommandRunner, jobs: [String]) -> TaskStates {
    var view = TaskStates()
    guard !jobs.isEmpty else { return view }
    let wanted = Set(jobs)
    // Asking for ids that the controller has forgotten is an error, so all of the user's are asked.
    let format = "%F|%K|%T|%r|%N"
    do {
      let result = try runner.run([
        "squeue", "--noheader", "--array", "--all", "--me", "--states", "all", "--format", format,
      ])
      guard result.status == 0 else {
        view.problem = "squeue: \(result.firstError)"
        return view
      }
      for line in result.output.split(separator: "\n") { view.add(line, wanted: wanted) }
    } catch {
      view.problem = "\(error)"
      return view
    }
    view.askAccounting(runner, jobs: jobs)
    view.askController(runner, jobs: jobs)
    return view
  }

  private mutating func add(_ line: Substring, wanted: Set<String>) {
    let fields = line.split(separator: "|", omittingEmptySubsequences: false).map { $0.trimmed }
    guard fields.count >= 5, wanted.contains(fields[0]), let task = Int(fields[1]) else { return }
    tasks[TaskReference(slurm: fields[0], task)] = TaskState(
      slurm: fields[2], reason: fields[3] == "None" ? "" : fields[3], node: fields[4])
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
    let wanted = Set(jobs)
    for line in result.output.split(separator: "\n") {
      let fields = SlurmUnits.fields(line)
      guard let job = fields["ArrayJobId"], wanted.contains(job),
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
