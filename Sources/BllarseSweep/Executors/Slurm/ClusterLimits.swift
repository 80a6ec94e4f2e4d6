/// How much a cluster takes, and what it gives, as it says itself.
struct ClusterLimits {
  var tasks = ExecutorLimits(maxArraySize: 1001)
  /// What a job gets for each processor when neither it nor its partition says.
  var memoryPerProcessor: Memory?
  /// What a job gets on a node when neither it nor its partition says.
  var memoryPerNode: Memory?

  static func ask(_ runner: any CommandRunner, qos: String?) throws -> ClusterLimits {
    var limits = ClusterLimits()
    let config = try runner.run(["scontrol", "show", "config"])
    guard config.status == 0 else {
      throw SweepError(.failed, "SLURM does not answer: \(config.firstError)")
    }
    for line in config.output.split(separator: "\n") {
      let parts = line.split(separator: "=", maxSplits: 1).map { $0.trimmed }
      guard parts.count == 2, let number = Int(parts[1]) else { continue }
      switch parts[0] {
      case "MaxArraySize": limits.tasks.maxArraySize = max(1, number)
      case "DefMemPerCPU": limits.memoryPerProcessor = Memory(parts[1])
      case "DefMemPerNode": limits.memoryPerNode = Memory(parts[1])
      case "MaxJobCount": limits.lower(to: number, "the cluster's MaxJobCount")
      default: break
      }
    }
    limits.askAccounting(runner, qos: qos)
    if let limit = limits.tasks.submitLimit {
      let queued = try runner.run(["squeue", "--noheader", "--array", "--me", "--format", "%i"])
      let used = queued.output.split(separator: "\n").count
      limits.tasks.submitLimit = max(0, limit - used)
    }
    return limits
  }

  private mutating func lower(to limit: Int, _ name: String) {
    guard limit < tasks.submitLimit ?? .max else { return }
    (tasks.submitLimit, tasks.submitLimitName) = (limit, name)
  }

  /// Limits of the user's associations and of the quality of service, where there is accounting.
  private mutating func askAccounting(_ runner: any CommandRunner, qos: String?) {
    guard let user = Host.userName else { return }
    func numbers(_ words: String...) -> [Int] {
      let command = ["sacctmgr", "--noheader", "--parsable2", "show"] + words
      guard let result = try? runner.run(command), result.status == 0 else { return [] }
      return result.output.split(separator: "\n").compactMap { Int($0.trimmed) }
    }
    for number in numbers("associations", "user=\(user)", "format=MaxSubmitJobs") {
      lower(to: number, "MaxSubmitJobs of the account")
    }
    guard let qos else { return }
    if let number = numbers("qos", qos, "format=MaxSubmitJobsPerUser").first {
      lower(to: number, "MaxSubmitJobsPerUser of the quality of service '\(qos)'")
    }
  }
}
