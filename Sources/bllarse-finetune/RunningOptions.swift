import ArgumentParser
import BllarseCore
import Foundation

/// How and where a run works.
struct RunningOptions: ParsableArguments {
  @Option(help: "The directory for result.json, metrics.jsonl and head.safetensors.")
  var output: String?

  @Option(help: "The number of threads. (default: SLURM_CPUS_PER_TASK, or all that are allowed)")
  var threads: Int?

  @Option(help: "cpu; gpu is accepted with a warning, so that old sweep files run.")
  var device = "cpu"

  func validate() throws {
    if let threads, threads < 1 { throw ValidationError("--threads must be at least 1") }
    guard ["cpu", "gpu", "cuda"].contains(device) else {
      throw ValidationError("--device is '\(device)'; expected cpu")
    }
  }

  func apply(to configuration: inout RunConfiguration) {
    let environment = ProcessInfo.processInfo.environment
    configuration.threadCount = Self.threadCount(threads)
    configuration.outputPath = output
    configuration.resourcesPath = environment["BLLARSE_RESOURCES"]
    if device != "cpu" {
      Terminal().runDidNote("--device \(device) is ignored: everything runs on the CPU")
    }
  }

  /// The number of threads: what is given, else what SLURM granted, else `nil`.
  static func threadCount(_ given: Int?) -> Int? {
    given ?? ProcessInfo.processInfo.environment["SLURM_CPUS_PER_TASK"].flatMap { Int($0) }
  }
}
