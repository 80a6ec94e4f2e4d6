// The statistics are part of this module for those who import it.
@_exported public import BllarseModels
public import BllarseNumerics

/// A last layer that has been fitted: it turns features into class probabilities and can be stored.
///
/// A new kind of head is one type that conforms to this protocol and one ``HeadMethod`` that is registered;
/// the executables, the metrics and the checkpoint need no change.
public protocol Head: Sendable {
  /// The name of the kind, as checkpoints spell it, and `--head` where it names one: "IBProbit".
  static var kind: String { get }

  /// The number of features of a row.
  var featureCount: Int { get }
  /// The number of classes.
  var classCount: Int { get }

  /// The logarithms of the predictive class probabilities.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - parallelism: the threads to work with.
  /// - Returns: N x classCount; the exponentials of a row sum to 1.
  /// - Throws: `NumericsError` for rows of another width, and when the state of the head is numerically
  ///   unusable.
  func logProbabilities(
    _ features: FeatureMatrix, parallelism: Parallelism
  ) throws(NumericsError) -> Matrix<Float>

  /// Scores the head on labelled rows, with its predictions mapped.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - calibration: the map.
  ///   - parallelism: the threads to work with.
  /// - Returns: the scores.
  /// - Throws: as ``logProbabilities(_:parallelism:)``, and for labels that cannot be.
  func evaluation(
    features: FeatureMatrix, labels: [Int32], calibration: HeldOutCalibration,
    parallelism: Parallelism
  ) throws(NumericsError) -> SplitScores

  /// Adds everything that prediction needs to a checkpoint: tensors, and metadata as strings.
  func encode(into writer: inout SafetensorsWriter)

  /// Reads what ``encode(into:)`` wrote.
  ///
  /// - Parameter file: the checkpoint.
  /// - Throws: `DataError` that names the file and the tensor or metadata entry that is wrong.
  init(decoding file: SafetensorsFile) throws(DataError)
}

extension Head {
  /// The logarithms of the predictive class probabilities, computed on all threads that this process has.
  public func logProbabilities(_ features: FeatureMatrix) throws(NumericsError) -> Matrix<Float> {
    try logProbabilities(features, parallelism: .available)
  }

  /// Scores the head on labelled rows.
  public func evaluation(
    features: FeatureMatrix, labels: [Int32], parallelism: Parallelism = .available
  ) throws(NumericsError) -> SplitScores {
    try evaluation(
      features: features, labels: labels, calibration: .none, parallelism: parallelism)
  }

  /// The scores of the mapped ``logProbabilities(_:parallelism:)``.
  public func evaluation(
    features: FeatureMatrix, labels: [Int32], calibration: HeldOutCalibration,
    parallelism: Parallelism
  ) throws(NumericsError) -> SplitScores {
    let logs = calibration.apply(
      to: try logProbabilities(features, parallelism: parallelism), parallelism: parallelism)
    return SplitScores(
      try Predictions(logProbabilities: logs, labels: labels, parallelism: parallelism))
  }
}
