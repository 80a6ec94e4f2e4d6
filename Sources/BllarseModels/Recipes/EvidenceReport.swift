import BllarseNumerics

/// What a fit chose, and what it based the choice on.
public struct EvidenceReport: Sendable, Equatable, Codable {
  /// A scaling and a precision that were tried.
  public struct Candidate: Sendable, Equatable, Codable {
    /// The scaling of the features.
    public var scaling: FeatureScaling
    /// λ.
    public var priorPrecision: Double
    /// β, of the temperature that suits it.
    public var inverseTemperature: Double
    /// The negative log-likelihood of left-out rows and the temperature's penalty, in nats; less is better.
    public var score: Double

    enum CodingKeys: String, CodingKey {
      case scaling, score
      case priorPrecision = "prior_precision"
      case inverseTemperature = "inverse_temperature"
    }
  }

  /// The likelihood.
  public var likelihood: EvidenceLikelihood
  /// The covariance.
  public var posterior: PosteriorKind
  /// Where the prior precision comes from.
  public var prior: String
  /// The scaling of the features.
  public var scaling: FeatureScaling
  /// λ, for the scaled features; a geometric mean if there are many.
  public var priorPrecision: Double
  /// Whether λ is at an end of the range that was searched.
  public var priorPrecisionAtBound: Bool
  /// β.
  public var inverseTemperature: Double
  /// The logarithm of the evidence by Laplace's method, in nats; of a Kronecker covariance only.
  public var logEvidence: Double?
  /// How far the optimum is at most, in nats.
  public var gapBound: Double
  /// The rows that the scaling was chosen on, where these were not all.
  public var scalingRowCount: Int?
  /// Folds that were left out in turn.
  public var foldCount: Int
  /// What was tried.
  public var candidates: [Candidate]
  /// The scores to expect on new rows; `nil` where no row could be left out.
  ///
  /// A result has them at its top.
  public var estimate: EstimatedScores?
  /// Why it was chosen, in sentences.
  public var reasons: [String]
  /// Optimisations.
  public var fitCount: Int
  /// Conjugate-gradient iterations over all of them; each reads the features twice.
  public var iterationCount: Int

  enum CodingKeys: String, CodingKey {
    case likelihood, posterior, prior, scaling, candidates, reasons
    case priorPrecision = "prior_precision"
    case priorPrecisionAtBound = "prior_precision_at_bound"
    case inverseTemperature = "inverse_temperature"
    case logEvidence = "log_evidence"
    case gapBound = "gap_bound"
    case scalingRowCount = "scaling_rows"
    case foldCount = "folds"
    case fitCount = "fits"
    case iterationCount = "iterations"
  }
}

extension EvidenceReport {
  /// Puts what a recipe found into words.
  init<Pass: LaplacePass>(
    _ configuration: EvidenceConfiguration, _ outcome: LaplaceRecipe<Pass>.Outcome,
    _ solution: ConcaveSolver<Pass>.Solution, _ covariance: PosteriorCovariance<Pass.Scalar>,
    logEvidence: Double?
  ) {
    likelihood = Pass.likelihood
    posterior = covariance.kind
    prior = configuration.prior.description
    scaling = outcome.scaled.scaling
    let best = outcome.best.map { outcome.candidates[$0] }
    priorPrecision = best?.precision ?? outcome.prior[0, 0]
    priorPrecisionAtBound = outcome.isAtBound
    inverseTemperature = best?.inverseTemperature ?? 1
    self.logEvidence = logEvidence
    gapBound = solution.gapBound
    scalingRowCount = outcome.scalingRowCount
    foldCount = outcome.leftOut.folds.count
    candidates = outcome.candidates.map {
      Candidate(
        scaling: $0.scaling, priorPrecision: $0.precision,
        inverseTemperature: $0.inverseTemperature, score: $0.score)
    }
    fitCount = outcome.fitCount + 1
    iterationCount = outcome.iterationCount + solution.iterations
    reasons = []
    let folds = "\(foldCount) of \(RecipeConstants.foldCount) folds"
    if outcome.best == nil {
      reasons.append(
        "no row can be left out and predicted: the prior precision is 1, and there is no temperature"
      )
      return
    }
    reasons.append(
      configuration.scaling != nil
        ? "scaling \(scaling.rawValue), as asked for"
        : "scaling \(scaling.rawValue): "
          + (scaling == .standard
            ? "no other predicts left-out rows plainly better"
            : "predicts left-out rows plainly better than \(FeatureScaling.standard.rawValue)")
          + (scalingRowCount.map { ", of a part of \($0) rows" } ?? ""))
    switch configuration.prior {
    case .folds:
      reasons.append("prior precision: best log score of the rows of \(folds), left out in turn")
    case .fixed: reasons.append("prior precision \(configuration.prior), as asked for")
    default: reasons.append("prior precision: the most probable by the evidence")
    }
    if configuration.prior == .automaticRelevance {
      reasons.append(
        "the estimate is too good: all rows chose the precisions of the features")
    }
    if outcome.isAtBound {
      let range = RecipeConstants.precisionExponents
      reasons.append(
        "the prior precision is at an end of the range that is searched, 1e\(Int(range.lowerBound)) to "
          + "1e\(Int(range.upperBound)) for features of variance 1")
    }
    let lone = outcome.leftOut.rows.count - outcome.leftOut.scored.count
    if lone > 0 {
      reasons.append(
        "\(lone) \(lone == 1 ? "row" : "rows") cannot be predicted when left out: there are no others of "
          + "the class")
    }
  }
}
