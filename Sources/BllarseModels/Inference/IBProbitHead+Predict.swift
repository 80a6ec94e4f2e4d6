public import BllarseNumerics

/// Which loss, and with it which logits, a probit head computes; numbered as in the Python original.
public enum ProbitLoss: Int, Sendable, Equatable, CaseIterable {
  /// The sum over classes of the binary cross-entropies of `sigmoid(β·logit)`; logits are `X·mu`.
  case binaryCrossEntropies = 0
  /// Category from binary marginals (CBM): logits `log Φ(a)`.
  case marginals = 1
  /// Category from binary conditionals (CBC): logits `log Φ(a) - log Φ(-a)`.
  case conditionals = 2
  /// The cross-entropy of the equal mixture of CBM and CBC; the logits are those of CBC.
  case mixture = 3
}

private let naturalLogarithmOf2 = 0.693_147_180_559_945_3

extension IBProbitHead {
  /// Losses and logits of a set of rows.
  public struct LossesAndLogits: Sendable {
    /// One loss a row, in nats.
    public var losses: [Double]
    /// N x K, as the loss defines them; multiplied by the inverse temperature they are the logarithms
    /// of unnormalised class probabilities.
    public var logits: Matrix<Scalar>
  }

  /// The probit arguments `a = X·mu` of a set of rows, N x K: the plug-in of the posterior mean.
  ///
  /// - Parameter features: N x featureCount, finite.
  /// - Returns: N x K.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width, `notPositiveDefinite` if rounding
  ///   made the precision indefinite.
  public func arguments(_ features: FeatureMatrix) throws(NumericsError) -> Matrix<Scalar> {
    try design(features).multiplied(by: try mean(), parallelism: parallelism)
  }

  /// Losses and logits as the Python original computes them.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - loss: which of the four.
  /// - Returns: one loss a row, and the logits (not yet multiplied by the inverse temperature).
  /// - Throws: `NumericsError` for labels or rows of another width that cannot be, `notPositiveDefinite` if rounding
  ///   made the precision indefinite.
  @specialized(where Scalar == Float)
  public func lossesAndLogits(
    features: FeatureMatrix, labels: [Int32], loss: ProbitLoss
  ) throws(NumericsError) -> LossesAndLogits {
    try TrainingRows.matchLabels(
      labels, rowCount: features.rowCount, classCount: configuration.classCount)
    let arguments = try arguments(features)
    let form = configuration.cdfForm
    switch loss {
    case .binaryCrossEntropies:
      return LossesAndLogits(
        losses: binaryCrossEntropies(arguments, labels), logits: arguments)
    case .marginals:
      let logits = form.logMarginals(arguments)
      return LossesAndLogits(losses: crossEntropies(logits, labels), logits: logits)
    case .conditionals:
      let logits = form.logOdds(arguments)
      return LossesAndLogits(losses: crossEntropies(logits, labels), logits: logits)
    case .mixture:
      let marginal = crossEntropies(form.logMarginals(arguments), labels)
      let logits = form.logOdds(arguments)
      let conditional = crossEntropies(logits, labels)
      // -log((exp(-m) + exp(-c)) / 2), without leaving the logarithmic scale.
      let losses = zip(marginal, conditional).map { m, c in
        m - SpecialFunctions.softplus(m - c) + naturalLogarithmOf2
      }
      return LossesAndLogits(losses: losses, logits: logits)
    }
  }

  /// The logarithms of the plug-in predictive probabilities of the equal mixture of CBM and CBC.
  ///
  /// - Parameter features: N x featureCount, finite.
  /// - Returns: N x K; the exponentials of a row sum to 1.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width, `notPositiveDefinite` if rounding
  ///   made the precision indefinite.
  @specialized(where Scalar == Float)
  public func logProbabilities(_ features: FeatureMatrix) throws(NumericsError) -> Matrix<Scalar> {
    let arguments = try arguments(features)
    let form = configuration.cdfForm
    let beta = Scalar(inverseTemperature)
    var marginal = form.logMarginals(arguments)
    var conditional = form.logOdds(arguments)
    marginal.scale(by: beta)
    conditional.scale(by: beta)
    marginal.formLogSoftmaxRows()
    conditional.formLogSoftmaxRows()
    // log((exp(m) + exp(c)) / 2)
    return marginal.combined(with: conditional) { m, c in
      Scalar(Double(c) + SpecialFunctions.softplus(Double(m) - Double(c)) - naturalLogarithmOf2)
    }
  }

  private func binaryCrossEntropies(_ arguments: Matrix<Scalar>, _ labels: [Int32]) -> [Double] {
    labels.indices.map { row in
      arguments.withRow(row) { values in
        var sum = 0.0
        for column in values.indices {
          sum += SpecialFunctions.softplus(inverseTemperature * Double(values[column]))
        }
        return sum - inverseTemperature * Double(values[Int(labels[row])])
      }
    }
  }

  private func crossEntropies(_ logits: Matrix<Scalar>, _ labels: [Int32]) -> [Double] {
    var scaled = logits
    if inverseTemperature != 1 { scaled.scale(by: Scalar(inverseTemperature)) }
    scaled.formLogSoftmaxRows()
    return labels.indices.map { -Double(scaled[$0, Int(labels[$0])]) }
  }
}

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
      let (gradient, curvature) = logits.temperatureDerivatives(labels, beta)
      beta = min(max(beta - 0.25 * gradient / (curvature + 1e-8), 0.01), 100)
    }
    inverseTemperature = beta
    return beta
  }
}
