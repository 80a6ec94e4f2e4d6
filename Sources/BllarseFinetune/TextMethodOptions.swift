public import ArgumentParser
public import BllarseCore

extension TextTask.Optimizer: ExpressibleByArgument {}

/// How a head is fitted to text features: the names of the Python original's text script.
struct TextMethodOptions: ParsableArguments {
  @Option(
    help: """
      cavi (IBProbit in closed form, each batch alone, then merged), or softmax regression by steps of \
      adam, adamw or lion.
      """)
  var optimizer = TextTask.Optimizer.cavi

  @Option(name: [.customShort("e"), .long], help: "Passes over the training rows.")
  var epochs = 1

  @Option(help: "Rows of a batch.")
  var trainBatchSize = 1024

  @Option(help: "cavi: coordinate-ascent iterations of a batch. (default: 16)")
  var numUpdateIters: Int?

  @Option(
    help:
      "cavi: the fraction of what it knew that the posterior forgets with each batch. (default: 1e-3)"
  )
  var ibprobitAlpha: Double?

  @Flag(help: "cavi: return the posterior to the prior at the start of each epoch.")
  var resetLossPerEpoch = false

  @Option(help: "adam, adamw, lion: the learning rate. (default: 1e-3)")
  var learningRate: Double?

  @Option(help: "adamw, lion: the weight decay, of all weights but the biases. (default: 1e-2)")
  var weightDecay: Double?

  @Option(help: "adam, adamw, lion: the share of features that a step leaves out. (default: 0)")
  var dropoutRate: Double?

  @Option(help: "The seed of everything random, from 0 to 2^64 - 1.")
  var seed: UInt64 = 0

  func check() throws {
    let range = "a number from 1 to \(countRange.upperBound)"
    try requireRange("--epochs", epochs, range, countRange.contains)
    try requireRange("--train-batch-size", trainBatchSize, range, countRange.contains)
    let least = optimizer == .cavi ? 1 : 0
    try requireRange(
      "--num-update-iters", numUpdateIters,
      "a number from \(least) to \(countRange.upperBound) for --optimizer \(optimizer.rawValue)"
    ) { least...countRange.upperBound ~= $0 }
    try requireRange("--ibprobit-alpha", ibprobitAlpha, "a number above 0 and at most 1") {
      $0 > 0 && $0 <= 1
    }
    try requireRange("--learning-rate", learningRate, "a number above 0") {
      $0 > 0 && $0.isFinite
    }
    try requireRange("--weight-decay", weightDecay, "a number from 0") { $0 >= 0 && $0.isFinite }
    try requireRange("--dropout-rate", dropoutRate, "a number from 0 to 0.99") { 0...0.99 ~= $0 }
  }

  /// What the user should know about options that change nothing; grids cross them with all optimisers.
  var notes: [String] {
    func notes(_ reason: String, _ options: [(name: String, isGiven: Bool)]) -> [String] {
      options.filter(\.isGiven).map { "\($0.name) has no effect here: \(reason)" }
    }
    // A decay, a dropout or iterations of 0 say what is the case.
    let decays = weightDecay ?? 0 != 0
    guard optimizer != .cavi else {
      return notes(
        "cavi is fitted in closed form",
        [
          ("--learning-rate", learningRate != nil), ("--weight-decay", decays),
          ("--dropout-rate", dropoutRate ?? 0 != 0),
        ])
    }
    return notes(
      "\(optimizer.rawValue) takes steps",
      [
        ("--num-update-iters", numUpdateIters ?? 0 != 0),
        ("--ibprobit-alpha", ibprobitAlpha != nil),
        ("--reset-loss-per-epoch", resetLossPerEpoch),
      ]) + notes("adam has no weight decay", [("--weight-decay", optimizer == .adam && decays)])
  }

  func apply(to configuration: inout RunConfiguration) {
    configuration.epochs = epochs
    configuration.seed = seed
    var chosen =
      optimizer == .cavi ? Method("IBProbit", "merge") : Method("CrossEntropy", optimizer.rawValue)
    chosen[FitOptions.batchSize] = trainBatchSize
    if let numUpdateIters { chosen[FitOptions.updateIterations] = numUpdateIters }
    if let ibprobitAlpha { chosen[FitOptions.forgettingRate] = ibprobitAlpha }
    chosen[FitOptions.resetLossPerEpoch] = resetLossPerEpoch
    if let learningRate { chosen[FitOptions.learningRate] = learningRate }
    if let weightDecay { chosen[FitOptions.weightDecay] = weightDecay }
    if let dropoutRate { chosen[FitOptions.dropout] = dropoutRate }
    chosen[FitOptions.decaysBiases] = false
    configuration.method = chosen
  }
}
