public import ArgumentParser
public import BllarseCore

extension PosteriorKind: ExpressibleByArgument {}
extension FeatureScaling: ExpressibleByArgument {}

/// What the default recipe leaves to the data, and what is given: the head softmax, and IBProbit to its
/// optimum.
struct RecipeOptions: ParsableArguments {
  @Option(
    help: """
      The prior precision of the weights: folds (one, by the log score of rows left out in folds), \
      evidence (one, the most probable), evidence-per-class, ard (one a feature), or a number. (default: \
      folds for softmax and a converged IBProbit, 1 otherwise)
      """)
  var prior: String?

  @Option(
    help: """
      The covariance behind predictions: kronecker, meanfield, laplace-shared, laplace, laplace-diag. \
      (default: kronecker; laplace with --prior evidence-per-class)
      """)
  var posterior: PosteriorKind?

  @Option(
    help: """
      The scaling of the features: columns (each of variance 1), global (one factor for all), rows (each \
      row of mean 0 and variance 1 before). (default: columns, unless another predicts left-out rows plainly better)
      """)
  var scaling: FeatureScaling?

  @Flag(
    help: """
      Fit IBProbit as the Python original does, in every respect: layer-normalised rows, prior precision 1, posterior \
      means, likelihoods of the mixture and accuracy of CBC; --update is merge unless given.
      """)
  var parity = false

  @Option(help: "Features of rows that belong to no class: how well uncertainty tells them apart.")
  var ood: String?

  private var parsedPrior: EvidencePrior? { prior.flatMap(EvidencePrior.init) }

  func check() throws {
    if let prior, parsedPrior == nil {
      throw ValidationError(
        "--prior is '\(prior)'; expected folds, evidence, evidence-per-class, ard or a positive number"
      )
    }
  }

  /// Refuses a prior that is left to the data where it has to be a number; to be called when the head and
  /// the update are known.
  func check(_ configuration: RunConfiguration) throws {
    guard let parsedPrior, !parsedPrior.isNumber, configuration.uses(.prior),
      !configuration.fitsEvidenceHead
    else { return }
    throw ValidationError(
      "--prior \(parsedPrior) does not go with \(configuration.method): it is for softmax, and for the "
        + "converged fit of IBProbit without --parity; give a number")
  }

  func apply(to configuration: inout RunConfiguration) {
    if let parsedPrior {
      configuration.evidence.prior = parsedPrior
      if case .fixed(let value) = parsedPrior { configuration.priorPrecision = value }
    }
    configuration.evidence.posterior = posterior
    if let scaling { configuration.evidence.scaling = scaling }
    configuration.evidence.matchesReference = parity
    configuration.evidence.outOfDistributionPath = ood
  }
}

extension EvidencePrior {
  fileprivate var isNumber: Bool { if case .fixed = self { true } else { false } }
}
