/// How much a cluster takes, as it says itself.
public struct ClusterLimits: Sendable, Equatable {
  /// One more than the highest index of an array.
  public var maxArraySize = 1001
  /// How many more tasks this user may submit; nil when nothing limits them.
  public var submitLimit: Int?
  /// What the limits come from, for messages.
  public var submitLimitName = ""
  /// Megabytes that a job gets for each processor when neither it nor its partition says.
  var memoryPerProcessor: Double?
  /// Megabytes that a job gets on a node when neither it nor its partition says.
  var memoryPerNode: Double?

  /// SLURM's defaults.
  public init() {}

  /// Asks the cluster.
  ///
  /// - Throws: ``SweepError`` (1) when no controller answers: nothing could be submitted either.
  static func ask(_ runner: any CommandRunner, partition: String?, qos: String?) throws
    -> ClusterLimits
  {
    var limits = ClusterLimits()
    let config = try runner.run(["scontrol", "show", "config"])
    guard config.status == 0 else {
      throw SweepError(.failed, "SLURM does not answer: \(config.firstError)")
    }
    for line in config.output.split(separator: "\n") {
      let parts = line.split(separator: "=", maxSplits: 1).map { $0.trimmed }
      guard parts.count == 2, let number = Int(parts[1]) else { continue }
      if parts[0] == "MaxArraySize" { limits.maxArraySize = max(1, number) }
      if parts[0] == "DefMemPerCPU" { limits.memoryPerProcessor = Double(number) }
      if parts[0] == "DefMemPerNode" { limits.memoryPerNode = Double(number) }
      if parts[0] == "MaxJobCount" { limits.lower(to: number, "the cluster's MaxJobCount") }
    }
    limits.askAccounting(runner, qos: qos)
    if let limit = limits.submitLimit {
      let queued = try runner.run(["squeue", "--noheader", "--array", "--me", "--format", "%i"])
      let used = queued.output.split(separator: "\n").count
      limits.submitLimit = max(0, limit - used)
    }
    return limits
  }

  private mutating func lower(to limit: Int, _ name: String) {
    if limit < submitLimit ?? .max { (submitLimit, submitLimitName) = (limit, name) }
  }

  /// Limits of the user's associations and of the quality of service, where there is accounting.
  private mutating func askAccounting(_ runner: any CommandRunner, qos: String?) {
    guard let user = Host.userName else { return }
    let associations = try? runner.run([
      "sacctmgr", "--noheader", "--parsable2", "show", "associations", "user=\(user)",
      "format=MaxSubmitJobs",
    ])
    if let associations, associations.status == 0 {
      for number in associations.output.split(separator: "\n").compactMap({ Int($0.trimmed) }) {
        lower(to: number, "MaxSubmitJobs of the account")
      }
    }
    guard let qos else { return }
    let result = try? runner.run([
      "sacctmgr", "--noheader", "--parsable2", "show", "qos", qos, "format=MaxSubmitJobsPerUser",
    ])
    if let result, result.status == 0,
      let number = result.output.split(separator: "\n").first.flatMap({ Int($0.trimmed) })
    {
      lower(to: number, "MaxSubmitJobsPerUser of the quality of service '\(qos)'")
    }
  }
}

extension StringProtocol {
  var trimmed: String {
    let start = drop { $0.isWhitespace }
    guard let end = start.lastIndex(where: { !$0.isWhitespace }) else { return "" }
    return String(start[...end])
  }
}
