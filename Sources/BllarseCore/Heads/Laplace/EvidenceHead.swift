public import BllarseNumerics

/// A last layer with a Gaussian around its optimum: softmax regression, or probit, on scaled features.
///
/// The scaling of the features, the precision of the prior and a temperature are chosen by what predicts
/// training rows that are left out, see ``LaplaceRecipe``; what was chosen is in ``report``.
///
/// ```swift
/// let head = try EvidenceHead(
///   fitting: features, labels: labels, EvidenceConfiguration(classCount: 10))
/// let logProbabilities = try head.logProbabilities(newFeatures)
/// ```
public struct EvidenceHead: Sendable {
  /// The number of features of a row.
  public let featureCount: Int
  /// The number of classes, K.
  public let classCount: Int
  /// The likelihood.
  public let likelihood: EvidenceLikelihood
  /// The scaling of the features.
  public let scaling: FeatureScaling
  /// λ, the precision of the prior of the scaled features' weights; a geometric mean if there are many.
  public let priorPrecision: Double
  /// β, by which the logits of the predictive distribution are multiplied.
  public let inverseTemperature: Double
  let transform: FeatureTransform
  /// The basis of the space of the training rows, D x R, where features outnumber them.
  let rotation: Matrix<Float>?
  /// (D + 1) x C, or (R + 1) x C; the bias is the last row.
  let weights: Matrix<Double>
  let covariance: PosteriorCovariance<Float>
  /// What was chosen and why; `nil` after reading a checkpoint.
  public internal(set) var report: EvidenceReport?
  /// Predictions for training rows that were left out; `nil` after reading a checkpoint, and where no row could
  /// be left out.
  public internal(set) var leftOut: LeftOutPredictions?
  /// How threads are used.
  public var parallelism: Parallelism = .available
}

/// Predictions for training rows that were left out of the fit, by the choices that all of them led to.
public struct LeftOutPredictions: Sendable {
  /// The rows, by their index in the training split.
  public let rows: [Int]
  /// Their labels.
  public let labels: [Int32]
  /// n x K; the exponentials of a row sum to 1.
  public let logProbabilities: Matrix<Double>
}
