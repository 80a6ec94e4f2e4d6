import ArgumentParser
import BllarseSweep

struct RetryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "retry", abstract: "Runs again what has failed.")

  @OptionGroup var sweep: SweepArguments
  @OptionGroup var slurm: SubmitArguments
  @OptionGroup var tracking: TrackingArguments
  @Flag(help: "All that failed (the default without --index).") var failed = false

  @Option(help: .init("These configurations, such as 3,7-9.", valueName: "list"))
  var index: [String] = []

  @Flag(help: "As the --retry rules of the submission say, within their budgets.")
  var byCause = false

  @Flag(help: "On this machine, also when the sweep was submitted to SLURM.") var local = false
  @Option(name: .shortAndLong, help: "Runs at a time, on this machine.") var jobs: Int?
  @Flag(help: "Print what would be done, and do nothing.") var dryRun = false

  func validate() throws {
    if let jobs, jobs < 1 { throw ValidationError("--jobs \(jobs): at least 1") }
    if failed, !index.isEmpty {
      throw ValidationError("--failed has no effect with --index; give one of them")
    }
    guard byCause else { return }
    for (name, isGiven) in [
      ("--failed", failed), ("--index", !index.isEmpty), ("--local", local),
      ("--jobs", jobs != nil),
    ] where isGiven {
      throw ValidationError(
        "\(name) has no effect with --by-cause, whose rules say what is sent to SLURM; give one of them"
      )
    }
  }

  private func checkPlace(isLocal: Bool) throws {
    if isLocal, let name = slurm.givenElsewhere.first {
      throw SweepError.usage(
        "\(name) has no effect: what is tried again runs on this machine, not on SLURM")
    }
    if !isLocal, jobs != nil {
      throw SweepError.usage(
        "--jobs has no effect: the sweep was submitted to SLURM, where --max-concurrent says how many run at once; --local runs them here"
      )
    }
  }

  func run() throws {
    let directory = try keepingModule(of: sweep.existingDirectory())
    let statuses = try StatusReader(directory).all()
    let submissions = try SubmissionRecord.all(in: directory)
    let isLocal = local || submissions.isEmpty && !byCause
    try checkPlace(isLocal: isLocal)
    let last = isLocal ? nil : submissions.last?.options
    let options = try slurm.options(
      over: last
        ?? directory.options(for: isLocal ? Executors.running : Executors.submitting, in: "retry"))
    if byCause { return try retryByCause(directory, statuses, submissions, options) }
    let wanted =
      index.isEmpty
      ? statuses.filter { $0.state == .failed }.map(\.index)
      : try Selection.parse(index, count: statuses.count)
    let busy = wanted.filter { [.pending, .running].contains(statuses[$0].state) }
    let done = wanted.filter { statuses[$0].state == .done }
    if !busy.isEmpty { Terminal.note("queued or running already: \(Chunk.ranges(busy))") }
    if !done.isEmpty { Terminal.note("done already: \(Chunk.ranges(done))") }
    let toRun = wanted.filter { !busy.contains($0) && !done.contains($0) }
    Terminal.note("\(toRun.count) to run")
    guard !toRun.isEmpty else { return }
    if isLocal {
      let launch = LaunchOptions(
        program: slurm.program, python: sweep.pythonChoice(venv: slurm.venv),
        isStrict: slurm.strictness.strict, keeper: Keeper.ownCommand)
      if dryRun { return Terminal.write(try Launcher.lines(toRun, in: directory, launch)) }
      var pool = try PoolArguments.parse([])
      pool.jobs = jobs
      return try pool.run(toRun, in: directory, options, tracking: tracking, launch)
    }
    try Submission(
      directory: directory, options: options, tracking: tracking, dryRun: dryRun,
      parent: submissions.last?.parentRun
    ).submit(toRun)
  }

  /// Who names a Python module has perhaps mended its run(): what is tried again runs the present one.
  private func keepingModule(of directory: SweepDirectory) throws -> SweepDirectory {
    guard !sweep.isDirectory, !dryRun, directory.python != nil else { return directory }
    let (current, changed) = try directory.keepingModule(of: sweep.readFile(venv: slurm.venv))
    if changed {
      Terminal.note(
        "note: run() in \(directory.source) is not what it was; retrying with the present one")
    }
    return current
  }

  private func retryByCause(
    _ directory: SweepDirectory, _ statuses: [RunStatus], _ submissions: [SubmissionRecord],
    _ options: SubmitOptions
  ) throws {
    guard !options.retryRules.isEmpty else {
      throw SweepError.usage("--by-cause needs rules: none were given to submit; add --retry RULE")
    }
    let (groups, exhausted) = Retry.byCause(statuses, submissions: submissions, options: options)
    if !exhausted.isEmpty {
      Terminal.note("no rule or no budget left for \(Chunk.ranges(exhausted))")
    }
    for group in groups {
      Terminal.note("\(group.cause.rawValue): \(Chunk.ranges(group.indices))")
      try Submission(
        directory: directory, options: group.options, tracking: tracking, dryRun: dryRun,
        cause: group.cause, parent: submissions.last?.parentRun
      ).submit(group.indices)
    }
    // Tasks that were killed outright could not end the parent themselves.
    if groups.isEmpty { try ParentRuns.update(directory, statuses) }
  }
}

struct CancelCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cancel", abstract: "Cancels the tasks of a sweep that SLURM still has.")

  @OptionGroup var sweep: SweepArguments

  @Option(help: .init("Only these configurations, such as 3,7-9.", valueName: "list"))
  var index: [String] = []

  @Flag(help: "Print the commands, and cancel nothing.") var dryRun = false

  func run() throws {
    let directory = try sweep.existingDirectory()
    let indices = index.isEmpty ? nil : try Selection.parse(index, count: directory.manifest.count)
    let canceller = Canceller(directory)
    let tasks = try canceller.tasks(indices)
    if dryRun {
      for command in try canceller.cancel(tasks, followUps: false, dryRun: true) { print(command) }
    } else {
      try canceller.cancel(tasks, followUps: indices == nil)
      // What runs will end by itself; where nothing did, nobody else looks.
      try ParentRuns.update(directory)
    }
    let cancelled = Array(Set(tasks.map(\.index))).sorted()
    Terminal.note(
      cancelled.isEmpty
        ? "nothing is queued or running"
        : "\(dryRun ? "would cancel" : "cancelled") \(Chunk.ranges(cancelled))")
  }
}
