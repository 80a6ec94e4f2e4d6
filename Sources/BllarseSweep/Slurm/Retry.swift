/// Groups failures by cause and applies the rules of the last submission.
public struct Retry {
  /// Configurations to submit together, and how.
  public struct Group: Sendable {
    /// The cause; nil for a retry that asks for no rule.
    public let cause: FailureCause?
    /// The configurations, ascending.
    public let indices: [Int]
    /// The options, with the rule's change.
    public let options: SubmitOptions
  }

  /// Applies retry rules to what has failed.
  ///
  /// - Parameters:
  ///   - statuses: of all configurations.
  ///   - submissions: the history: what was tried for which cause.
  ///   - options: those of the last submission.
  /// - Returns: the groups to submit, and the configurations whose budget is used up.
  package static func byCause(
    _ statuses: [RunStatus], submissions: [SubmissionRecord], options: SubmitOptions
  ) -> (groups: [Group], exhausted: [Int]) {
    var groups: [Group] = []
    var exhausted: [Int] = []
    for cause in FailureCause.allCases {
      let failed = statuses.filter { $0.state == .failed && ($0.cause ?? .failed) == cause }
      guard !failed.isEmpty else { continue }
      guard let rule = options.retryRules.first(where: { $0.cause == cause }) else {
        exhausted += failed.map(\.index)
        continue
      }
      // Configurations that were tried equally often get the same change, once more than before.
      var byTries: [Int: [RunStatus]] = [:]
      for status in failed {
        let tries = submissions.count { submission in
          submission.cause == cause
            && submission.chunks.contains { $0.indices.contains(status.index) }
        }
        if tries < rule.budget {
          byTries[tries, default: []].append(status)
        } else {
          exhausted.append(status.index)
        }
      }
      let first = submissions.last { $0.cause == nil }?.options ?? options
      for (tries, statuses) in byTries.sorted(by: { $0.key < $1.key }) {
        let nodes = Set(statuses.map(\.node)).subtracting([""]).sorted()
        var changed = first
        changed.retryRules = options.retryRules
        for _ in 0...tries { changed = changed.changed(by: rule, nodes: nodes) }
        groups.append(
          Group(cause: cause, indices: statuses.map(\.index).sorted(), options: changed))
      }
    }
    return (groups, exhausted.sorted())
  }
}
