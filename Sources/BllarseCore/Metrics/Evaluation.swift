public import BllarseNumerics

/// The scores of predictions on one split: what a run reports.
public struct Evaluation: Sendable, Equatable {
  /// The number of bins of ``ece``.
  public static let binCount = 20

  /// The number of rows.
  public let rowCount: Int
  /// The share of rows that are predicted right.
  public let accuracy: Double
  /// The mean negative log-likelihood, in nats.
  public private(set) var nll: Double
  /// The expected calibration error over 20 bins of equal width.
  public let ece: Double
  /// The Brier score, in 0...2.
  public let brier: Double
  /// The largest calibration error of a bin.
  public let mce: Double
  /// The mean confidence.
  public let meanConfidence: Double

  /// Evaluates predictions given as log-probabilities.
  ///
  /// - Parameters:
  ///   - logProbabilities: N x K, the logarithms of rows that sum to 1.
  ///   - labels: N class indices in `0..<K`.
  ///   - parallelism: the threads to work with.
  /// - Throws: `NumericsError` when labels and rows differ in number, or a label is no class.
  /// - Complexity: O(N·K), one pass.
  public init<Scalar: BLASScalar>(
    logProbabilities: Matrix<Scalar>, labels: [Int32], parallelism: Parallelism = .available
  ) throws(NumericsError) {
    try self.init(
      PredictionSummary(
        logProbabilities: logProbabilities, labels: labels, parallelism: parallelism))
  }

  /// Evaluates predictions given as probabilities.
  ///
  /// - Parameters:
  ///   - probabilities: N x K, rows sum to 1.
  ///   - labels: N class indices in `0..<K`.
  ///   - parallelism: the threads to work with.
  /// - Throws: `NumericsError` when labels and rows differ in number, or a label is no class.
  /// - Complexity: O(N·K), one pass.
  public init<Scalar: BLASScalar>(
    probabilities: Matrix<Scalar>, labels: [Int32], parallelism: Parallelism = .available
  ) throws(NumericsError) {
    try self.init(
      PredictionSummary(probabilities: probabilities, labels: labels, parallelism: parallelism))
  }

  /// Evaluates summarised predictions.
  public init(_ summary: PredictionSummary) {
    let calibration = Metrics.calibrationError(summary, binCount: Self.binCount)
    rowCount = summary.count
    accuracy = Metrics.accuracy(summary)
    nll = Metrics.negativeLogLikelihood(summary)
    ece = calibration.expected
    brier = Metrics.brierScore(summary)
    mce = calibration.maximum
    meanConfidence = Metrics.mean(summary.confidence)
  }

  /// The same scores with another likelihood.
  func replacing(nll: Double) -> Evaluation {
    var result = self
    result.nll = nll
    return result
  }
}
