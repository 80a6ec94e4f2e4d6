public import BllarseNumerics

extension IBProbitHead {
  /// Fits the inverse temperature to held-out rows as the Python original does.
  ///
  /// Eight damped Newton steps from 1 on the mean cross-entropy of `softmax(β·logits)`:
  ///
  ///     β ← clip(β - ¼·g / (h + 1e-8), 0.01, 100),   g = mean(E_p[f] - f_y),   h = mean(Var_p[f]).
  ///
  /// The steps stop short of the optimum (a tenth of the initial distance is left on a quadratic).
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite; not the rows that the head was fitted to.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - loss: which logits are scaled; CBC by default.
  ///   - steps: the number of damped steps.
  /// - Returns: the inverse temperature, which the head keeps.
  /// - Throws: `NumericsError` for rows or labels that cannot be, with the first of them;
  ///   `notPositiveDefinite` if rounding made the precision indefinite.
  @discardableResult
  public mutating func calibrate(
    features: FeatureMatrix, labels: [Int32], loss: ProbitLoss = .conditionals, steps: Int = 8
  ) throws(NumericsError) -> Double {
    try TrainingRows.check(
      features, labels: labels, featureCount: configuration.featureCount,
      classCount: configuration.classCount, parallelism: parallelism)
    let logits = try lossesAndLogits(features: features, labels: labels, loss: loss).logits
    var beta = 1.0
    for _ in 0..<steps {
      let (gradient, curvature) = TemperatureScaling.derivatives(logits, labels, beta)
      beta = min(max(beta - 0.25 * gradient / (curvature + 1e-8), 0.01), 100)
    }
    inverseTemperature = beta
    return beta
  }
}
