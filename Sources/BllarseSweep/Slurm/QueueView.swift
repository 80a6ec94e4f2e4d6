/// What SLURM says of the tasks of a sweep.
package struct QueueView: Sendable {
  package struct Task: Sendable, Equatable {
    /// SLURM's own word: RUNNING, PENDING, OUT_OF_MEMORY…; unknown ones are passed on as they are.
    package var state: String
    package var reason: String
    package var node: String
    package var elapsed: String
    /// Exit code and signal, when they are known.
    package var exitCode: Int?
    package var signal: Int?

    package var isActive: Bool { !Self.finished.contains(state) }
    package var isPending: Bool {
      ["PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED"].contains(state)
    }

    private static let finished: Set = [
      "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
      "PREEMPTED", "TIMEOUT", "REVOKED", "SPECIAL_EXIT",
    ]
  }

  package var tasks: [TaskReference: Task] = [:]
  /// Why the view is incomplete; nil when the queue has answered.
  package var problem: String?

  package init() {}

  /// Asks the queue, and for what it has forgotten the accounting.
  ///
  /// - Parameters:
  ///   - runner: runs the commands.
  ///   - jobs: the array jobs of the sweep.
  /// - Returns: what is known, and why it is incomplete.
  package static func ask(_ runner: any CommandRunner, jobs: [String]) -> QueueView {
    var view = QueueView()
    guard !jobs.isEmpty else { return view }
    let wanted = Set(jobs)
    // Asking for ids that the controller has forgotten is an error, so all of the user's are asked.
    let format = "%F|%K|%T|%r|%N|%M"
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
    guard fields.count >= 6, wanted.contains(fields[0]), let task = Int(fields[1]) else { return }
    tasks[TaskReference(job: fields[0], task: task)] = Task(
      state: fields[2], reason: fields[3] == "None" ? "" : fields[3], node: fields[4],
      elapsed: fields[5])
  }

  /// States and exit codes from the accounting, which takes 128 off the code of a script that a signal
  /// ended: 9 where the controller says 137.
  private mutating func askAccounting(_ runner: any CommandRunner, jobs: [String]) {
    guard
      let result = try? runner.run([
        "sacct", "--noheader", "--parsable2", "--allocations", "--jobs",
        jobs.joined(separator: ","), "--format", "JobID,State,ExitCode,NodeList,Elapsed",
      ]), result.status == 0
    else { return }
    for line in result.output.split(separator: "\n") {
      let fields = line.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
      guard fields.count >= 5 else { continue }
      let id = fields[0].split(separator: "_").map(String.init)
      guard id.count == 2, let number = Int(id[1]) else { continue }
      let task = TaskReference(job: id[0], task: number)
      // `CANCELLED by 1000`
      let state = fields[1].split(separator: " ").first.map(String.init) ?? fields[1]
      let code = fields[2].split(separator: ":").compactMap { Int($0) }
      if let known = tasks[task], known.isActive { continue }
      var entry =
        tasks[task] ?? Task(state: state, reason: "", node: fields[3], elapsed: fields[4])
      entry.exitCode = code.first
      entry.signal = code.count > 1 ? code[1] : nil
      tasks[task] = entry
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
      var fields: [Substring: Substring] = [:]
      for word in line.split(separator: " ") {
        let parts = word.split(separator: "=", maxSplits: 1)
        if parts.count == 2, fields[parts[0]] == nil { fields[parts[0]] = parts[1] }
      }
      guard let job = fields["ArrayJobId"], wanted.contains(String(job)),
        let number = fields["ArrayTaskId"].flatMap({ Int($0) }), let exit = fields["ExitCode"]
      else { continue }
      let code = exit.split(separator: ":").compactMap { Int($0) }
      let task = TaskReference(job: String(job), task: number)
      tasks[task]?.exitCode = code.first
      tasks[task]?.signal = code.count > 1 ? code[1] : nil
    }
  }
}
