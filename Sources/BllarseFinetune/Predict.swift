import ArgumentParser
import BllarseCore

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

struct Predict: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract:
      "Writes class probabilities, or target values, with their uncertainty for rows of features.",
    discussion: """
      Of a head that predicts classes, the output is a safetensors file with probabilities and logits (rows x classes), predicted, and one \
      number a row: max_probability, entropy and, of a head of the default recipe, energy and leverage; with \
      --mutual-information also mutual_information and aleatoric, which add up to the entropy. With the ending \
      .csv it is a table with the same columns. Of a head that predicts target values, it is predicted, sd, \
      lower and upper (rows x targets), with scale and degrees_of_freedom of their Student-t distributions.
      """)

  @Option(help: "The head: a head.safetensors that a run wrote.") var head: String

  @Option(help: "The features: what --features of a run takes; labels are not needed.")
  var features: String

  @Option(help: "The split of the features to predict. (default: test, or the first there is)")
  var split: String?

  @Option(help: "The file to write: .safetensors or .csv.") var out: String

  @Flag(
    help: """
      Split the entropy by draws of the weights into mutual_information (what more training rows would tell) \
      and aleatoric (what they would not). Takes up to ten times as long; a head of the default recipe only.
      """)
  var mutualInformation = false

  @Option(help: "The probability of the intervals for target values. (default: 0.9)")
  var level: Double?

  @OptionGroup var running: DeclaredOptions<ThreadsList>

  private func threadCount() throws -> Int? {
    try asValidation { try RunConfiguration(scoring: running.given, defaults: .environment) }
      .threadCount
  }

  func validate() throws {
    _ = try threadCount()
    guard out.hasSuffix(".safetensors") || out.hasSuffix(".csv") else {
      throw ValidationError("--out is '\(out)'; expected a name that ends in .safetensors or .csv")
    }
    if let level, !(level > 0 && level < 1) {
      throw ValidationError("--level is '\(level)'; expected a number above 0 and below 1")
    }
  }

  func run() throws {
    try reportingErrors {
      let rows = try HeadPrediction(
        checkpoint: head, featuresPath: features, split: split, splitsEntropy: mutualInformation,
        level: level, threadCount: threadCount()
      ).write(to: out, note: Terminal().runDidNote)
      print("\(rows) rows written to \(out)")
    }
  }
}
