/// Where the parent run of a submission is tracked.
///
/// The executables connect it to a tracking
/// server; a sweep itself knows none.
///
/// No call fails because a server does not answer: what it cannot deliver it keeps for later.
public protocol ParentTracking {
  /// Makes the parent run of a submission.
  ///
  /// - Parameters:
  ///   - name: the group's id, or the sweep's name.
  ///   - tags: what describes the submission.
  /// - Returns: the run's id.
  /// - Throws: an error when the settings cannot be used; never because a server does not answer.
  func createParent(name: String, tags: [String: String]) throws -> String

  /// Sets a parent run that had ended to running, because children go on.
  func reopenParent(_ run: String) throws

  /// Logs what has become of the children, and ends the parent run as they ended.
  ///
  /// - Parameters:
  ///   - run: the run's id.
  ///   - summary: what to log; the same summary logged twice leaves the same points.
  ///   - outcome: how it ends; nil while children are under way.
  /// - Throws: an error when the settings cannot be used; never because a server does not answer.
  func updateParent(_ run: String, _ summary: SweepSummary, as outcome: ParentOutcome?) throws
}

/// How a parent run ends.
public enum ParentOutcome: String, Sendable {
  /// All configurations have a result.
  case finished = "FINISHED"
  /// Some have failed, and none is under way.
  case failed = "FAILED"
  /// Some were cancelled, and none is under way.
  case killed = "KILLED"

  /// The outcome for a sweep's states; nil while some are under way.
  public init?(_ states: [RunStatus.State]) {
    if states.contains(where: { [.pending, .running, .interrupted, .new].contains($0) }) {
      return nil
    }
    if states.contains(.failed) || states.contains(.lost) {
      self = .failed
    } else if states.contains(.cancelled) {
      self = .killed
    } else {
      self = .finished
    }
  }
}

extension SweepDirectory {
  /// The tags of a submission's parent run.
  public func parentTags(configurations: [Int], total: Int) throws -> [String: String] {
    let first = try configurations.first.map { try manifest.entry(at: $0) }
    var tags = [
      "sweep_source": source, "sweep_name": name, "is_parent": "true",
      "sweep_size_total": String(total), "sweep_chunk_size": String(configurations.count),
      "sweep_chunk_offset": String(configurations.first ?? 0),
      "sweep_directory": path,
    ]
    tags["group_id"] = first?["group_id"]?.plainText
    return tags
  }
}
