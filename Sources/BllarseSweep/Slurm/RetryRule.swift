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

/// Quantities as SLURM writes them.
package enum SlurmUnits {
  /// Megabytes of `500M`, `1.5G`, `2048` (megabytes), `1T`; nil when it is none of those.
  package static func megabytes(_ text: String) -> Double? {
    let factors: [Character: Double] = ["K": 1 / 1024, "M": 1, "G": 1024, "T": 1_048_576]
    guard let last = text.uppercased().last else { return nil }
    let number =
      factors[last].map { factor in Double(text.dropLast()).map { $0 * factor } } ?? Double(text)
    // No machine has more, and what is computed from it stays a whole number.
    return number.flatMap { (0...largestQuantity).contains($0) ? $0 : nil }
  }

  /// The largest quantity that is taken for one.
  private static let largestQuantity = 1e15

  /// Seconds of `MM`, `MM:SS`, `HH:MM:SS`, `D-HH`, `D-HH:MM` or `D-HH:MM:SS`.
  package static func seconds(_ text: String) -> Int? {
    let dayParts = text.split(separator: "-").map(String.init)
    guard dayParts.count <= 2, let clockText = dayParts.last else { return nil }
    let clock = clockText.split(separator: ":", omittingEmptySubsequences: false).map { Int($0) }
    guard clock.count <= 3, !clock.contains(nil) else { return nil }
    let parts = clock.compactMap { $0 }
    let known = 0...Int(largestQuantity)
    guard parts.allSatisfy(known.contains) else { return nil }
    if dayParts.count == 2 {
      guard let days = Int(dayParts[0]), known.contains(days) else { return nil }
      let padded = parts + [Int](repeating: 0, count: 3 - parts.count)
      return days * 86400 + padded[0] * 3600 + padded[1] * 60 + padded[2]
    }
    return switch parts.count {
    case 1: parts[0] * 60
    case 2: parts[0] * 60 + parts[1]
    default: parts[0] * 3600 + parts[1] * 60 + parts[2]
    }
  }

  /// `[D-]HH:MM:SS`, of a time that may come from a damaged file.
  package static func clock(_ seconds: Double) -> String {
    clock(seconds.isFinite ? Int(min(max(seconds, 0), largestQuantity)) : 0)
  }

  /// `[D-]HH:MM:SS`.
  package static func clock(_ seconds: Int) -> String {
    func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
    let (days, rest) = (seconds / 86400, seconds % 86400)
    let time = "\(two(rest / 3600)):\(two(rest / 60 % 60)):\(two(rest % 60))"
    return days > 0 ? "\(days)-\(time)" : time
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
