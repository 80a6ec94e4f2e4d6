public import ArgumentParser
public import BllarseSweep

/// What is asked of SLURM; each option overrides the sweep file's `slurm` section.
struct SubmitArguments: ParsableArguments {
  @Option(help: "The jobs' name (the sweep's).")
  var jobName: String?

  @Option(
    help: ArgumentHelp(
      "How many run at once, over all arrays together (7); none for no limit.", valueName: "number")
  )
  var maxConcurrent: ConcurrencyLimit?

  @Option(help: "Processors of a run.")
  var cpusPerTask: Int?

  @Option(help: "Nodes not to use, comma-separated.")
  var excludeNodes: String?

  @Option(help: "A job script instead of the generated one.")
  var jobScript: String?

  @Option(help: "A Python environment that the job script activates.")
  var venv: String?

  @Option(help: "The partition.")
  var partition: String?

  @Option(help: "The account.")
  var account: String?

  @Option(help: "The time limit of a run.")
  var time: String?

  @Option(help: "The memory of a run.")
  var mem: String?

  @Option(help: "Generic resources, such as gpu:1.")
  var gres: String?

  @Option(help: "The quality of service.")
  var qos: String?

  @Option(help: "Features that nodes must have.")
  var constraint: String?

  @Option(help: "The order in which runs start: index, reverse or shuffle.")
  var arrayOrder: SubmitOptions.ArrayOrder?

  @Option(help: "Seconds before the time limit at which runs checkpoint (120).")
  var signalSeconds: Int?

  @Option(help: "How often a run requeues itself after a checkpoint (10).")
  var maxRequeues: Int?

  @Option(
    help: ArgumentHelp(
      "Try failures of a cause again, such as oom:2:mem*1.5, timeout:1:time*2, node:3, failed:1.",
      valueName: "rule"))
  var retry: [String] = []

  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp("A further argument of sbatch, as it is.", valueName: "arg"))
  var sbatchArg: [String] = []

  @Option(help: ArgumentHelp("Where SLURM writes output (slurm_logs).", valueName: "dir"))
  var logDir: String?

  @Option(help: ArgumentHelp("The program to run instead of the sweep's.", valueName: "path"))
  var program: String?

  @OptionGroup var strictness: StrictArguments

  func options(over base: SubmitOptions) throws -> SubmitOptions {
    var options = base
    options.jobName = jobName ?? options.jobName
    if let maxConcurrent { options.maxConcurrent = maxConcurrent.value }
    options.cpusPerTask = cpusPerTask ?? options.cpusPerTask
    options.excludeNodes = excludeNodes ?? options.excludeNodes
    options.jobScript = jobScript ?? options.jobScript
    options.venv = venv ?? options.venv
    options.partition = partition ?? options.partition
    options.account = account ?? options.account
    options.time = time ?? options.time
    options.mem = mem ?? options.mem
    options.gres = gres ?? options.gres
    options.qos = qos ?? options.qos
    options.constraint = constraint ?? options.constraint
    options.arrayOrder = arrayOrder ?? options.arrayOrder
    options.signalSeconds = signalSeconds ?? options.signalSeconds
    options.maxRequeues = maxRequeues ?? options.maxRequeues
    options.logDirectory = logDir ?? options.logDirectory
    options.program = program.map { Host.find($0) ?? $0 } ?? options.program
    if !retry.isEmpty { options.retryRules = try retry.map { try RetryRule(parsing: $0) } }
    options.isStrict = strictness.strict || options.isStrict
    options.sbatchArguments += sbatchArg
    return options
  }

  /// The options given that only SLURM heeds.
  var givenForSlurm: [String] {
    let given: [(String, Bool)] = [
      ("--job-name", jobName != nil), ("--max-concurrent", maxConcurrent != nil),
      ("--cpus-per-task", cpusPerTask != nil), ("--exclude-nodes", excludeNodes != nil),
      ("--job-script", jobScript != nil), ("--partition", partition != nil),
      ("--account", account != nil), ("--time", time != nil), ("--mem", mem != nil),
      ("--gres", gres != nil), ("--qos", qos != nil), ("--constraint", constraint != nil),
      ("--array-order", arrayOrder != nil), ("--signal-seconds", signalSeconds != nil),
      ("--max-requeues", maxRequeues != nil), ("--retry", !retry.isEmpty),
      ("--sbatch-arg", !sbatchArg.isEmpty), ("--log-dir", logDir != nil),
    ]
    return given.filter(\.1).map(\.0)
  }

  func validate() throws {
    for (name, value) in [
      ("--cpus-per-task", cpusPerTask), ("--signal-seconds", signalSeconds),
    ] {
      if let value, value < 1 { throw ValidationError("\(name) \(value): at least 1") }
    }
    if let time, !SlurmUnits.isTime(time) {
      throw ValidationError("--time is '\(time)'; expected \(SlurmUnits.timeForm)")
    }
    if let mem, !SlurmUnits.isMemory(mem) {
      throw ValidationError("--mem is '\(mem)'; expected \(SlurmUnits.memoryForm)")
    }
    if let signalSeconds, !SlurmUnits.signalSeconds.contains(signalSeconds) {
      throw ValidationError(
        "--signal-seconds is \(signalSeconds); expected a number from 1 to \(SlurmUnits.signalSeconds.upperBound)"
      )
    }
    for rule in retry {
      do {
        _ = try RetryRule(parsing: rule)
      } catch let error as SweepError {
        throw ValidationError(error.description)
      }
    }
    if let maxRequeues, maxRequeues < 0 {
      throw ValidationError("--max-requeues \(maxRequeues): not negative")
    }
  }
}

/// How many runs there are at once; nil for no limit.
struct ConcurrencyLimit: ExpressibleByArgument {
  let value: Int?

  init?(argument: String) {
    guard let limit = SubmitOptions.concurrency(argument) else { return nil }
    value = limit
  }
}

extension SubmitOptions.ArrayOrder: ExpressibleByArgument {}
