import ArgumentParser
import BllarseSweep

struct StatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Shows where each configuration stands.")

  @OptionGroup var sweep: SweepArguments
  @Flag(help: "Print JSON.") var json = false

  @Option(help: .init("Only configurations in this state.", valueName: "state"))
  var state: RunStatus.State?

  @Flag(name: .shortAndLong, help: "Print every configuration, however many there are.")
  var all = false

  @Option(
    name: .shortAndLong, help: .init("Draw again every so many seconds.", valueName: "seconds"))
  var watch: Double?

  func validate() throws {
    for (name, isGiven) in [("--json", json), ("--state", state != nil)] where all && isGiven {
      throw ValidationError(
        "--all has no effect with \(name), which leaves none out; give one of them")
    }
    if let watch, !(0.2...86_400).contains(watch) {
      throw ValidationError("--watch \(watch): seconds from 0.2 to 86400")
    }
  }

  func run() throws {
    let directory = try sweep.existingDirectory()
    while true {
      let reader = try StatusReader(directory)
      let statuses = try reader.all()
      if let problem = reader.problem {
        Terminal.note("note: \(problem); from the runs' own files:")
      }
      if watch != nil { Terminal.clear() }
      Terminal.write(text(statuses))
      // On a cluster nobody else may look when the last run has ended.
      try ParentRuns.update(directory, statuses)
      guard let watch else { return }
      if !statuses.contains(where: { $0.state == .pending || $0.state == .running }) { return }
      Host.sleep(seconds: watch)
    }
  }

  private func text(_ statuses: [RunStatus]) -> String {
    let chosen = state.map { state in statuses.filter { $0.state == state } } ?? statuses
    if json { return JSON.array(chosen.map(\.json)).pretty + "\n" }
    // A long table hides what matters: then only what is not simply waiting or done.
    let rows =
      all || state != nil || chosen.count <= 60
      ? chosen : chosen.filter { ![.new, .pending, .done].contains($0.state) }
    let table = ResultTable(
      columns: ["index", "state", "task", "node", "elapsed", "tries", "exit", "metric", "reason"],
      rows: rows.map(\.row))
    let counts = RunStatus.State.allCases.compactMap { state -> String? in
      let count = statuses.count { $0.state == state }
      return count > 0 ? "\(count) \(state.rawValue)" : nil
    }
    return (rows.isEmpty ? "" : table.text)
      + "\(statuses.count) configurations: \(counts.joined(separator: ", "))\n"
  }
}

extension RunStatus {
  var row: [JSON] {
    [
      .int(index), .string(state.rawValue), .string(task ?? ""), .string(node),
      .string(elapsedSeconds.map { Duration(wholeSeconds: $0).clock } ?? ""), .int(attempts),
      exitCode.map { .int($0) } ?? .null, .string(metricText), .string(String(reason.prefix(80))),
    ]
  }

  private var metricText: String {
    let names = ["epoch", "step", "test.acc", "test.nll", "acc", "nll", "loss"]
    return names.compactMap { lastMetric?.score($0) }.prefix(3).joined(separator: ", ")
  }
}

struct LogsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "logs", abstract: "Prints what a configuration's run printed.")

  @OptionGroup var sweep: SweepArguments
  @Argument(help: "The configuration's index.") var index: Int
  @Flag(name: .shortAndLong, help: "Go on until the run ends.") var follow = false
  @Option(help: "An earlier attempt (the last).") var attempt: Int?
  @Flag(help: "Print the job's own output instead of the program's.") var job = false

  func validate() throws {
    for (name, isGiven) in [("--follow", follow), ("--attempt", attempt != nil)]
    where job && isGiven {
      throw ValidationError("\(name) has no effect with --job; give one of them")
    }
    if let attempt, attempt < 1 {
      throw ValidationError("--attempt is \(attempt); expected a number from 1")
    }
  }

  func run() throws {
    let directory = try sweep.existingDirectory()
    _ = try directory.manifest.entry(at: index)
    let run = directory.run(index)
    guard !job, let number = attempt ?? run.attempts.last else {
      return try printJobLogs(directory)
    }
    guard run.attempts.contains(number) else {
      throw SweepError.usage(
        "configuration \(index) has no attempt \(number); it has \(Chunk.ranges(run.attempts))")
    }
    let files = run.attempt(number)
    let followers = [
      LogFollower(files.output, to: 1, from: 0), LogFollower(files.errors, to: 2, from: 0),
    ]
    while true {
      let ended = files.end != nil
      for follower in followers { follower.copy() }
      guard follow, !ended else { return }
      Host.sleep(seconds: 0.3)
    }
  }

  /// The files that the executor wrote: all there is of a task that died before its run began.
  private func printJobLogs(_ directory: SweepDirectory) throws {
    let paths = try SubmissionRecord.all(in: directory).reversed().flatMap { submission in
      let tasks = submission.tasks.filter { $0.index == index }
      return try tasks.flatMap { try submission.executor(directory).logs(of: $0.task) }
    }.filter { Files.exists($0) }
    guard !paths.isEmpty else {
      throw SweepError.usage("configuration \(index) has no log: it has not been started")
    }
    for path in paths {
      Terminal.note("==> \(path)")
      LogFollower(path, to: 1, from: 0).copy()
    }
  }
}
