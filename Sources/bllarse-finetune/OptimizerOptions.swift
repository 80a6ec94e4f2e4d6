import ArgumentParser
import BllarseCore

/// What `--optimizer` accepts: how a classical head is fitted, or what the Python original's text
/// experiments called an optimiser.
enum OptimizerChoice: String, CaseIterable, Sendable, ExpressibleByArgument {
  case newton, adamw, adam, lion, ivon
  /// IBProbit by `--update merge`.
  case cavi

  /// The optimiser, unless it is none.
  var optimizer: RunConfiguration.Optimizer? { RunConfiguration.Optimizer(rawValue: rawValue) }
}

/// How the classical heads, CrossEntropy and MSE, are fitted: the names of the Python original.
struct OptimizerOptions: ParsableArguments {
  @Option(
    name: [.customShort("o"), .long],
    help: """
      newton (all rows, to the optimum of the penalised loss), or steps on batches by adamw, adam, lion \
      or ivon. Heads fitted in closed form need none. cavi is --head IBProbit --update merge. (default: \
      newton)
      """)
  var optimizer: OptimizerChoice?

  @Option(help: "The L2 strength of newton. (default: the one with the best evidence)")
  var l2: Double?

  @Option(
    name: [.customLong("lr", withSingleDash: true), .long],
    help: "The learning rate of adamw, adam and lion. (default: 1e-3)")
  var learningRate: Double?

  @Option(
    name: [.customLong("wd", withSingleDash: true), .long],
    help: "The weight decay of adamw and lion. (default: 1e-2)")
  var weightDecay: Double?

  @Option(
    name: [.customLong("ls", withSingleDash: true), .long],
    help: "The share of a label's weight that is spread over all classes. (default: 0)")
  var labelSmooth: Double?

  @Option(help: "The share of features that a step on a batch leaves out. (default: 0)")
  var dropout: Double?

  @Option(
    name: [.customLong("mc", withSingleDash: true), .long],
    help: "Samples of the posterior in a step of ivon. (default: 1)")
  var mcSamples: Int?

  @Option(help: "The largest learning rate of ivon's warm-up cosine schedule. (default: 1e-2)")
  var ivonPeakLr: Double?

  @Option(help: "The weight decay of ivon. (default: 1e-6)")
  var ivonWeightDecay: Double?

  @Option(help: "The curvature that ivon starts with. (default: 1)")
  var ivonHessInit: Double?

  @Option(help: "The decay of ivon's curvature. (default: 0.999)")
  var ivonB2: Double?

  func check() throws {
    for (name, value) in [
      ("--l2", l2), ("--learning-rate", learningRate), ("--ivon-peak-lr", ivonPeakLr),
      ("--ivon-hess-init", ivonHessInit),
    ] {
      try requireRange(name, value, "a number above 0") { $0 > 0 && $0.isFinite }
    }
    for (name, value) in [
      ("--weight-decay", weightDecay), ("--ivon-weight-decay", ivonWeightDecay),
    ] {
      try requireRange(name, value, "a number from 0") { $0 >= 0 && $0.isFinite }
    }
    for (name, value) in [("--label-smooth", labelSmooth), ("--ivon-b2", ivonB2)] {
      try requireRange(name, value, "a number from 0 to below 1") { 0..<1 ~= $0 }
    }
    try requireRange("--dropout", dropout, "a number from 0 to 0.99") { 0...0.99 ~= $0 }
    try requireRange("--mc-samples", mcSamples, "a number from 1 to 65536") { 1...65536 ~= $0 }
  }

  func apply(to configuration: inout RunConfiguration) {
    configuration.optimizer = optimizer?.optimizer ?? .newton
    configuration.penalty = l2
    configuration.learningRate = learningRate ?? 1e-3
    configuration.weightDecay = weightDecay ?? 1e-2
    configuration.labelSmoothing = labelSmooth ?? 0
    configuration.dropout = dropout ?? 0
    configuration.sampleCount = mcSamples ?? 1
    configuration.ivonPeakRate = ivonPeakLr ?? 1e-2
    configuration.ivonWeightDecay = ivonWeightDecay ?? 1e-6
    configuration.ivonHessInit = ivonHessInit ?? 1
    configuration.ivonBeta2 = ivonB2 ?? 0.999
  }
}
