import ArgumentParser
import BllarseSweep

struct RunConfigCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run-config", abstract: "Runs one configuration in the foreground.")

  @OptionGroup var source: SourceArguments
  @OptionGroup var strictness: StrictArguments
  @Argument(help: "The configuration's index.") var index: Int

  @Option(help: .init("The program to run instead of the sweep's.", valueName: "path"))
  var program: String?

  @Flag(help: "Run it again although it has a result, which the new one replaces.")
  var force = false

  @Flag(help: "Print the command and run nothing.") var dryRun = false

  func run() throws {
    let (directory, index) = try frozen()
    let entry = try directory.manifest.entry(at: index)
    source.python.note(for: source.sweep.sweep, isPython: directory.python != nil)
    let launch = LaunchOptions(
      program: program, python: source.pythonChoice,
      isStrict: strictness.strict || Host.variable("BLLARSE_STRICT") == "1", force: force,
      keeper: Keeper.ownCommand)
    if dryRun { return Terminal.write(try Launcher.lines([index], in: directory, launch)) }
    if ParentRuns.isTracked(entry), Host.variable("MLFLOW_PARENT_RUN_ID") == nil {
      Terminal.note(
        "note: configuration \(index) is tracked and has no parent run: MLFLOW_PARENT_RUN_ID is not set ('bllarse-sweep run --index \(index)' gives it one)"
      )
    }
    ParentRuns.taskStarts(index, isForced: force, in: directory)
    var run = SingleRun()
    run.launch = launch
    let code: Int32
    do {
      code = try run.run(index, in: directory) { Terminal.note("bllarse-sweep: \($0)") }
    } catch {
      // Where somebody else runs it, that one looks after its end.
      ParentRuns.taskEnded(index, goesOn: directory.isRunning(index), in: directory)
      throw error
    }
    ParentRuns.taskEnded(
      index, goesOn: code == 75 && !run.isTerminated && directory.requeuesItself(index),
      in: directory)
    if code != 0 { throw ExitCode(code) }
  }

  /// A job's configurations are those that were frozen at its submission, whatever the file says.
  private func frozen() throws -> (SweepDirectory, index: Int) {
    let sweep = source.sweep
    if !sweep.isDirectory, sweep.sweepDir == nil, let path = Host.variable("BLLARSE_SWEEP_DIR") {
      try source.overrides.refuse(for: path)
      return (try SweepDirectory.open(path), index)
    }
    var frozen = try FrozenSweep(
      sweep, source.overrides, program: program, venv: source.python.venv)
    let indices = try frozen.indices(of: [index])
    if !dryRun { try frozen.write(record: !source.overrides.set.isEmpty) }
    return (frozen.directory, indices.first ?? index)
  }
}

struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Runs a sweep on this machine, several runs at a time.")

  @OptionGroup var sweep: SweepArguments
  @OptionGroup var overrides: OverrideArguments
  @OptionGroup var checking: CheckArguments
  @OptionGroup var python: VenvArguments
  @OptionGroup var pool: PoolArguments
  @OptionGroup var strictness: StrictArguments
  @OptionGroup var tracking: TrackingArguments

  @Option(help: .init("Only these configurations, such as 3,7-9.", valueName: "list"))
  var index: [String] = []

  @Flag(help: "Also run what has failed before.") var failed = false
  @Flag(help: "Also run again what has a result, which the new one replaces.") var force = false
  @Flag(help: "Add to a directory that holds another sweep of the same name.") var extend = false
  @Flag(help: "Print what would run and run nothing.") var dryRun = false

  func run() throws {
    var frozen = try FrozenSweep(
      sweep, overrides, program: pool.program, venv: python.venv, extend: extend)
    python.note(for: sweep.sweep, isPython: frozen.directory.python != nil)
    let launch = LaunchOptions(
      program: pool.program, python: sweep.pythonChoice(venv: python.venv),
      isStrict: strictness.strict, force: force, keeper: Keeper.ownCommand)
    let wanted =
      index.isEmpty
      ? frozen.selected
      : try frozen.indices(of: try Selection.parse(index, count: frozen.numberable))
    let statuses = try StatusReader(frozen.directory).all()
    var sorted = Selection(wanted, statuses)
    if failed || !index.isEmpty {
      sorted.toRun = wanted.filter { statuses[$0].state == .failed || sorted.toRun.contains($0) }
      sorted.failed = 0
    }
    if force {
      let again = Set(sorted.toRun)
      sorted.toRun = wanted.filter { statuses[$0].state == .done || again.contains($0) }
      sorted.done = 0
    }
    Terminal.note(sorted.summary)
    let (indices, report) = try checking.check(
      sorted.toRun, in: frozen.directory, program: pool.program)
    let options = try frozen.directory.options(for: Executors.running, in: "run")
    if dryRun { return Terminal.write(try Launcher.lines(indices, in: frozen.directory, launch)) }
    try frozen.write(report)
    try pool.run(
      indices, orphans: sorted.orphans, in: frozen.directory, options, tracking: tracking, launch)
    // What it leaves failed is no success, whenever it failed.
    if sorted.failed > 0 { throw ExitCode(SweepError.Code.failed.rawValue) }
  }
}

struct PoolArguments: ParsableArguments {
  @Option(name: .shortAndLong, help: "Runs at a time (one on each processor).") var jobs: Int?
  @Option(help: "How often a failed run is tried again. (default: 0)") var retries: Int?

  @Option(help: "Seconds before the first retry; they double each time. (default: 1.0)")
  var retryDelay: Double?

  @Option(help: .init("The program to run instead of the sweep's.", valueName: "path"))
  var program: String?

  func validate() throws {
    if let jobs, jobs < 1 { throw ValidationError("--jobs \(jobs): at least 1") }
    if let retries, retries < 0 { throw ValidationError("--retries \(retries): not negative") }
    if let retryDelay, !(0...86_400).contains(retryDelay) {
      throw ValidationError("--retry-delay \(retryDelay): seconds from 0 to 86400")
    }
  }

  /// Runs configurations to their end; the command line overrides what the file asks for.
  func run(
    _ indices: [Int], orphans: [Int] = [], in directory: SweepDirectory, _ file: SubmitOptions,
    tracking: TrackingArguments, _ launch: LaunchOptions
  ) throws {
    guard !indices.isEmpty || !orphans.isEmpty else { return }
    // Before the tracker starts threads: they must not take the signals that the pool waits for.
    _ = Signals()
    var options = file
    if let jobs { options["jobs"] = .int(jobs) }
    if let retries { options["retries"] = .int(retries) }
    if let retryDelay { options["retry_delay"] = .number(retryDelay) }
    var executor = LocalExecutor(directory, options: options)
    executor.launch = launch
    let parent = try tracking.parent(of: indices + orphans, in: directory)
    if let parent { executor.launch.environment.merge(parent.environment) { $1 } }
    let count = indices.count + orphans.count
    executor.report = try ProgressReporter(
      directory, count: count, jobs: executor.jobCount(for: count)
    ).report
    let summary = try executor.run(indices, orphans: orphans)
    Terminal.note(
      "\(summary.done.count) done, \(summary.failed.count) failed, \(summary.interrupted.count) interrupted, \(summary.skipped.count) skipped"
    )
    let ended = try ParentRuns.update(directory, over: Set(summary.interrupted))
    if let parent, let line = parent.line, !ended.contains(parent.record?.run ?? "") {
      Terminal.note(line)
    }
    if !summary.interrupted.isEmpty { throw ExitCode(SweepError.Code.interrupted.rawValue) }
    if !summary.failed.isEmpty { throw ExitCode(SweepError.Code.failed.rawValue) }
  }
}

extension Selection {
  var summary: String {
    var parts = ["\(toRun.count) to run"]
    if done > 0 { parts.append("\(done) done before") }
    if !orphans.isEmpty { parts.append("\(orphans.count) at work since an earlier call") }
    if active > 0 { parts.append("\(active) queued or running") }
    if failed > 0 { parts.append("\(failed) failed before ('retry' runs them)") }
    return parts.joined(separator: ", ")
  }
}

/// Tells what a local pool does, a line an event, whole and without a terminal's codes, so that a log file
/// reads as a terminal does: what has ended, its score, and how much is left.
final class ProgressReporter {
  private let directory: SweepDirectory
  private let labels: ConfigurationLabels
  private var progress: SweepProgress

  init(_ directory: SweepDirectory, count: Int, jobs: Int) throws {
    self.directory = directory
    labels = try ConfigurationLabels(directory)
    progress = SweepProgress(total: count, jobs: jobs)
  }

  func report(_ event: LocalExecutor.Event) {
    progress.record(event, at: Host.monotonic)
    Terminal.note(line(event))
  }

  private func line(_ event: LocalExecutor.Event) -> String {
    switch event {
    case .started(let index, let attempt, let resumed):
      let again = (attempt > 1 ? ", attempt \(attempt)" : "") + (resumed ? ", resumed" : "")
      return "\(index): started\(again)\(label(index))"
    case .adopted(let index):
      return "\(index): is at work, though what started it has ended; waiting for it\(label(index))"
    case .finished(let index, let seconds):
      let time = JSON.number((seconds * 10).rounded() / 10).compact
      let score = score(index)
      return
        "\(index): done in \(time) s\(score.isEmpty ? "" : ": \(score)")\(label(index))\(state)"
    case .failed(let index, let reason, let pause):
      let again = pause.map { "; again in \(JSON.number($0).compact) s" } ?? ""
      return "\(index): failed: \(reason)\(again)\(label(index))\(state)"
    case .interrupted(let index): return "\(index): interrupted"
    case .skipped(let index, let reason): return "\(index): skipped: \(reason)"
    case .stopping(let signal):
      return "\(signal): stopping; runs checkpoint and end (once more to kill them)"
    }
  }

  private var state: String { " | \(progress.text(at: Host.monotonic))" }
  private func entry(_ index: Int) -> ManifestEntry? { try? directory.manifest.entry(at: index) }

  private func label(_ index: Int) -> String {
    let values = entry(index).map(labels.values) ?? ""
    return values.isEmpty ? "" : " (\(values))"
  }

  private func score(_ index: Int) -> String {
    entry(index).flatMap { directory.run(index).result(hash: $0.hash)?.metrics.scoreText } ?? ""
  }
}
