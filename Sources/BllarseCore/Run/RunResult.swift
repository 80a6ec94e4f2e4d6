/// What one epoch of a run measured.
public struct EpochRecord: Sendable, Equatable, Codable {
  /// The epoch, counted from 1.
  public var epoch: Int
  /// The step under which metrics are logged: the epoch.
  public var step: Int
  /// The mean loss of the training rows, in nats.
  public var loss: Double
  /// The accuracy on the test split.
  public var acc: Double
  /// The mean negative log-likelihood on the test split, in nats.
  public var nll: Double
  /// The expected calibration error on the test split, 20 bins of equal width.
  public var ece: Double
  /// The evidence lower bound of the training rows, in nats, where the head has one.
  public var elbo: Double?
  /// The accuracy on the validation split, where there is one.
  public var valAcc: Double?
  /// The mean negative log-likelihood on the validation split, in nats.
  public var valNll: Double?
  /// The expected calibration error on the validation split.
  public var valEce: Double?
  /// Seconds since the run began.
  public var seconds: Double

  private enum CodingKeys: String, CodingKey {
    case epoch, step, loss, acc, nll, ece, elbo, seconds
    case valAcc = "val_acc"
    case valNll = "val_nll"
    case valEce = "val_ece"
  }
}

/// The four figures of a split.
public struct SplitScores: Sendable, Equatable, Codable {
  /// Accuracy.
  public var acc: Double
  /// Mean negative log-likelihood, in nats.
  public var nll: Double
  /// Expected calibration error, 20 bins of equal width.
  public var ece: Double
  /// Brier score, the sum of squares over classes (0 to 2).
  public var brier: Double

  /// The scores of predicted log-probabilities (N x K) against labels.
  init(_ evaluation: Evaluation) {
    acc = evaluation.accuracy
    nll = evaluation.nll
    ece = evaluation.ece
    brier = evaluation.brier
  }
}

/// What a run took, in seconds.
public struct RunSeconds: Sendable, Equatable, Codable {
  /// Reading and checking the data.
  public var load = 0.0
  /// The backbone.
  public var features = 0.0
  /// Fitting the head.
  public var fit = 0.0
  /// Predicting and scoring.
  public var evaluate = 0.0
  /// From the first to the last.
  public var total = 0.0
}

/// What `result.json` holds.
public struct RunResult: Sendable, Equatable, Encodable {
  /// The figures of the training split.
  public var train: SplitScores
  /// The figures of the test split.
  public var test: SplitScores
  /// Where the time went.
  public var seconds: RunSeconds
  /// The evidence lower bound of the training rows, in nats, where the head has one; for a head whose
  /// prior comes from the evidence, Laplace's approximation to the logarithm of the evidence itself.
  public var elbo: Double?
  /// The iterations of the fit, over all batches and epochs.
  public var iterations: Int
  /// Bounds on the distance of the bound to its maximum, in nats, after a converged fit.
  public var certificate: GapCertificate?
  /// The best epoch on the validation split, where there is one.
  public var best: BestEpoch?
  /// What was chosen and why, for heads that choose.
  public var recipe: EvidenceReport?
  /// More scores, calibration and uncertainty.
  public var metrics: RunMetrics?
  /// The options of the run.
  public var arguments: [String: ArgumentValue]
  /// The versions of what took part.
  public var versions: [String: String]
}

extension RunResult {
  private enum CodingKeys: String, CodingKey {
    case train, test, seconds, elbo, iterations, certificate, best, recipe, metrics, arguments,
      versions
  }

  /// Writes every key; what a head does not have is `null`.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(train, forKey: .train)
    try container.encode(test, forKey: .test)
    try container.encode(seconds, forKey: .seconds)
    try container.encode(elbo, forKey: .elbo)
    try container.encode(iterations, forKey: .iterations)
    try container.encode(certificate, forKey: .certificate)
    try container.encode(best, forKey: .best)
    try container.encode(recipe, forKey: .recipe)
    try container.encode(metrics, forKey: .metrics)
    try container.encode(arguments, forKey: .arguments)
    try container.encode(versions, forKey: .versions)
  }
}
