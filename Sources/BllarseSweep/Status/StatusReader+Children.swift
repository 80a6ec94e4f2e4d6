// What the last task of a submission looks at, to know that it is the last.
extension StatusReader {
  /// Reads the runs' own files and asks nobody.
  package static func fromFiles(_ directory: SweepDirectory) -> StatusReader {
    StatusReader(directory, submissions: [], queue: QueueView(), now: Host.now)
  }

  /// Whether the queue has a task for one of some configurations.
  package func hasTask(for indices: some Sequence<Int>) -> Bool {
    indices.contains { index in tasks(of: index).contains { queueTask($0)?.isActive == true } }
  }
}

extension SweepDirectory {
  /// Whether a run of the configuration shows signs of life.
  package func isRunning(_ index: Int) -> Bool {
    let run = run(index)
    guard let attempt = run.attempts.last.map({ run.attempt($0) }), attempt.end == nil else {
      return false
    }
    return attempt.isAlive(attempt.claim, at: Host.now)
  }

  /// Whether the configuration has a valid result.
  package func hasResult(_ index: Int) throws -> Bool {
    run(index).result(hash: try manifest.entry(at: index).hash) != nil
  }

  /// Whether the next attempt goes on with a tracked run, which stays nested where it is.
  package func resumesTrackedRun(_ index: Int) -> Bool {
    let run = run(index)
    guard let last = run.attempts.last,
      let output = RunningAttempt.resumable(run, before: last + 1)
    else { return false }
    return Files.exists("\(run.path)/\(output)/mlflow_run_id")
  }

  /// Whether the task that this process belongs to is going to be started again by its script, after its
  /// program asked for that.
  package func requeuesItself(_ index: Int) -> Bool {
    guard let task = SlurmTask(environment: Host.environment),
      let limit = Host.variable("BLLARSE_MAX_REQUEUES").flatMap({ Int($0) })
    else { return false }
    let cancelled = (try? Files.text(of: "\(run(index).path)/cancelled")) ?? nil
    return task.restarts < limit && cancelled?.trimmed != task.name
  }
}
