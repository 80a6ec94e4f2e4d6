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

  @Option(help: "The first configuration to submit.")
  var indexOffset = 0

  @Option(help: "How many configurations to submit, from the offset on (all).")
  var numJobs: Int?

  @Flag(help: "Add to a directory that holds another sweep of the same name.")
  var extend = false

  @Flag(help: "Print the commands and scripts, and submit nothing.")
  var dryRun = false

  func validate() throws {
    if indexOffset < 0 { throw ValidationError("--index-offset \(indexOffset): not negative") }
    if let numJobs, numJobs < 1 { throw ValidationError("--num-jobs \(numJobs): at least 1") }
  }

  func run() throws {
    var frozen = try FrozenSweep(
      sweep, overrides, program: slurm.program, venv: slurm.venv, extend: extend)
    let count = frozen.numberable
    guard indexOffset < count else {
      throw SweepError(
        .usage, "--index-offset \(indexOffset): the sweep has \(count) configurations")
    }
    let window = indexOffset..<(numJobs.map { min(count, indexOffset + $0) } ?? count)
    let chosen = Set(try frozen.indices(of: Array(window)))
    let statuses = try StatusReader(frozen.directory).all()
    let sorted = Selection.sort(frozen.selected.filter(chosen.contains), statuses)
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
  /// What the file asks of the executor that a subcommand uses, whichever it chooses; says what has no
  /// effect there.
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
