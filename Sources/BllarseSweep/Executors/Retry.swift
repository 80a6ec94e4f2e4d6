/// Why a task did not finish.
public enum FailureCause: String, Sendable, CaseIterable {
  /// Killed for using more memory than it was given.
  case memory = "oom"
  /// Ended by the time limit.
  case time = "timeout"
  /// The node failed, or could not start the task.
  case node
  /// The program itself failed.
  case failed
}

/// How often failures of one cause are tried again, and with what change: `oom:2:mem*1.5`,
/// `timeout:1:time*2`, `node:3:exclude`, `failed:1`.
package struct RetryRule: Sendable, Equatable, CustomStringConvertible {
  package enum Change: Sendable, Equatable {
    case none
    case memory(factor: Double)
    case time(factor: Double)
    case excludeNode
  }

  package let cause: FailureCause
  /// The number of retries for each configuration.
  package let budget: Int
  package let change: Change

  package init(parsing text: String) throws {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    let causes = FailureCause.allCases.map(\.rawValue)
    let form =
      "CAUSE:COUNT or CAUSE:COUNT:CHANGE, such as oom:2:mem*1.5, timeout:1:time*2, node:3:exclude"
    guard let cause = FailureCause(rawValue: parts[0]) else {
      throw SweepError(
        .usage,
        "--retry \(text): the cause is one of \(causes.joined(separator: ", "))\(hint(for: parts[0], among: causes))"
      )
    }
    guard parts.count == 2 || parts.count == 3, let budget = Int(parts[1]), budget > 0 else {
      throw SweepError(.usage, "--retry \(text): expected \(form)")
    }
    self.cause = cause
    self.budget = budget
    guard parts.count == 3 else {
      change = cause == .node ? .excludeNode : .none
      return
    }
    let change = parts[2].split(separator: "*").map(String.init)
    switch (change.first, change.count == 2 ? Double(change[1]) : nil) {
    case ("exclude", nil) where change.count == 1: self.change = .excludeNode
    case ("mem", let factor?) where factor > 1 && factor <= 100:
      self.change = .memory(factor: factor)
    case ("time", let factor?) where factor > 1 && factor <= 100:
      self.change = .time(factor: factor)
    default: throw SweepError(.usage, "--retry \(text): expected \(form)")
    }
  }

  package var description: String {
    let start = "\(cause.rawValue):\(budget)"
    return switch change {
    case .none: start
    case .memory(let factor): "\(start):mem*\(JSON.number(factor).compact)"
    case .time(let factor): "\(start):time*\(JSON.number(factor).compact)"
    case .excludeNode: "\(start):exclude"
    }
  }
}

/// Groups failures by cause and applies the rules of the last submission.
package enum Retry {
  /// Configurations to submit together, ascending, their cause, and the options with the rule's change.
  package typealias Group = (cause: FailureCause, indices: [Int], options: SubmitOptions)

  /// Applies retry rules to what has failed; what no rule or no budget is left for is exhausted.
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
          submission.cause == cause && submission.contains(status.index)
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
        groups.append((cause, statuses.map(\.index).sorted(), changed))
      }
    }
    return (groups, exhausted.sorted())
  }
}
