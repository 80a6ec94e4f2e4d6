import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension EvidenceRecipe {
  /// Factors of the most probable prior precision, for fits beside it.
  static var precisionFactors: [Double] { [0.2, 5] }

  /// `1/(1 + exp(-1.702·f))` is nearest to Φ(f).
  private static var logisticScale: Double { 1.702 }

  /// Fits the best scaling in other ways.
  ///
  /// The evidence of a prior precision is right only for weights that come from that prior: where few
  /// features matter, or the classes lie far apart, the leave-one-out predictions prefer another. And two
  /// classes may have a logistic link as well as a probit. So the best scaling is fitted with the other
  /// link too, and with a smaller and a larger precision; the leave-one-out predictions weight what comes
  /// out, the other precisions with a handicap, as they have the evidence against them.
  ///
  /// - Parameter outcome: what the scalings gave.
  /// - Throws: `NumericsError` when rounding makes a precision indefinite.
  func addAlternatives(to outcome: inout Outcome) throws(NumericsError) {
    guard configuration.prior == .evidence, let best = outcome.best else { return }
    var center = outcome.members[best.member]
    var design = outcome.bestDesign
    if design == nil {
      design = try ScaledDesign<Scalar>(features, center.scaling, parallelism: parallelism)
    }
    guard let scaled = design else { return }
    func add(
      _ likelihood: EvidenceLikelihood, _ precision: Double, from weights: Matrix<Double>?,
      logPrior: Double
    ) throws(NumericsError) {
      var configuration = configuration
      configuration.prior = .fixed(precision)
      let fit = try fit(scaled, likelihood, configuration, from: 0, warmWeights: weights)
      self.add(fit, logPrior: logPrior, to: &outcome)
    }
    if configuration.likelihood == nil, likelihood == .probit {
      // Two logits, w and -w: the precision of each is twice that of their difference.
      let precision = 2 * center.priorPrecision / (Self.logisticScale * Self.logisticScale)
      try add(.softmax, precision, from: nil, logPrior: 0)
      center = outcome.members[outcome.best?.member ?? best.member]
    }
    for factor in Self.precisionFactors {
      try add(
        center.likelihood, center.priorPrecision * factor, from: center.weights,
        logPrior: -Self.handicap)
    }
  }
}
