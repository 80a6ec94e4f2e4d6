import ArgumentParser
import BllarseCore

/// `bllarse-finetune evaluate`: the scores of a stored head.
struct Evaluate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Scores a stored head on every labelled split of a data set.",
    discussion: """
      Prints a table of acc, nll, ece and brier. With --output DIR the same scores are written to \
      DIR/evaluation.json, by split.
      """)

  @Option(help: "The head: a head.safetensors that a run wrote.") var head: String

  @OptionGroup(title: OptionInfo.Group.data.rawValue) var data: DeclaredOptions<DataList>
  @OptionGroup(title: OptionInfo.Group.running.rawValue) var running: DeclaredOptions<RunningList>

  private func configuration() throws -> RunConfiguration {
    let given = GivenOptions([data.given, running.given])
    return try asValidation { try RunConfiguration(scoring: given, defaults: .environment) }
  }

  func validate() throws { _ = try configuration() }

  func run() throws {
    let configuration = try configuration()
    if running.given.hasOtherDevice { Terminal().runDidNote(RunConfiguration.deviceNote) }
    try reportingErrors {
      let evaluation = HeadEvaluation(checkpoint: head, configuration)
      let scores = try evaluation.run(note: Terminal().runDidNote)
      try evaluation.write(scores)
      Terminal().show(scores)
    }
  }
}
