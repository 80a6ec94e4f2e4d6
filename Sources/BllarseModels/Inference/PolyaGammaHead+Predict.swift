public import BllarseNumerics

extension PolyaGammaHead {
  /// The logits of the questions at the posterior mean, `f = X·m`.
  ///
  /// - Parameter features: N x featureCount, finite.
  /// - Returns: N x C.
  /// - Throws: `NumericsError` for labels that cannot be or rows of another width, `notPositiveDefinite` if
  ///   rounding made a precision indefinite.
  public func logits(_ features: FeatureMatrix) throws(NumericsError) -> Matrix<Double> {
    let mean = try mean()
    let design = try design(features)
    var result = Matrix<Double>.zeros(features.rowCount, configuration.columnCount)
    for column in 0..<configuration.columnCount {
      let values = design.multiplied(by: mean.column(column), parallelism: parallelism)
      result.replaceBlock(
        row: 0, column: column,
        with: Matrix(rows: values.count, columns: 1, elements: values))
    }
    return result
  }

  /// The variances of the logits, `v = xᵀP⁻¹x`.
  ///
  /// - Parameter features: N x featureCount, finite.
  /// - Returns: N x C.
  /// - Throws: `NumericsError` for labels that cannot be or rows of another width, `notPositiveDefinite` if
  ///   rounding made a precision indefinite.
  public func logitVariances(_ features: FeatureMatrix) throws(NumericsError) -> Matrix<Double> {
    var design = try design(features)
    design.makeResident(limit: residentDesignLimit, parallelism: parallelism)
    var result = Matrix<Double>.zeros(features.rowCount, configuration.columnCount)
    for (column, precision) in precisions.enumerated() {
      let cholesky = try parallelism.withBLAS { () throws(NumericsError) in
        try Cholesky(precision)
      }
      let values = design.quadraticForms(cholesky, parallelism: parallelism)
      result.replaceBlock(
        row: 0, column: column,
        with: Matrix(rows: values.count, columns: 1, elements: values))
    }
    return result
  }

  /// The logits `g = f / sqrt(1 + π·v/8)`, for which `σ(g)` is close to the mean of `σ` over the
  /// posterior.
  ///
  /// - Note: Source: MacKay (1992), "The evidence framework applied to classification networks".
  package func moderatedLogits(_ features: FeatureMatrix) throws(NumericsError) -> Matrix<Double> {
    try logits(features).combined(with: try logitVariances(features)) { f, v in
      f / (1 + 0.125 * Double.pi * v).squareRoot()
    }
  }
}

// MARK: - One against the rest

extension PolyaGammaHead where Coding == OneAgainstRest {
  /// Losses and logits of a set of rows, as the Python original computes them: those of the probit head
  /// with the logistic function in place of the normal one.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - loss: which of the four.
  /// - Returns: one loss a row, in nats, and logits (N x K): `log σ(f)` for the marginals, else `f`.
  /// - Throws: `NumericsError` for labels that cannot be or rows of another width, `notPositiveDefinite` if
  ///   rounding made a precision indefinite.
  public func lossesAndLogits(
    features: FeatureMatrix, labels: [Int32], loss: ProbitLoss
  ) throws(NumericsError) -> (losses: [Double], logits: Matrix<Double>) {
    try TrainingRows.matchLabels(
      labels, rowCount: features.rowCount, classCount: configuration.classCount)
    let logits = try logits(features)
    switch loss {
    case .binaryCrossEntropies:
      let losses = labels.indices.map { row in
        logits.row(row).reduce(-logits[row, Int(labels[row])]) { sum, logit in
          sum + SpecialFunctions.softplus(logit)
        }
      }
      return (losses, logits)
    case .marginals:
      let marginals = logits.map { -SpecialFunctions.softplus(-$0) }
      return (crossEntropies(marginals, labels), marginals)
    case .conditionals:
      return (crossEntropies(logits, labels), logits)
    case .mixture:
      let log = Self.mixture(logits)
      return (labels.indices.map { -log[$0, Int(labels[$0])] }, logits)
    }
  }

  /// The logarithm of the equal mixture of `σ(f_k)` normalised over the classes and softmax(f).
  package static func mixture(_ logits: Matrix<Double>) -> Matrix<Double> {
    var marginal = logits.map { -SpecialFunctions.softplus(-$0) }
    var conditional = logits
    marginal.formLogSoftmaxRows()
    conditional.formLogSoftmaxRows()
    return marginal.combined(with: conditional) { m, c in
      c + SpecialFunctions.softplus(m - c) - SpecialFunctions.softplus(0)
    }
  }

  private func crossEntropies(_ logits: Matrix<Double>, _ labels: [Int32]) -> [Double] {
    var log = logits
    log.formLogSoftmaxRows()
    return labels.indices.map { -log[$0, Int(labels[$0])] }
  }
}

// MARK: - Stick-breaking

/// Which loss, and with it which logits, a stick-breaking head computes; numbered as in the Python
/// original.
public enum StickBreakingLoss: Int, Sendable, Equatable, CaseIterable {
  /// The negative logarithm of the class's probability at the posterior mean.
  case plugIn = 0
  /// The negative of a lower bound on its posterior mean (that of Jaakkola and Jordan).
  case expectedBound = 1
}

extension PolyaGammaHead where Coding == StickBreaking {
  /// Losses and logits of a set of rows, as the Python original computes them.
  ///
  ///     logit_k = f_k - Σ_{j ≤ k} s_j  (k < K),   logit_K = -Σ_j s_j
  ///
  /// with `s = log(1 + e^f)` for the plug-in, and its upper bound `f/2 + c/2 + log(1 + e^-c)`,
  /// `c = sqrt(f² + v)`, for the expectation.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - loss: which of the two.
  /// - Returns: one loss a row, in nats, and logits (N x K).
  /// - Throws: `NumericsError` for labels that cannot be or rows of another width, `notPositiveDefinite` if
  ///   rounding made a precision indefinite.
  public func lossesAndLogits(
    features: FeatureMatrix, labels: [Int32], loss: StickBreakingLoss
  ) throws(NumericsError) -> (losses: [Double], logits: Matrix<Double>) {
    try TrainingRows.matchLabels(
      labels, rowCount: features.rowCount, classCount: configuration.classCount)
    let means = try logits(features)
    let variances =
      loss == .plugIn
      ? Matrix<Double>.zeros(means.rowCount, means.columnCount) : try logitVariances(features)
    let logits = Self.stickLogits(means, variances)
    return (labels.indices.map { -logits[$0, Int(labels[$0])] }, logits)
  }

  /// The logits of the classes from the questions' means and variances, N x C each.
  package static func stickLogits(
    _ means: Matrix<Double>, _ variances: Matrix<Double>
  ) -> Matrix<Double> {
    let columns = means.columnCount
    var result = Matrix<Double>.zeros(means.rowCount, columns + 1)
    for row in 0..<means.rowCount {
      var rest = 0.0  // the logarithm of what is left of the stick
      for column in 0..<columns {
        let (f, v) = (means[row, column], variances[row, column])
        let c = (f * f + v).squareRoot()
        rest -= 0.5 * (f + c) + SpecialFunctions.softplus(-c)
        result[row, column] = f + rest
      }
      result[row, columns] = rest
    }
    return result
  }
}
