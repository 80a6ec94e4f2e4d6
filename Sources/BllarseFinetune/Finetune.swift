import ArgumentParser
import BllarseCore
import BllarseMLflow
import BllarseNumerics
import BllarseStartup
import Foundation

/// The program `bllarse-finetune`, for those who add heads to it.
///
/// A program of a package of its own registers them first:
///
///     HeadRegistry.register(.nearestMean)
///     FinetuneProgram.main()
public enum FinetuneProgram {
  /// Runs the command line of the process, and ends it.
  public static func main() { Finetune.main() }
}

/// Fits the Bayesian last layer of a neural network on frozen features.
struct Finetune: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bllarse-finetune",
    abstract: "Fits the Bayesian last layer of a neural network on frozen features.",
    version: Versions.bllarse,
    subcommands: [Train.self, Text.self, Evaluate.self, Predict.self, Check.self],
    defaultSubcommand: Train.self)

  /// Takes the environment's files, reads older spellings as present ones, parses, and runs.
  static func main() {
    bllarse_report_exhausted_memory("bllarse-finetune")
    AllocationFailure.handle { message in
      FileHandle.standardError.write(Data("bllarse-finetune: error: \(message)\n".utf8))
      _exit(1)
    }
    for note in EnvironmentFiles.load() { Terminal().runDidNote(note) }
    if let note = OptionDefaults.grantNote { Terminal().runDidNote(note) }
    do {
      let line = try CommandLineWords(CommandLine.arguments.dropFirst())
      // Before any refusal, which names options by their present spelling.
      for note in line.notes { Terminal().runDidNote(note) }
      var command = try parseAsRoot(line.words)
      try command.run()
    } catch {
      exit(withError: error)
    }
  }
}
