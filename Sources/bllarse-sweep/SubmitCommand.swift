import ArgumentParser
import BllarseSweep

struct SubmitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "submit", abstract: "Submits a sweep to SLURM as job arrays, and returns.")

  @OptionGroup var sweep: SweepArguments
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
    let frozen = try FrozenSweep(sweep, program: slurm.program, dryRun: dryRun, force: extend)
    let directory = frozen.directory
    let count = directory.manifest.count
    guard indexOffset < count else {
      throw SweepError(
        .usage, "--index-offset \(indexOffset): the sweep has \(count) configurations")
    }
    let end = min(count, indexOffset + (numJobs ?? count))
    let statuses = try StatusReader(directory).all()
    let sorted = Selection.sort(
      frozen.selected.filter { (indexOffset..<end).contains($0) }, statuses)
    Terminal.note(sorted.summary)
    guard !sorted.toRun.isEmpty else { return }
    var defaults = SubmitOptions()
    try defaults.apply(directory.slurm, file: directory.source)
    try Submission(
      directory: directory, options: try slurm.options(over: defaults), tracking: tracking,
      dryRun: dryRun
    ).submit(sorted.toRun)
  }
}

/// One call of sbatch a chunk, with its parent run, told to the user.
struct Submission {
  let directory: SweepDirectory
  let options: SubmitOptions
  let tracking: TrackingArguments
  let dryRun: Bool
  var cause: FailureCause?
  var parent: String?

  func submit(_ indices: [Int]) throws {
    let submitter = Submitter(directory)
    var plan = try submitter.plan(indices, options: options)
    plan.cause = cause
    plan.notes.forEach { Terminal.note($0) }
    if dryRun {
      Terminal.write(try submitter.describe(plan))
    } else if !plan.chunks.chunks.isEmpty {
      plan.parentRun =
        if let parent { parent } else {
          try tracking.parent(
            of: indices, in: directory, total: directory.manifest.count)
        }
      _ = try submitter.submit(plan) { chunk, job in
        print("job \(job): configurations \(Chunk.ranges(chunk.indices.sorted()))")
      }
    }
    if !plan.deferred.isEmpty {
      Terminal.note(
        "\(plan.deferred.count) configurations are left: \(plan.limitName) allows no more now; call the same command again when some have ended"
      )
    }
  }
}
