import ArgumentParser
import BllarseCore

/// How and where a run works.
struct RunningOptions: ParsableArguments {
  @Option(help: "The directory for result.json, metrics.jsonl and head.safetensors.")
  var output: String?

  @Flag(
    help: """
      Replace what a run of something else left in the output directory, which is refused otherwise.
      """)
  var overwrite = false

  @Option(help: "Epochs between checkpoints of a run with --output. (default: 10)")
  var saveEvery: Int?

  @Option(
    help: """
      Go on from the checkpoint in this output directory, with the options of the first start; from the \
      beginning if the run had not come to a checkpoint.
      """)
  var resume: String?

  @Option(
    help: """
      The number of threads; fewer are used, with a note, where memory is limited or there are more than \
      64 and than processors. (default: SLURM_CPUS_PER_TASK, or all that are allowed)
      """)
  var threads: Int?

  @Option(help: "cpu; gpu is accepted with a warning, so that old sweep files run.")
  var device: String?

  func validate() throws {
    try Self.check(threads)
    try requireRange("--save-every", saveEvery, "a number from 1") { $0 >= 1 }
    if let resume, let output, resume != output {
      throw ValidationError(
        "--resume \(resume) and --output \(output) differ; a run goes on in its own directory")
    }
    if let device, !["cpu", "gpu", "cuda"].contains(device) {
      throw ValidationError("--device is '\(device)'; expected cpu")
    }
  }

  func apply(to configuration: inout RunConfiguration) {
    configuration.outputPath = resume ?? output
    configuration.overwrites = overwrite
    configuration.saveEvery = saveEvery ?? 10
    configuration.resumes = resume != nil
    // A job script that gives both starts the first time and resumes from then on.
    configuration.resumesExistingOnly = output == nil
    configuration.threadCount = Self.threadCount(threads)
    configuration.resourcesPath = EnvironmentVariable.resources.value
  }

  /// That a device other than the processor has no effect.
  var deviceNote: String? {
    guard let device, device != "cpu" else { return nil }
    return "--device has no effect here: everything runs on the CPU"
  }

  /// The number of threads: what is given, else what SLURM granted, else `nil`.
  static func threadCount(_ given: Int?) -> Int? { given ?? granted }

  /// What SLURM granted; `nil` where it says nothing that can be used.
  private static var granted: Int? {
    EnvironmentVariable.slurmProcessors.value.flatMap { Int($0) }
      .flatMap { threadCounts.contains($0) ? $0 : nil }
  }

  /// That what SLURM's variable says cannot be used.
  static var grantNote: String? {
    guard let text = EnvironmentVariable.slurmProcessors.value, granted == nil else { return nil }
    return """
      \(EnvironmentVariable.slurmProcessors.rawValue) is '\(text.prefix(40))', expected a whole number from \
      1 to \(threadCounts.upperBound); it has no effect
      """
  }

  private static let threadCounts = 1...1024

  /// Refuses a number of threads that no machine has.
  static func check(_ threads: Int?) throws {
    try requireRange(
      "--threads", threads, "a number from 1 to \(threadCounts.upperBound)", threadCounts.contains)
  }
}
