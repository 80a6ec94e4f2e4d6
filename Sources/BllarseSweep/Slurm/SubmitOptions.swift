/// What `submit` asks of SLURM.
///
/// A nil is left to the cluster's own default.
public struct SubmitOptions: Sendable, Equatable {
  /// The jobs' name; nil for the sweep's.
  public var jobName: String?
  /// The partition.
  public var partition: String?
  /// The account that pays.
  public var account: String?
  /// The quality of service.
  public var qos: String?
  /// Features that nodes must have.
  public var constraint: String?
  /// Generic resources, such as `gpu:1`.
  public var gres: String?
  /// The time limit of a task, as SLURM writes it.
  public var time: String?
  /// The memory of a task's node, as SLURM writes it.
  public var mem: String?
  /// Processors of a task.
  public var cpusPerTask: Int?
  /// Nodes not to use, comma-separated.
  public var excludeNodes: String?
  /// How many tasks run at once, over all chunks together; nil for no limit.
  public var maxConcurrent: Int? = SubmitOptions.defaultConcurrency
  /// The order in which tasks start.
  public var arrayOrder = ArrayOrder.index
  /// Seconds before the time limit at which a run is asked to checkpoint.
  public var signalSeconds = 120
  /// How often a task requeues itself.
  public var maxRequeues = 10
  /// What to do about failures, by their cause.
  public var retryRules: [RetryRule] = []
  /// Further arguments of sbatch, as they are.
  public var sbatchArguments: [String] = []
  /// A job script instead of the generated one.
  public var jobScript: String?
  /// A Python environment that the job script activates.
  public var venv: String?
  /// Where SLURM writes the tasks' output.
  public var logDirectory = "slurm_logs"
  /// The program's path, instead of looking for the one that the sweep names.
  public var program: String?
  /// Whether a task does not start a program that has changed since the submission.
  public var isStrict = false

  /// The cluster's defaults.
  public init() {}

  /// How many tasks run at once unless something else is asked for.
  public static let defaultConcurrency = 7

  /// Reads how many tasks run at once: a positive number, or `none` (or 0) for no limit.
  ///
  /// - Returns: the limit, itself nil for none; nil for what is neither.
  package static func concurrency(_ text: String) -> Int?? {
    if text == "none" || text == "0" { return .some(nil) }
    guard let number = Int(text), number > 0 else { return nil }
    return number
  }

  package static let fileKeys = [
    "job_name", "partition", "account", "qos", "constraint", "gres", "time", "mem",
    "cpus_per_task", "exclude_nodes", "max_concurrent", "array_order", "signal_seconds",
    "max_requeues", "retry", "sbatch_args", "job_script", "venv", "log_dir", "strict",
  ]

  /// The order in which an array's tasks start.
  public enum ArrayOrder: String, Sendable, CaseIterable {
    case index
    case reverse
    /// A fixed permutation: partial results are then an unbiased sample of the sweep.
    case shuffle
  }

  /// Takes the defaults that a sweep file states.
  ///
  /// - Throws: ``SweepError`` (65) that names the file and the key.
  package mutating func apply(_ defaults: [(key: String, value: JSON)], file: String) throws {
    for (key, value) in defaults {
      do {
        try set(key, to: value)
      } catch let error as SweepError {
        throw SweepError(.data, "\(file): \(error.description)")
      }
    }
  }

  /// Takes one value of a sweep file.
  ///
  /// - Throws: ``SweepError`` that names the key, what was found and what is expected.
  package mutating func set(_ key: String, to value: JSON) throws {
    let text = value.plainText
    func fault(_ expected: String) -> SweepError {
      SweepError(.data, "slurm.\(key) is \(expected); found '\(text)'")
    }
    func number() throws -> Int {
      guard let number = value.intValue, number > 0 else {
        throw SweepError(.data, "slurm.\(key) is a positive number; found \(text)")
      }
      return number
    }
    func words() -> [String] { value.arrayValue?.map(\.plainText) ?? [text] }
    if value == .null { return }
    switch key {
    case "job_name": jobName = text
    case "partition": partition = text
    case "account": account = text
    case "qos": qos = text
    case "constraint": constraint = text
    case "gres": gres = text
    case "time":
      guard SlurmUnits.isTime(text) else { throw fault(SlurmUnits.timeForm) }
      time = text
    case "mem":
      guard SlurmUnits.isMemory(text) else { throw fault(SlurmUnits.memoryForm) }
      mem = text
    case "cpus_per_task": cpusPerTask = try number()
    case "exclude_nodes": excludeNodes = words().joined(separator: ",")
    case "max_concurrent":
      guard let limit = Self.concurrency(text) else {
        throw SweepError(
          .data, "slurm.max_concurrent is a positive number, or none for no limit; found \(text)")
      }
      maxConcurrent = limit
    case "array_order":
      guard let order = ArrayOrder(rawValue: text) else { throw fault("index, reverse or shuffle") }
      arrayOrder = order
    case "signal_seconds":
      signalSeconds = try number()
      guard SlurmUnits.signalSeconds.contains(signalSeconds) else {
        throw fault("a number of seconds from 1 to \(SlurmUnits.signalSeconds.upperBound)")
      }
    case "max_requeues": maxRequeues = value == 0 ? 0 : try number()
    case "retry": retryRules = try words().map { try RetryRule(parsing: $0) }
    case "sbatch_args": sbatchArguments = words()
    case "job_script": jobScript = text
    case "venv": venv = text
    case "log_dir": logDirectory = text
    case "program": program = text
    case "strict":
      guard let flag = value.boolValue else { throw fault("true or false") }
      isStrict = flag
    default: break
    }
  }

  /// The options as a sweep file's `slurm` section.
  package var json: JSON {
    var members: [JSON.Member] = []
    func add(_ key: String, _ value: JSON) {
      if value != .null { members.append(JSON.Member(key, value)) }
    }
    add("job_name", .optional(jobName))
    add("partition", .optional(partition))
    add("account", .optional(account))
    add("qos", .optional(qos))
    add("constraint", .optional(constraint))
    add("gres", .optional(gres))
    add("time", .optional(time))
    add("mem", .optional(mem))
    add("cpus_per_task", .optional(cpusPerTask))
    add("exclude_nodes", .optional(excludeNodes))
    add("max_concurrent", maxConcurrent.map { .int($0) } ?? "none")
    add("array_order", .string(arrayOrder.rawValue))
    add("signal_seconds", .int(signalSeconds))
    add("max_requeues", .int(maxRequeues))
    add("retry", .array(retryRules.map { .string($0.description) }))
    add("sbatch_args", .array(sbatchArguments.map { .string($0) }))
    add("job_script", .optional(jobScript))
    add("venv", .optional(venv))
    add("log_dir", .string(logDirectory))
    add("program", .optional(program))
    add("strict", isStrict ? .bool(true) : .null)
    return .object(members)
  }

  /// The arguments of sbatch that do not depend on the chunk.
  func sbatchArguments(name: String) -> [String] {
    var arguments = ["sbatch", "--parsable", "--export", "ALL", "--job-name", jobName ?? name]
    func add(_ option: String, _ value: String?) {
      if let value { arguments += [option, value] }
    }
    add("--partition", partition)
    add("--account", account)
    add("--qos", qos)
    add("--constraint", constraint)
    add("--gres", gres)
    add("--time", time)
    add("--mem", mem)
    add("--cpus-per-task", cpusPerTask.map(String.init))
    add("--exclude", excludeNodes)
    arguments += [
      "--output", "\(logDirectory)/%x.%A_%a.out", "--error", "\(logDirectory)/%x.%A_%a.err",
      "--open-mode", "append", "--requeue", "--signal", "B:USR1@\(signalSeconds)",
    ]
    return arguments + sbatchArguments
  }
}
