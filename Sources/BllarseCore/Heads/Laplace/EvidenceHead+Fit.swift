public import BllarseNumerics

extension EvidenceHead {
  /// Fits a head.
  ///
  /// - Parameters:
  ///   - features: N x D, finite, N at least 1.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - weights: how often each row counts, numbers that are not negative; `nil` for once.
  ///   - groups: rows of one number are left out together, as rows with equal features are.
  ///   - configuration: what is given, and what is left to the data.
  ///   - parallelism: how threads are used.
  /// - Throws: `NumericsError`: there are no rows, a label is no class, a feature is not finite, a weight is negative or
  ///   there are not as many labels, weights or groups as rows; or rounding made a precision indefinite.
  /// - Complexity: some tens of passes over the features, 4·N·D·K operations each; ten times that where rows are
  ///   few. A Gram matrix, N·D², for each scaling, and for the covariance; an eigendecomposition, 9·D³.
  public init(
    fitting features: FeatureMatrix, labels: [Int32], weights: [Double]? = nil,
    groups: [Int]? = nil, _ configuration: EvidenceConfiguration,
    parallelism: Parallelism = .available
  ) throws(NumericsError) {
    try TrainingRows.check(
      features, labels: labels, featureCount: nil, classCount: configuration.classCount,
      weights: weights, parallelism: parallelism)
    if let groups, groups.count != labels.count {
      throw .sizeMismatch(
        of: "groups", found: groups.count, expected: labels.count, reason: "one for each row")
    }
    switch configuration.likelihood {
    case .softmax:
      self = try Self.fit(
        SoftmaxPass<Float>.self, features, labels, weights, groups, configuration, parallelism)
    case .probit:
      self = try Self.fit(
        ProbitPass<Float>.self, features, labels, weights, groups, configuration, parallelism)
    }
  }

  private static func fit<Pass: LaplacePass>(
    _ type: Pass.Type, _ features: FeatureMatrix, _ labels: [Int32], _ weights: [Double]?,
    _ groups: [Int]?, _ configuration: EvidenceConfiguration, _ parallelism: Parallelism
  ) throws(NumericsError) -> EvidenceHead where Pass.Scalar == Float {
    let recipe = LaplaceRecipe<Pass>(
      features: features, labels: labels, weights: weights,
      division: RowFolds(features, groups: groups, seed: configuration.seed),
      configuration: configuration, parallelism: parallelism)
    let outcome = try recipe.run()

    // The fit to all rows.
    let problem = recipe.problem(outcome.scaled)
    let start =
      outcome.weights ?? .zeros(problem.columnCount, problem.pass.classCount)
    let solution = try problem.solve(outcome.prior, from: start, isFinal: true)
    let covariance = try problem.covariance(
      configuration.posteriorKind, solution.logits, outcome.prior)
    let best = outcome.best.map { outcome.candidates[$0] }
    let beta = best?.inverseTemperature ?? 1
    var head = EvidenceHead(
      featureCount: features.columnCount, classCount: configuration.classCount,
      likelihood: Pass.likelihood, scaling: outcome.scaled.scaling,
      priorPrecision: problem.geometricMean(outcome.prior), inverseTemperature: beta,
      transform: outcome.scaled.transform, rotation: outcome.scaled.rotation,
      weights: solution.weights, covariance: covariance)
    head.parallelism = parallelism
    head.report = EvidenceReport(
      configuration, outcome, solution, covariance,
      logEvidence: covariance.kronecker.map { problem.logEvidence(solution, $0) },
      estimate: try outcome.estimate(
        calibrates: configuration.calibratesOnLeftOut, parallelism: parallelism))
    if outcome.best != nil {
      head.leftOut = LeftOutPredictions(
        rows: outcome.leftOut.scored.map { outcome.leftOut.rows[$0] },
        labels: outcome.leftOut.labels,
        logProbabilities: TemperedLogits(outcome.logits, beta).logProbabilities)
    }
    return head
  }
}
