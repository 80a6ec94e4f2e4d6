import ArgumentParser
import BllarseSweep

struct LogsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "logs", abstract: "Prints what a configuration's run printed.")

  @OptionGroup var sweep: SweepArguments

  @Argument(help: "The configuration's index.")
  var index: Int

  @Flag(name: .shortAndLong, help: "Go on until the run ends.")
  var follow = false

  @Option(help: "An earlier attempt (the last).")
  var attempt: Int?

  @Flag(help: "Print the job's own output instead of the program's.")
  var job = false

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
      throw SweepError(
        .usage,
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
      throw SweepError(.usage, "configuration \(index) has no log: it has not been started")
    }
    for path in paths {
      Terminal.note("==> \(path)")
      LogFollower(path, to: 1, from: 0).copy()
    }
  }
}
