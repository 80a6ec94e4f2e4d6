public import BllarseModels
public import BllarseNumerics

/// Predicted distributions of target values with the values that came.
public struct TargetPredictions: Sendable {
  /// What was predicted, N x T.
  public let distributions: TargetDistributions
  /// What came, N x T.
  public let targets: Matrix<Double>

  /// Joins predictions and targets.
  ///
  /// - Throws: `NumericsError` when they differ in shape, or a target is not finite.
  public init(
    _ distributions: TargetDistributions, targets: Matrix<Double>
  ) throws(NumericsError) {
    try distributions.check(targets)
    (self.distributions, self.targets) = (distributions, targets)
  }
}
