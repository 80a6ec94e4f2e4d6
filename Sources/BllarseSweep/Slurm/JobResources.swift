/// What each run gets of the cluster: what was asked for, else the cluster's defaults.
public struct JobResources: Sendable, Equatable {
  /// A quantity and who says it; nil quantity for no limit.
  struct Grant<Value: Sendable & Equatable>: Sendable, Equatable {
    var value: Value?
    var source: String
  }

  /// Processors.
  var processors = Grant<Int>(value: 1, source: "SLURM's default")
  /// Megabytes.
  var memory = Grant<Double>(value: nil, source: "")
  /// Seconds.
  var time = Grant<Int>(value: nil, source: "")
  /// How many run at once; nil for no limit.
  var atOnce: Int?
  /// Why the cluster's defaults are not known; nil when they are.
  var problem: String?

  /// One line for a person.
  public var line: String {
    var parts = [
      "\(processors.value ?? 1) processor\(processors.value == 1 ? "" : "s") (\(processors.source))"
    ]
    if let value = memory.value {
      parts.append("\(SlurmUnits.memory(value)) of memory (\(memory.source))")
    } else if !memory.source.isEmpty {
      parts.append("memory without a limit (\(memory.source))")
    }
    if let value = time.value {
      parts.append("\(SlurmUnits.clock(value)) of time (\(time.source))")
    } else if !time.source.isEmpty {
      parts.append("time without a limit (\(time.source))")
    }
    let limit = atOnce.map { "at most \($0) at once" } ?? "any number at once"
    let unknown = problem.map { "; the cluster's defaults are not known: \($0)" } ?? ""
    return "each run gets \(parts.joined(separator: ", ")); \(limit)\(unknown)"
  }

  /// What is wrong with the memory for the run that needs most; nil when it suffices or is not known.
  ///
  /// - Parameter estimate: of the run that needs most.
  /// - Returns: a line that says what to ask for.
  public func warning(for estimate: CheckReport.MemoryEstimate?) -> String? {
    guard let estimate, let memory = memory.value else { return nil }
    let needed = Double(estimate.bytes) / 1_048_576
    guard needed > memory else { return nil }
    // A fifth more than the estimate, in whole hundreds of megabytes or whole gigabytes.
    let ample = needed * 1.2
    let advice =
      ample > 2000
      ? "\(Int((ample / 1024).rounded(.up)))G" : "\(Int((ample / 100).rounded(.up)) * 100)M"
    return
      "configuration \(estimate.index) needs about \(SlurmUnits.memory(needed)) of memory, and a run gets \(SlurmUnits.memory(memory)) (\(self.memory.source)); give --mem \(advice)"
  }
}

// MARK: - Asking

extension JobResources {
  /// Works out what runs get.
  ///
  /// - Parameters:
  ///   - options: what is asked of SLURM.
  ///   - limits: the cluster's own, with its default memory.
  ///   - script: the text of the user's job script, whose `#SBATCH` lines count too.
  ///   - environment: holds sbatch's own variables.
  ///   - runner: asks the cluster.
  /// - Returns: what could be found out.
  static func ask(
    _ options: SubmitOptions, limits: ClusterLimits, script: String?,
    environment: [String: String] = Host.environment, runner: any CommandRunner
  ) -> JobResources {
    let request = SbatchRequest(options, script: script, environment: environment)
    var resources = JobResources()
    resources.atOnce = options.maxConcurrent
    if let (text, source) = request[.processors], let count = Int(text) {
      resources.processors = Grant(value: count, source: source)
    }
    let partitions: [Partition]
    do {
      partitions = try Partition.ask(runner, request[.partition]?.value)
    } catch {
      partitions = []
      resources.problem = error.description
    }
    let processors = Double(resources.processors.value ?? 1)
    if let (text, source) = request[.memory] {
      let megabytes = SlurmUnits.megabytes(text)
      resources.memory = Grant(value: megabytes == 0 ? nil : megabytes, source: source)
    } else if let (text, source) = request[.memoryPerProcessor] {
      resources.memory = Grant(
        value: SlurmUnits.megabytes(text).map { $0 * processors }, source: source)
    } else {
      // A job that several partitions may take must do with the least of them.
      let grants = partitions.map { $0.memory(processors, limits) }
      resources.memory =
        grants.min { $0.value ?? .infinity < $1.value ?? .infinity } ?? resources.memory
    }
    if let (text, source) = request[.time] {
      let seconds = SlurmUnits.seconds(text)
      resources.time = Grant(value: seconds == 0 ? nil : seconds, source: source)
    } else {
      resources.time =
        partitions.map(\.time).min { $0.value ?? .max < $1.value ?? .max } ?? resources.time
    }
    return resources
  }

  /// A partition as `scontrol` shows it.
  private struct Partition {
    let fields: [String: String]
    var name: String { fields["PartitionName"] ?? "" }

    /// The partitions of a job: those named, else the cluster's default.
    static func ask(
      _ runner: any CommandRunner, _ names: String?
    ) throws(SweepError) -> [Partition] {
      let command = ["scontrol", "show", "partition", "--oneliner"]
      let result: CommandResult
      do {
        result = try runner.run(command)
      } catch {
        throw SweepError(.failed, "\(error)")
      }
      guard result.status == 0 else { throw SweepError(.failed, result.firstError) }
      let all = result.output.split(separator: "\n").map { line in
        Partition(
          fields: Dictionary(
            line.split(separator: " ").compactMap { word -> (String, String)? in
              guard let equals = word.firstIndex(of: "=") else { return nil }
              return (String(word[..<equals]), String(word[equals...].dropFirst()))
            }, uniquingKeysWith: { first, _ in first }))
      }
      guard let names else { return all.filter { $0.fields["Default"] == "YES" } }
      let wanted = names.split(separator: ",").map(String.init)
      return all.filter { wanted.contains($0.name) }
    }

    /// The memory that a job gets which asks for none.
    ///
    /// A partition shows UNLIMITED where it says nothing itself: then the cluster's default holds.
    func memory(_ processors: Double, _ limits: ClusterLimits) -> Grant<Double> {
      let place = "partition \(name)"
      if let each = fields["DefMemPerCPU"].flatMap(Double.init) {
        return Grant(value: each * processors, source: "DefMemPerCPU of \(place)")
      }
      if let node = fields["DefMemPerNode"].flatMap(Double.init) {
        return Grant(value: node, source: "DefMemPerNode of \(place)")
      }
      if let each = limits.memoryPerProcessor {
        return Grant(value: each * processors, source: "the cluster's DefMemPerCPU")
      }
      if let node = limits.memoryPerNode {
        return Grant(value: node, source: "the cluster's DefMemPerNode")
      }
      return Grant(value: nil, source: place)
    }

    /// The time that a job gets which asks for none.
    var time: Grant<Int> {
      for field in ["DefaultTime", "MaxTime"] {
        if let seconds = fields[field].flatMap(SlurmUnits.shownSeconds) {
          return Grant(value: seconds, source: "\(field) of partition \(name)")
        }
      }
      return Grant(value: nil, source: "partition \(name)")
    }
  }
}

extension SlurmUnits {
  /// `400M`, `1.5G`.
  static func memory(_ megabytes: Double) -> String {
    if megabytes < 1024 { return "\(Int(megabytes.rounded(.up)))M" }
    return "\(JSON.number((megabytes / 1024 * 10).rounded() / 10).compact)G"
  }

  /// Seconds of `HH:MM:SS` or `D-HH:MM:SS`, as `scontrol` shows times; nil for NONE and UNLIMITED.
  static func shownSeconds(_ text: String) -> Int? {
    text.contains(":") ? seconds(text) : nil
  }
}
