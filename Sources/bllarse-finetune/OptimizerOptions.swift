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
      or ivon. Heads fitted in closed form need none. cavi is --loss-fn IBProbit --update merge. (default: \
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
    func require(_ condition: Bool?, _ message: String) throws {
      if condition == false { throw ValidationError(message) }
    }
    try require(l2.map { $0 > 0 && $0.isFinite }, "--l2 must be a positive number")
    try require(learningRate.map { $0 > 0 && $0.isFinite }, "--learning-rate must be positive")
    try require(weightDecay.map { $0 >= 0 && $0.isFinite }, "--weight-decay must be at least 0")
    try require(labelSmooth.map { 0..<1 ~= $0 }, "--label-smooth must be at least 0 and below 1")
    try require(
      dropout.map { 0...0.99 ~= $0 }, "--dropout must be at least 0 and at most 0.99")
    try require(mcSamples.map { 1...65536 ~= $0 }, "--mc-samples must be at least 1")
    try require(ivonPeakLr.map { $0 > 0 && $0.isFinite }, "--ivon-peak-lr must be positive")
    try require(
      ivonWeightDecay.map { $0 >= 0 && $0.isFinite }, "--ivon-weight-decay must be at least 0")
    try require(ivonHessInit.map { $0 > 0 && $0.isFinite }, "--ivon-hess-init must be positive")
    try require(ivonB2.map { 0..<1 ~= $0 }, "--ivon-b2 must be at least 0 and below 1")
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
