import ArgumentParser
import BllarseCore

/// `bllarse-finetune evaluate`: the scores of a stored head.
struct Evaluate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Scores a stored head on the test split of a data set.")

  @Option(help: "The head: a head.safetensors that a run wrote.")
  var head: String

  @OptionGroup(title: "Data") var data: DataOptions
  @OptionGroup(title: "Running") var running: RunningOptions

  func validate() throws { try data.check(needsBackbone: false) }

  func run() throws {
    var configuration = RunConfiguration()
    data.apply(to: &configuration)
    running.apply(to: &configuration)
    try reportingErrors {
      let evaluation = HeadEvaluation(checkpoint: head, configuration)
      let scores = try evaluation.run()
      try evaluation.write(scores)
      Terminal().show(scores)
    }
  }
}
