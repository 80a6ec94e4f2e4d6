/// Why a task of a cluster did not finish.
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
public struct RetryRule: Sendable, Equatable, CustomStringConvertible {
  /// What a retry changes.
  public enum Change: Sendable, Equatable {
    case none
    case memory(factor: Double)
    case time(factor: Double)
    case excludeNode
  }

  /// The cause.
  public let cause: FailureCause
  /// The number of retries for each configuration.
  public let budget: Int
  /// What changes from one try to the next.
  public let change: Change

  /// Parses a rule.
  ///
  /// - Throws: ``SweepError`` (64) that shows the form.
  public init(parsing text: String) throws {
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

  /// The rule as it is written.
  public var description: String {
    let start = "\(cause.rawValue):\(budget)"
    return switch change {
    case .none: start
    case .memory(let factor): "\(start):mem*\(JSON.number(factor).compact)"
    case .time(let factor): "\(start):time*\(JSON.number(factor).compact)"
    case .excludeNode: "\(start):exclude"
    }
  }
}

extension SubmitOptions {
  /// The options of a retry: what the rule changes, applied once.
  ///
  /// - Returns: nil when there is nothing to multiply: no limit was asked for in the first place.
  func changed(by rule: RetryRule, nodes: [String]) -> SubmitOptions {
    var options = self
    switch rule.change {
    case .none: break
    case .memory(let factor):
      if let megabytes = mem.flatMap(SlurmUnits.megabytes) {
        options.mem = "\(Int((megabytes * factor).rounded(.up)))M"
      }
    case .time(let factor):
      if let seconds = time.flatMap(SlurmUnits.seconds) {
        options.time = SlurmUnits.clock(Int((Double(seconds) * factor).rounded(.up)))
      }
    case .excludeNode:
      let known = excludeNodes.map { $0.split(separator: ",").map(String.init) } ?? []
      let all = known + nodes.filter { !known.contains($0) }
      options.excludeNodes = all.isEmpty ? nil : all.joined(separator: ",")
    }
    return options
  }
}
