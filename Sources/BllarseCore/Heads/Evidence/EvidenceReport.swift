/// What a fit of an evidence head chose, and what it based the choice on.
public struct EvidenceReport: Sendable, Equatable, Codable {
  /// A fit under one scaling.
  public struct Member: Sendable, Equatable, Codable {
    /// The scaling of the features.
    public var scaling: FeatureScaling
    /// The likelihood; softmax is logistic regression where there are two classes.
    public var likelihood: EvidenceLikelihood
    /// The prior precision of the weights of the scaled features; a geometric mean if there are many.
    public var priorPrecision: Double
    /// Whether the precision is at an end of the range that was searched.
    public var priorPrecisionAtBound: Bool
    /// The logarithm of the evidence, in nats.
    public var logEvidence: Double
    /// How far the optimum is at most, in nats.
    public var gapBound: Double

    enum CodingKeys: String, CodingKey {
      case scaling, likelihood
      case priorPrecision = "prior_precision"
      case priorPrecisionAtBound = "prior_precision_at_bound"
      case logEvidence = "log_evidence"
      case gapBound = "gap_bound"
    }
  }

  /// A predictive distribution that was considered.
  public struct Candidate: Sendable, Equatable, Codable {
    /// The scaling of the features.
    public var scaling: FeatureScaling
    /// The likelihood of the fit.
    public var likelihood: EvidenceLikelihood
    /// The prior precision of the fit.
    public var priorPrecision: Double
    /// How the logits' uncertainty enters.
    public var predictive: PredictiveKind
    /// The inverse temperature, the lapse, and what is lapsed to.
    public var calibration: LapsedTemperature
    /// The penalised leave-one-out score in nats; less is better.
    public var score: Double
    /// The weight in the average.
    public var weight: Double

    enum CodingKeys: String, CodingKey {
      case scaling, likelihood, predictive, calibration, score, weight
      case priorPrecision = "prior_precision"
    }
  }

  /// The likelihood; two classes may have a second one beside it.
  public var likelihood: EvidenceLikelihood
  /// The covariance.
  public var posterior: PosteriorKind
  /// Where the prior precision comes from.
  public var prior: String
  /// The rows that the scaling was chosen on, where these were not all.
  public var screeningRowCount: Int?
  /// The fits.
  public var members: [Member]
  /// The candidates, of the last round.
  public var candidates: [Candidate]
  /// The scores of leave-one-out predictions.
  public var leaveOneOut: LeaveOneOutScores
  /// Why it was chosen, in sentences.
  public var reasons: [String]
  /// Optimisations, over all scalings and prior precisions.
  public var fitCount: Int
  /// Conjugate-gradient iterations over all of them; each reads the features twice.
  public var iterationCount: Int

  enum CodingKeys: String, CodingKey {
    case likelihood, posterior, prior, members, candidates, reasons
    case screeningRowCount = "screening_rows"
    case leaveOneOut = "leave_one_out"
    case fitCount = "fits"
    case iterationCount = "iterations"
  }
}

/// The scores of predictions for training rows that were left out of the fit.
public struct LeaveOneOutScores: Sendable, Equatable, Codable {
  /// The number of rows.
  public var rows: Int
  /// The accuracy.
  public var acc: Double
  /// The mean negative log-likelihood, in nats.
  public var nll: Double
  /// The expected calibration error, 20 bins of equal width.
  public var ece: Double
  /// The Brier score, in 0...2.
  public var brier: Double

  init(_ evaluation: Evaluation) {
    rows = evaluation.rowCount
    acc = evaluation.accuracy
    nll = evaluation.nll
    ece = evaluation.ece
    brier = evaluation.brier
  }
}
