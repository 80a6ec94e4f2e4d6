/// How a parent run ends.
package enum ParentOutcome: String, Sendable {
  /// All configurations have a result.
  case finished = "FINISHED"
  /// Some have failed, and none is under way.
  case failed = "FAILED"
  /// Some were cancelled, and none is under way.
  case killed = "KILLED"

  /// The outcome for a sweep's states; nil while some are under way.
  package init?(_ states: [RunStatus.State]) {
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
  package func parentTags(configurations: [Int], total: Int) throws -> [String: String] {
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
