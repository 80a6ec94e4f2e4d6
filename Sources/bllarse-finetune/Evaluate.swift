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

  @Option(help: "The head: a head.safetensors that a run wrote.")
  var head: String

  @OptionGroup(title: "Data") var data: DataOptions
  @OptionGroup(title: "Running") var running: RunningOptions

  func validate() throws {
    try data.check(needsBackbone: false)
    let given: [(name: String, isGiven: Bool)] = [
      ("--resume", running.resume != nil), ("--overwrite", running.overwrite),
      ("--save-every", running.saveEvery != nil),
      ("--reinitialize", data.backbone.reinitialize),
    ]
    if let name = given.first(where: \.isGiven)?.name {
      throw ValidationError("\(name) is for runs; a stored head is only scored")
    }
  }

  func run() throws {
    var configuration = RunConfiguration()
    data.apply(to: &configuration)
    running.apply(to: &configuration)
    if let note = running.deviceNote { Terminal().runDidNote(note) }
    try reportingErrors {
      let evaluation = HeadEvaluation(checkpoint: head, configuration)
      let scores = try evaluation.run(note: Terminal().runDidNote)
      try evaluation.write(scores)
      Terminal().show(scores)
    }
  }
}
