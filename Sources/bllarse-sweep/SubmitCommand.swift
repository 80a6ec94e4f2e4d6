import ArgumentParser
import BllarseSweep

struct SubmitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "submit", abstract: "Submits a sweep to SLURM as job arrays, and returns.")

  @OptionGroup var sweep: SweepArguments
  @OptionGroup var overrides: OverrideArguments
  @OptionGroup var checking: CheckArguments
  @OptionGroup var slurm: SubmitArguments
  @OptionGroup var tracking: TrackingArguments
  @Option(help: "The first configuration to submit.") var indexOffset = 0
  @Option(help: "How many configurations to submit, from the offset on (all).") var numJobs: Int?
  @Flag(help: "Add to a directory that holds another sweep of the same name.") var extend = false
  @Flag(help: "Print the commands and scripts, and submit nothing.") var dryRun = false

  func validate() throws {
    if indexOffset < 0 { throw ValidationError("--index-offset \(indexOffset): not negative") }
    if let numJobs, numJobs < 1 { throw ValidationError("--num-jobs \(numJobs): at least 1") }
  }

  func run() throws {
    var frozen = try FrozenSweep(
      sweep, overrides, program: slurm.program, venv: slurm.venv, extend: extend)
    let count = frozen.numberable
    guard indexOffset < count else {
      throw SweepError.usage("--index-offset \(indexOffset): the sweep has \(count) configurations")
    }
    let window = indexOffset..<(numJobs.map { min(count, indexOffset + $0) } ?? count)
    let chosen = Set(try frozen.indices(of: Array(window)))
    let statuses = try StatusReader(frozen.directory).all()
    let sorted = Selection(frozen.selected.filter(chosen.contains), statuses)
    Terminal.note(sorted.summary)
    let (indices, report) = try checking.check(
      sorted.toRun, in: frozen.directory, program: slurm.program)
    if !dryRun { try frozen.write(report) }
    guard !indices.isEmpty else { return }
    let directory = frozen.directory
    let options = try slurm.options(
      over: directory.options(for: Executors.submitting, in: "submit"))
    try Submission(
      directory: directory, options: options, tracking: tracking, dryRun: dryRun,
      memory: report?.largestMemory
    ).submit(indices)
  }
}

/// One submission with its parent run, told to the user.
struct Submission {
  let directory: SweepDirectory
  let options: SubmitOptions
  let tracking: TrackingArguments
  let dryRun: Bool
  /// What the run that needs most needs, if that is known.
  var memory: CheckReport.MemoryEstimate?
  var cause: FailureCause?
  var parent: String?

  func submit(_ indices: [Int]) throws {
    let submitter = try Submitter(directory, options: options)
    var plan = try submitter.plan(indices, memory: memory)
    plan.cause = cause
    plan.notes.forEach { Terminal.note($0) }
    if dryRun {
      Terminal.write(try submitter.describe(plan))
    } else if !plan.chunks.isEmpty {
      try submit(&plan, by: submitter)
    }
    if !plan.deferred.isEmpty {
      Terminal.note(
        "\(plan.deferred.count) configurations are left: \(plan.limitName) allows no more now; call the same command again when some have ended"
      )
    }
  }

  /// Makes the parent run first, as tasks may start at once; what is refused does not stay under it.
  private func submit(_ plan: inout Submitter.Plan, by submitter: Submitter) throws {
    let indices = plan.chunks.flatMap(\.indices).sorted()
    let parent = try tracking.parent(
      of: indices, deferred: plan.deferred, in: directory, submitted: parent)
    plan.parentRun = parent?.run
    plan.parentStore = parent?.store
    var accepted: Set<Int> = []
    do {
      try submitter.submit(plan) { chunk, job in
        accepted.formUnion(chunk.indices)
        print("job \(job): configurations \(Chunk.ranges(chunk.indices.sorted()))")
      }
    } catch {
      let refused = indices.filter { !accepted.contains($0) }
      if let parent, !refused.isEmpty {
        ParentRuns.withdraw(parent, refused: refused, in: directory)
      }
      throw error
    }
    if let line = parent?.line { Terminal.note(line) }
  }
}

extension SweepDirectory {
  /// What the file asks of a subcommand's executor; says what has no effect there.
  func options(for type: any Executor.Type, in command: String) throws -> SubmitOptions {
    let (options, ignored) = try self.options(for: type)
    if let executor, executor.name != type.name || !ignored.isEmpty {
      let effect =
        "\(ignored.joined(separator: ", ")) \(ignored.count == 1 ? "has" : "have") no effect"
      let place =
        executor.name == type.name ? "" : "; '\(command)' uses \(type.name), whatever it says"
      Terminal.note(
        "note: the file says 'executor: \(executor.name)'\(place)\(ignored.isEmpty ? "" : ": \(effect)")"
      )
    }
    return options
  }
}

/// What is asked of SLURM; each option overrides the sweep file's `slurm` section.
struct SubmitArguments: ParsableArguments {
  @Option(help: "The jobs' name (the sweep's).") var jobName: String?

  @Option(
    help: .init(
      "How many run at once, over all arrays together (7); none for no limit.", valueName: "number")
  ) var maxConcurrent: ConcurrencyLimit?

  @Option(help: "Processors of a run.") var cpusPerTask: Int?
  @Option(help: "Nodes not to use, comma-separated.") var excludeNodes: String?
  @Option(help: "A job script instead of the generated one.") var jobScript: String?
  @Option(help: "A Python environment that the job script activates.") var venv: String?
  @Option(help: "The partition.") var partition: String?
  @Option(help: "The account.") var account: String?
  @Option(help: "The time limit of a run.") var time: String?
  @Option(help: "The memory of a run.") var mem: String?
  @Option(help: "Generic resources, such as gpu:1.") var gres: String?
  @Option(help: "The quality of service.") var qos: String?
  @Option(help: "Features that nodes must have.") var constraint: String?

  @Option(help: "The order in which runs start: index, reverse or shuffle.")
  var arrayOrder: SubmitOptions.ArrayOrder?

  @Option(help: "Seconds before the time limit at which runs checkpoint (120).")
  var signalSeconds: Int?

  @Option(help: "How often a run requeues itself after a checkpoint (10).") var maxRequeues: Int?

  @Option(
    help: .init(
      "Try failures of a cause again, such as oom:2:mem*1.5, timeout:1:time*2, node:3, failed:1.",
      valueName: "rule"))
  var retry: [String] = []

  @Option(
    parsing: .unconditionalSingleValue,
    help: .init("A further argument of sbatch, as it is.", valueName: "arg"))
  var sbatchArg: [String] = []

  @Option(help: .init("Where SLURM writes output (slurm_logs).", valueName: "dir"))
  var logDir: String?

  @Option(help: .init("The program to run instead of the sweep's.", valueName: "path"))
  var program: String?

  @OptionGroup var strictness: StrictArguments

  /// The options given that only an executor elsewhere heeds, by their keys.
  private var given: [(key: String, value: JSON)] {
    let limit = maxConcurrent.map { $0.value.map { JSON.int($0) } ?? "none" }
    return [
      ("job_name", .optional(jobName)), ("max_concurrent", limit ?? .null),
      ("cpus_per_task", .optional(cpusPerTask)), ("exclude_nodes", .optional(excludeNodes)),
      ("job_script", .optional(jobScript)), ("partition", .optional(partition)),
      ("account", .optional(account)), ("time", .optional(time)), ("mem", .optional(mem)),
      ("gres", .optional(gres)), ("qos", .optional(qos)), ("constraint", .optional(constraint)),
      ("array_order", .optional(arrayOrder?.rawValue)),
      ("signal_seconds", .optional(signalSeconds)), ("max_requeues", .optional(maxRequeues)),
      ("retry", retry.isEmpty ? .null : .array(retry.map { .string($0) })),
      ("sbatch_arg", sbatchArg.isEmpty ? .null : .array(sbatchArg.map { .string($0) })),
      ("log_dir", .optional(logDir)),
    ].filter { $0.value != .null }
  }

  func options(over base: SubmitOptions) throws -> SubmitOptions {
    var options = base
    for (key, value) in given where key != "sbatch_arg" { try options.set(key, to: value) }
    options.venv = venv ?? options.venv
    options.program = program.map { Host.find($0) ?? $0 } ?? options.program
    options.isStrict = strictness.strict || options.isStrict
    if !sbatchArg.isEmpty {
      let known = options["sbatch_args"].map { $0.arrayValue ?? [$0] } ?? []
      options["sbatch_args"] = .array(known + sbatchArg.map { .string($0) })
    }
    return options
  }

  /// The options given that have no effect on this machine.
  var givenElsewhere: [String] { given.map { Configuration.option(for: $0.key) } }

  func validate() throws {
    for (name, value) in [("--cpus-per-task", cpusPerTask), ("--signal-seconds", signalSeconds)] {
      if let value, value < 1 { throw ValidationError("\(name) \(value): at least 1") }
    }
    if let time, Duration(clock: time) == nil {
      throw ValidationError("--time is '\(time)'; expected \(Duration.clockForm)")
    }
    if let mem, Memory(mem) == nil {
      throw ValidationError("--mem is '\(mem)'; expected \(Memory.form)")
    }
    if let signalSeconds, signalSeconds > 65_535 {
      throw ValidationError(
        "--signal-seconds is \(signalSeconds); expected a number from 1 to 65535")
    }
    do {
      for rule in retry { _ = try RetryRule(parsing: rule) }
    } catch { throw ValidationError("\(error)") }
    if let maxRequeues, maxRequeues < 0 {
      throw ValidationError("--max-requeues \(maxRequeues): not negative")
    }
  }
}

struct ConcurrencyLimit: ExpressibleByArgument {
  let value: Int?

  init?(argument: String) {
    guard let limit = SubmitOptions.concurrency(argument) else { return nil }
    value = limit
  }
}
