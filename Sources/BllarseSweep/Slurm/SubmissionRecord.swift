/// A submission as it is kept on disk.
package struct SubmissionRecord: Sendable {
  package struct Submitted: Sendable, Equatable {
    package let job: String
    package let offset: Int
    package let tasks: [Int]
    package let indices: [Int]
  }

  package let number: Int
  package let path: String
  package let options: SubmitOptions
  package let chunks: [Submitted]
  package let parentRun: String?
  package let logDirectory: String
  /// The cause of the failures that it tries again; nil for a first submission or a retry by hand.
  package let cause: FailureCause?

  /// All submissions of a sweep, the oldest first.
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
      throw SweepError(.data, "\(path)/plan.json: not JSON")
    }
    var options = SubmitOptions()
    try options.apply(
      (plan["options"]?.members ?? []).map { ($0.key, $0.value) }, file: "\(path)/plan.json")
    let chunks = try Files.names(in: path).filter {
      $0.hasPrefix("chunk-") && $0.hasSuffix(".json")
    }.compactMap { name -> Submitted? in
      guard let text = try Files.text(of: "\(path)/\(name)"), let json = try? JSON.parse(text),
        let job = json["job"]?.stringValue, let offset = json["offset"]?.intValue,
        let tasks = json["tasks"]?.arrayValue, let indices = json["indices"]?.arrayValue
      else { return nil }
      return Submitted(
        job: job, offset: offset, tasks: tasks.compactMap(\.intValue),
        indices: indices.compactMap(\.intValue))
    }
    return SubmissionRecord(
      number: number, path: path, options: options, chunks: chunks,
      parentRun: plan["parent_run_id"]?.stringValue,
      logDirectory: plan["log_dir"]?.stringValue ?? "",
      cause: plan["cause"]?.stringValue.flatMap(FailureCause.init))
  }
}

/// Which task of which job was to run a configuration.
package struct TaskReference: Sendable, Hashable {
  package let job: String
  package let task: Int
  package var name: String { "\(job)_\(task)" }
}
