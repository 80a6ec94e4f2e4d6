/// What each run gets of the cluster: what was asked for, else the cluster's defaults.
struct JobResources {
  /// A quantity and who says it; nil quantity for no limit.
  typealias Grant<Value> = (value: Value?, source: String)

  var processors = (value: 1, source: "SLURM's default")
  var memory: Grant<Memory> = (nil, "")
  var time: Grant<Duration> = (nil, "")
  var atOnce: Int?
  /// Why the cluster's defaults are not known; nil when they are.
  var problem: String?

  var line: String {
    func part(_ amount: String?, _ name: String, _ source: String) -> [String] {
      if let amount { return ["\(amount) of \(name) (\(source))"] }
      return source.isEmpty ? [] : ["\(name) without a limit (\(source))"]
    }
    let (count, source) = processors
    let parts =
      ["\(count) processor\(count == 1 ? "" : "s") (\(source))"]
      + part(memory.value?.rounded, "memory", memory.source)
      + part(time.value?.clock, "time", time.source)
    let limit = atOnce.map { "at most \($0) at once" } ?? "any number at once"
    let unknown = problem.map { "; the cluster's defaults are not known: \($0)" } ?? ""
    return "each run gets \(parts.joined(separator: ", ")); \(limit)\(unknown)"
  }

  /// What is wrong with the memory for the run that needs most; nil when it suffices or is not known.
  func warning(for estimate: CheckReport.MemoryEstimate?) -> String? {
    guard let estimate, let granted = memory.value else { return nil }
    let needed = Memory(bytes: estimate.bytes)
    guard needed > granted else { return nil }
    // A fifth more than the estimate, in whole hundreds of megabytes or whole gigabytes.
    let ample = Double(estimate.bytes) / 1_048_576 * 1.2
    let advice =
      ample > 2000
      ? "\(Int((ample / 1024).rounded(.up)))G" : "\(Int((ample / 100).rounded(.up)) * 100)M"
    return
      "configuration \(estimate.index) needs about \(needed.rounded) of memory, and a run gets \(granted.rounded) (\(memory.source)); give --mem \(advice)"
  }

  static func ask(
    _ options: SubmitOptions, limits: ClusterLimits, script: String?,
    environment: [String: String] = Host.environment, runner: any CommandRunner
  ) -> JobResources {
    let request = SbatchRequest(
      options.requested(["partition", "cpus-per-task", "mem", "time"]) + options.sbatchArguments,
      script: script, environment: environment
    ).values
    var resources = JobResources()
    resources.atOnce = options.maxConcurrent
    if let (text, source) = request[.processors], let count = Int(text) {
      resources.processors = (count, source)
    }
    var partitions: [Partition] = []
    do {
      partitions = try Partition.ask(runner, request[.partition]?.value)
    } catch { resources.problem = "\(error)" }
    let processors = resources.processors.value
    // Of neither 0 means anything but no limit.
    if let (text, source) = request[.memory] {
      resources.memory = (Memory(text).flatMap { $0.kibibytes == 0 ? nil : $0 }, source)
    } else if let (text, source) = request[.memoryPerProcessor] {
      resources.memory = (Memory(text).map { $0 * processors }, source)
    } else {
      // A job that several partitions may take must do with the least of them.
      let grants = partitions.map { $0.memory(processors, limits) }
      resources.memory = grants.min { Self.isLess($0.value, $1.value) } ?? resources.memory
    }
    if let (text, source) = request[.time] {
      resources.time = (Duration(clock: text).flatMap { $0 == .zero ? nil : $0 }, source)
    } else {
      resources.time =
        partitions.map(\.time).min { Self.isLess($0.value, $1.value) } ?? resources.time
    }
    return resources
  }

  /// No limit is more than any.
  private static func isLess<Value: Comparable>(_ a: Value?, _ b: Value?) -> Bool {
    a.map { a in b.map { a < $0 } ?? true } ?? false
  }

  /// A partition as `scontrol` shows it.
  private struct Partition {
    let fields: [String: String]
    var name: String { fields["PartitionName"] ?? "" }

    /// The partitions of a job: those named, else the cluster's default.
    static func ask(_ runner: any CommandRunner, _ names: String?) throws -> [Partition] {
      let result = try runner.run(["scontrol", "show", "partition", "--oneliner"])
      guard result.status == 0 else { throw SweepError.failed(result.firstError) }
      let all = result.output.split(separator: "\n").map { Partition(fields: slurmFields($0)) }
      guard let names else { return all.filter { $0.fields["Default"] == "YES" } }
      let wanted = names.split(separator: ",").map(String.init)
      return all.filter { wanted.contains($0.name) }
    }

    /// The memory of a job that asks for none; UNLIMITED means that the cluster's default holds.
    func memory(_ processors: Int, _ limits: ClusterLimits) -> Grant<Memory> {
      let place = "partition \(name)"
      func own(_ field: String) -> Memory? { fields[field].flatMap { Memory($0) } }
      let grants: [Grant<Memory>] = [
        (own("DefMemPerCPU").map { $0 * processors }, "DefMemPerCPU of \(place)"),
        (own("DefMemPerNode"), "DefMemPerNode of \(place)"),
        (limits.memoryPerProcessor.map { $0 * processors }, "the cluster's DefMemPerCPU"),
        (limits.memoryPerNode, "the cluster's DefMemPerNode"),
      ]
      return grants.first { $0.value != nil } ?? (nil, place)
    }

    var time: Grant<Duration> {
      for field in ["DefaultTime", "MaxTime"] {
        // NONE and UNLIMITED are no times.
        guard let text = fields[field], text.contains(":"), let time = Duration(clock: text)
        else { continue }
        return (time, "\(field) of partition \(name)")
      }
      return (nil, "partition \(name)")
    }
  }
}

/// What a job asks for, from all places where sbatch reads it: the `#SBATCH` lines of a job script,
/// then sbatch's variables, then the command line, the later before the earlier.
struct SbatchRequest {
  enum Quantity: Hashable { case partition, processors, memory, memoryPerProcessor, time }

  private(set) var values: [Quantity: (value: String, source: String)] = [:]

  init(_ arguments: [String], script: String?, environment: [String: String]) {
    read(Self.directives(script ?? ""), source: "#SBATCH of the job script")
    for (variable, quantity) in Self.variables {
      if let value = environment[variable], !value.isEmpty { set(quantity, value, variable) }
    }
    read(arguments, source: "as asked")
  }

  private static let variables: [(String, Quantity)] = [
    ("SBATCH_PARTITION", .partition), ("SBATCH_MEM_PER_CPU", .memoryPerProcessor),
    ("SBATCH_MEM_PER_NODE", .memory), ("SBATCH_TIMELIMIT", .time),
  ]

  private static let options: [String: Quantity] = [
    "--partition": .partition, "-p": .partition, "--cpus-per-task": .processors, "-c": .processors,
    "--mem": .memory, "--mem-per-cpu": .memoryPerProcessor, "--time": .time, "-t": .time,
  ]

  private mutating func set(_ quantity: Quantity, _ value: String, _ source: String) {
    values[quantity] = (value, source)
    // The two ways to ask for memory exclude each other.
    if quantity == .memory { values[.memoryPerProcessor] = nil }
    if quantity == .memoryPerProcessor { values[.memory] = nil }
  }

  /// `--mem=1G`, `--mem 1G`, `-t 30`, `-t30`.
  private mutating func read(_ words: [String], source: String) {
    var place = 0
    while place < words.count {
      let word = words[place]
      place += 1
      if let quantity = Self.options[word] {
        guard place < words.count else { return }
        set(quantity, words[place], source)
        place += 1
      } else if let equals = word.firstIndex(of: "="),
        let quantity = Self.options[String(word[..<equals])]
      {
        set(quantity, String(word[word.index(after: equals)...]), source)
      } else if !word.hasPrefix("--"), let quantity = Self.options[String(word.prefix(2))] {
        set(quantity, String(word.dropFirst(2)), source)
      }
    }
  }

  /// The words of a script's `#SBATCH` lines; sbatch reads them up to the first command.
  private static func directives(_ script: String) -> [String] {
    var words: [String] = []
    for line in script.split(whereSeparator: \.isNewline) {
      guard line.hasPrefix("#") else {
        if line.trimmed.isEmpty { continue } else { break }
      }
      guard line.hasPrefix("#SBATCH") else { continue }
      words += line.dropFirst(7).split(whereSeparator: \.isWhitespace).prefix { $0 != "#" }
        .map { $0.filter { !"\"'".contains($0) } }
    }
    return words
  }
}

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
      throw SweepError.failed("SLURM does not answer: \(config.firstError)")
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
