/// Cancels the tasks of a sweep that SLURM still has.
public struct Canceller {
  private let directory: SweepDirectory
  private let runner: any CommandRunner

  /// Makes a canceller.
  public init(_ directory: SweepDirectory, runner: any CommandRunner = ProcessRunner()) {
    self.directory = directory
    self.runner = runner
  }

  /// The tasks to cancel.
  ///
  /// - Parameter indices: the configurations; nil for all.
  /// - Returns: each task with its configuration.
  /// - Throws: ``SweepError`` (1) when the queue does not answer.
  package func tasks(_ indices: [Int]?) throws -> [(index: Int, task: TaskReference)] {
    let reader = try StatusReader(directory, runner: runner)
    if let problem = reader.problem { throw SweepError(.failed, problem) }
    return (indices ?? Array(0..<directory.manifest.count)).flatMap { index in
      reader.tasks(of: index).filter { reader.queueTask($0)?.isActive == true }
        .map { (index, $0) }
    }
  }

  /// The commands that cancel tasks: one for each job.
  package func commands(_ tasks: [(index: Int, task: TaskReference)]) -> [[String]] {
    let byJob = Dictionary(grouping: tasks, by: \.task.job)
    return byJob.sorted { $0.key < $1.key }.map { job, tasks in
      ["scancel", "\(job)_[\(Chunk.ranges(tasks.map(\.task.task).sorted()))]"]
    }
  }

  /// Cancels tasks, and the follow-up jobs of submissions of which nothing is left.
  package func cancel(_ tasks: [(index: Int, task: TaskReference)], followUps: Bool) throws {
    for (index, task) in tasks {
      // A task cancelled while it is pending leaves no other trace.
      let run = directory.run(index)
      try Files.makeDirectory(run.path)
      try Files.write(task.name + "\n", to: "\(run.path)/cancelled")
    }
    for command in commands(tasks) {
      let result = try runner.run(command)
      guard result.status == 0 else {
        throw SweepError(.failed, "\(Shell.join(command)): \(result.firstError)")
      }
    }
    guard followUps else { return }
    for submission in try SubmissionRecord.all(in: directory) {
      guard let text = try Files.text(of: "\(submission.path)/follow-up.json"),
        let job = (try? JSON.parse(text))?["job"]?.stringValue
      else { continue }
      // It may be over: then there is nothing to cancel.
      _ = try runner.run(["scancel", "--quiet", job])
    }
  }
}
