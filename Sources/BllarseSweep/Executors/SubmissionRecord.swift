package struct SubmissionRecord: Sendable {
  package let number: Int
  package let path: String
  package let options: SubmitOptions
  package let chunks: [(job: String, chunk: Chunk)]
  package let parentRun: String?
  /// The cause of the failures that it tries again; nil for a first submission or a retry by hand.
  package let cause: FailureCause?

  package static func all(in directory: SweepDirectory) throws -> [SubmissionRecord] {
    try Files.names(in: "\(directory.path)/submissions").compactMap { name in
      guard let number = Int(name) else { return nil }
      return try read("\(directory.path)/submissions/\(name)", number: number)
    }
  }

  private static func read(_ path: String, number: Int) throws -> SubmissionRecord? {
    // A submission without a plan was interrupted before its first job.
    guard let text = try Files.text(of: "\(path)/plan.json") else { return nil }
    guard let plan = try? JSON.parse(text) else {
      throw SweepError.data("\(path)/plan.json: not JSON")
    }
    var options = SubmitOptions(executor: plan["executor"]?.stringValue ?? Executors.unnamed)
    try options.apply(plan["options"]?.members ?? [], file: "\(path)/plan.json")
    let chunks = Files.names(in: path).compactMap { name -> (job: String, chunk: Chunk)? in
      guard name.hasPrefix("chunk-"), name.hasSuffix(".json"),
        let json = JSON(file: "\(path)/\(name)"), let job = json["job"]?.stringValue,
        let offset = json["offset"]?.intValue, let tasks = json["tasks"], let all = json["indices"]
      else { return nil }
      return (job, Chunk(offset: offset, tasks: tasks.ints, indices: all.ints))
    }
    return SubmissionRecord(
      number: number, path: path, options: options, chunks: chunks,
      parentRun: plan["parent_run_id"]?.stringValue,
      cause: plan["cause"]?.stringValue.flatMap(FailureCause.init))
  }

  func contains(_ index: Int) -> Bool { chunks.contains { $0.chunk.indices.contains(index) } }

  package var tasks: [(index: Int, task: TaskReference)] {
    chunks.flatMap { job, chunk in
      zip(chunk.indices, chunk.tasks).map {
        ($0, TaskReference(executor: options.executor, job: job, task: $1))
      }
    }
  }

  package func executor(_ directory: SweepDirectory) throws -> any Executor {
    try options.executor(for: directory)
  }
}

extension TaskStates {
  static func ask(_ submissions: [SubmissionRecord], of directory: SweepDirectory) -> TaskStates {
    var all = TaskStates()
    for (_, group) in Dictionary(grouping: submissions, by: \.options.executor) {
      let jobs = group.flatMap { $0.chunks.map(\.job) }
      do {
        guard !jobs.isEmpty else { continue }
        let states = try group[0].executor(directory).states(of: jobs)
        all.tasks.merge(states.tasks) { $1 }
        all.problem = states.problem ?? all.problem
      } catch { all.problem = "\(error)" }
    }
    return all
  }
}

/// Cancels the tasks of a sweep that its executors still have.
public struct Canceller {
  private let directory: SweepDirectory

  /// Makes a canceller.
  public init(_ directory: SweepDirectory) { self.directory = directory }

  /// The tasks to cancel, each with its configuration: of some configurations, or of all.
  ///
  /// - Throws: ``SweepError`` (1) when an executor does not answer.
  public func tasks(_ indices: [Int]? = nil) throws -> [(index: Int, task: TaskReference)] {
    let reader = try StatusReader(directory)
    if let problem = reader.problem { throw SweepError.failed(problem) }
    return (indices ?? Array(0..<directory.manifest.count)).flatMap { index in
      reader.activeTasks(of: index).map { (index, $0) }
    }
  }

  /// Cancels tasks, or only says by which commands.
  ///
  /// With `followUps` the jobs are cancelled too that would apply retry rules after them.
  ///
  /// - Throws: ``SweepError`` when an executor cannot.
  @discardableResult
  public func cancel(
    _ tasks: [(index: Int, task: TaskReference)], followUps: Bool, dryRun: Bool = false
  ) throws -> [String] {
    for (index, task) in tasks where !dryRun {
      // A task cancelled while it is pending leaves no other trace.
      let run = directory.run(index)
      try Files.makeDirectory(run.path)
      try Files.write(task.name + "\n", to: "\(run.path)/cancelled")
    }
    let submissions = try SubmissionRecord.all(in: directory)
    let commands = try Dictionary(grouping: tasks.map(\.task), by: \.executor)
      .sorted { $0.key < $1.key }.flatMap { name, tasks in
        try submissions.last { $0.options.executor == name }?
          .executor(directory).cancel(tasks, dryRun: dryRun) ?? []
      }
    for submission in submissions where followUps && !dryRun {
      if let job = JSON(file: "\(submission.path)/follow-up.json")?["job"]?.stringValue {
        try (submission.executor(directory) as? any FollowUpExecutor)?.cancelFollowUp(job)
      }
    }
    return commands
  }
}
