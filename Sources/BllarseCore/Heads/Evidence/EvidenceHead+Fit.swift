public import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension EvidenceHead {
  /// Fits a head.
  ///
  /// - Parameters:
  ///   - features: N x D, finite, N at least 1.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - configuration: what is given, and what is left to the data.
  ///   - parallelism: how threads are used.
  /// - Throws: `NumericsError` when rounding makes a precision indefinite.
  /// - Complexity: a few Gram matrices, N·D² each, one a class for the covariance; an eigendecomposition,
  ///   4/3·D³, for each scaling; and some tens of passes over the features.
  public init(
    fitting features: FeatureMatrix, labels: [Int32], _ configuration: EvidenceConfiguration,
    parallelism: Parallelism = .available
  ) throws(NumericsError) {
    precondition(
      labels.count == features.rowCount && !labels.isEmpty,
      "\(labels.count) labels for \(features.rowCount) rows")
    let distinct = DistinctRows.indices(features, labels)
    let recipe = EvidenceRecipe<Float>(
      features: distinct.map { features.gatheringRows($0) } ?? features,
      labels: distinct.map { $0.map { labels[$0] } } ?? labels, configuration: configuration,
      parallelism: parallelism)
    let outcome = try recipe.run()

    // Members that no candidate with a weight refers to are dropped.
    let used = outcome.members.indices.filter { index in
      outcome.candidates.contains { $0.member == index && $0.weight > 0 }
    }
    let members = used.map { index in
      let fit = outcome.members[index]
      return Member(
        likelihood: fit.likelihood, scaling: fit.scaling, transform: fit.transform,
        rotation: fit.rotation,
        weights: fit.weights, covariance: fit.covariance, priorPrecision: fit.priorPrecision)
    }
    let candidates = outcome.candidates.filter { $0.weight > 0 }.map { candidate in
      Candidate(
        member: used.firstIndex(of: candidate.member) ?? 0, kind: candidate.kind,
        calibration: candidate.calibration, weight: candidate.weight)
    }
    let looRows = outcome.members.first?.looRows ?? Array(recipe.labels.indices)
    let looLabels = looRows.map { recipe.labels[$0] }
    func pooled(lapseFactor: Double) -> Matrix<Double> {
      Self.pool(
        outcome.candidates.filter { $0.weight > 0 }.map { candidate in
          (
            candidate.calibration.apply(
              to: candidate.logits, frequencies: recipe.frequencies, lapseFactor: lapseFactor),
            candidate.weight
          )
        })
    }
    let scores = LeaveOneOutScores(
      try Evaluation(
        logProbabilities: pooled(lapseFactor: 1), labels: looLabels, parallelism: parallelism))
    self.init(
      featureCount: features.columnCount, classCount: configuration.classCount,
      likelihood: recipe.likelihood, classFrequencies: recipe.frequencies, members: members,
      candidates: candidates,
      report: EvidenceReport(recipe, outcome, scores, rowCount: labels.count),
      leaveOneOut: LeaveOneOutPredictions(
        rows: looRows.map { distinct?[$0] ?? $0 }, labels: looLabels,
        logProbabilities: pooled(lapseFactor: Self.lapseFactor)))
    self.parallelism = parallelism
  }

  /// The average of distributions given by their logarithms, n x K each.
  static func pool(_ distributions: [(logs: Matrix<Double>, weight: Double)]) -> Matrix<Double> {
    guard distributions.count > 1 else { return distributions[0].logs }
    var result = distributions[0].logs
    for row in 0..<result.rowCount {
      for k in 0..<result.columnCount {
        let terms = distributions.map { $0.logs[row, k] + log($0.weight) }
        result[row, k] = SpecialFunctions.logSumExp(terms)
      }
    }
    return result
  }
}

extension EvidenceReport {
  /// Puts what a recipe found into words.
  init<Scalar: BLASScalar>(
    _ recipe: EvidenceRecipe<Scalar>, _ outcome: EvidenceRecipe<Scalar>.Outcome,
    _ scores: LeaveOneOutScores, rowCount: Int
  ) {
    let configuration = recipe.configuration
    likelihood = recipe.likelihood
    let kind = outcome.members[0].covariance.kind
    posterior = kind
    prior = configuration.prior.description
    screeningRowCount = outcome.screeningRowCount
    members = outcome.members.map {
      Member(
        scaling: $0.scaling, likelihood: $0.likelihood, priorPrecision: $0.priorPrecision,
        priorPrecisionAtBound: $0.isAtBound, logEvidence: $0.logEvidence, gapBound: $0.gapBound)
    }
    candidates = outcome.candidates.map { candidate in
      let member = outcome.members[candidate.member]
      return Candidate(
        scaling: member.scaling, likelihood: member.likelihood,
        priorPrecision: member.priorPrecision, predictive: candidate.kind,
        calibration: candidate.calibration, score: candidate.score, weight: candidate.weight)
    }
    leaveOneOut = scores
    fitCount = outcome.fitCount
    iterationCount = outcome.iterationCount
    reasons = []
    reasons.append(
      configuration.likelihood != nil
        ? "likelihood \(likelihood.rawValue), as asked for"
        : likelihood == .probit
          ? "likelihood probit: two classes are one column"
            + (members.contains { $0.likelihood != likelihood }
              ? "; logistic for the best scaling as well" : "")
          : "likelihood softmax: the default for more than two classes")
    reasons.append(
      configuration.posterior != nil
        ? "posterior \(kind.rawValue), as asked for"
        : "posterior \(kind.rawValue): K·N·D² allows one precision "
          + (kind == .laplace
            ? "a class" : kind == .laplaceShared ? "for all classes" : "a weight only"))
    if let rows = screeningRowCount {
      reasons.append(
        "scaling \(members[0].scaling.rawValue): best leave-one-out score on \(rows) of the rows")
    } else if let scaling = configuration.scaling {
      reasons.append("scaling \(scaling.rawValue), as asked for")
    } else if candidates.count > 1 {
      reasons.append("scalings and predictives averaged by leave-one-out weights")
    }
    if recipe.labels.count < rowCount {
      reasons.append("\(rowCount - recipe.labels.count) rows are copies of others, and left out")
    }
    reasons.append(
      configuration.prior.isFixed
        ? "prior precision \(configuration.prior), as asked for"
        : "prior precision: the most probable by the evidence"
          + (screeningRowCount == nil && configuration.prior == .evidence
            ? ", with \(EvidenceRecipe<Scalar>.precisionFactors.map { "\($0)" }.joined(separator: " and ")) times it beside it for the best scaling"
            : "")
          + (outcome.members.contains { $0.isEvidenceCorrected }
            ? ", Laplace's method corrected row by row: rows are few for the features" : ""))
    if configuration.prior == .automaticRelevance, recipe.features.columnCount > recipe.labels.count
    {
      reasons.append(
        "the leave-one-out scores are too good: all rows chose the precisions of more features than "
          + "there are rows")
    }
    for member in members where member.priorPrecisionAtBound {
      let range = EvidenceSearch.range
      reasons.append(
        "the prior precision of scaling \(member.scaling.rawValue) is at the "
          + (log10(member.priorPrecision) < 0.5 * (range.lowerBound + range.upperBound)
            ? "lower" : "upper")
          + " end of the range that is searched, 0.01 to 1e6 for features of variance 1")
    }
  }
}
