import ArgumentParser
import BllarseCore
import BllarseMLflow

/// Fits the Bayesian last layer of a neural network on frozen features.
@main
struct Finetune: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bllarse-finetune",
    abstract: "Fits the Bayesian last layer of a neural network on frozen features.",
    version: Versions.bllarse,
    subcommands: [Train.self, Text.self, Evaluate.self, Predict.self],
    defaultSubcommand: Train.self)

  static func main() {
    for note in EnvironmentFiles.load() { Terminal().runDidNote(note) }
    main(nil)
  }
}
