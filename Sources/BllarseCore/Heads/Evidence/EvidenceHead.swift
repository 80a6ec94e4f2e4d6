public import BllarseNumerics

/// A last layer whose prior precision, covariance, scaling of the features and calibration are chosen by
/// the training rows alone: by the evidence and by leave-one-out predictions.
///
/// The weights are at the optimum of a penalised likelihood (a binary probit for two classes, a softmax
/// for more), with a Gaussian posterior around it. A head holds several such fits, one for each
/// scaling of the features and some more of the best, and averages up to two predictive distributions of
/// each, with weights that say how well they predict rows that were left out. What was chosen is in ``report``.
///
/// ```swift
/// let head = try EvidenceHead(
///   fitting: features, labels: labels, EvidenceConfiguration(classCount: 10))
/// let logProbabilities = try head.logProbabilities(newFeatures)
/// ```
public struct EvidenceHead: Sendable {
  /// One fit: the features' scaling, the weights and their covariance.
  struct Member: Sendable {
    let likelihood: EvidenceLikelihood
    let scaling: FeatureScaling
    let transform: FeatureTransform
    /// The basis of the space of the training rows, D x R, where features outnumber them.
    let rotation: Matrix<Float>?
    /// (D + 1) x C, or (R + 1) x C; the bias is the last row.
    let weights: Matrix<Double>
    let covariance: PosteriorCovariance<Float>
    /// λ.
    let priorPrecision: Double
  }

  /// One predictive distribution of a member.
  struct Candidate: Sendable, Equatable {
    let member: Int
    let kind: PredictiveKind
    let calibration: LapsedTemperature
    let weight: Double
  }

  /// The number of features of a row.
  public let featureCount: Int
  /// The number of classes, K.
  public let classCount: Int
  /// The likelihood; two classes may have members with the other one.
  public let likelihood: EvidenceLikelihood
  /// The share of each class in the training rows, with half a row added to each.
  public let classFrequencies: [Double]
  let members: [Member]
  let candidates: [Candidate]
  /// What was chosen and why; `nil` after reading a checkpoint.
  public let report: EvidenceReport?
  /// Predictions for the training rows, each as if it had been left out; `nil` after reading a
  /// checkpoint.
  public let leaveOneOut: LeaveOneOutPredictions?
  /// How threads are used.
  public var parallelism: Parallelism = .available

  /// The share of the fitted lapse that predictions for new rows have.
  ///
  /// Whether new labels are as noisy as the training labels is not known; three quarters costs about one
  /// per cent if they are, and gains much more if they are clean.
  static let lapseFactor = 0.75

  init(
    featureCount: Int, classCount: Int, likelihood: EvidenceLikelihood, classFrequencies: [Double],
    members: [Member], candidates: [Candidate], report: EvidenceReport? = nil,
    leaveOneOut: LeaveOneOutPredictions? = nil
  ) {
    self.featureCount = featureCount
    self.classCount = classCount
    self.likelihood = likelihood
    self.classFrequencies = classFrequencies
    self.members = members
    self.candidates = candidates
    self.report = report
    self.leaveOneOut = leaveOneOut
  }
}

/// Predictions for training rows, each as if it had been left out of the fit.
public struct LeaveOneOutPredictions: Sendable {
  /// The rows, by their index in the training split.
  public let rows: [Int]
  /// Their labels.
  public let labels: [Int32]
  /// n x K; the exponentials of a row sum to 1.
  public let logProbabilities: Matrix<Double>
}
