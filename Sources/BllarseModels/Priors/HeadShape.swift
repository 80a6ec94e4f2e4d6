public import BllarseNumerics

/// The rows of a head's design and the prior of its weights: what does not change while it is fitted.
public struct HeadShape: Sendable, Equatable {
  /// The number of features of a row, without the bias.
  public var featureCount: Int
  /// The number of classes, K, at least 2.
  public var classCount: Int
  /// Whether the design ends with a column of ones.
  public var usesBias: Bool
  /// How features become rows of the design.
  public var transform: FeatureTransform
  /// The prior precision of every weight, `Λ₀ = priorPrecision · I`.
  public var priorPrecision: Double

  /// Describes a head over features under a transform.
  public init(
    featureCount: Int, classCount: Int, usesBias: Bool = true, transform: FeatureTransform,
    priorPrecision: Double = 1
  ) {
    precondition(featureCount > 0, "a head over \(featureCount) features")
    precondition(classCount >= 2, "a head with \(classCount) classes")
    precondition(
      priorPrecision > 0 && priorPrecision.isFinite, "a prior precision of \(priorPrecision)")
    self.featureCount = featureCount
    self.classCount = classCount
    self.usesBias = usesBias
    self.transform = transform
    self.priorPrecision = priorPrecision
  }

  /// D, the number of columns of the design.
  public var designColumnCount: Int { featureCount + (usesBias ? 1 : 0) }

  /// The design matrix of features.
  ///
  /// - Throws: `NumericsError.sizeMismatch` when the features are not `featureCount` a row.
  func design<Scalar>(_ features: FeatureMatrix) throws(NumericsError) -> DesignMatrix<Scalar> {
    try TrainingRows.checkFeatureCount(features, featureCount)
    return DesignMatrix(features, transform: transform, hasBias: usesBias)
  }

  /// Refuses rows and labels that cannot be, as ``TrainingRows`` says.
  func check(
    _ features: FeatureMatrix, _ labels: [Int32], _ parallelism: Parallelism
  ) throws(NumericsError) {
    try TrainingRows.check(
      features, labels: labels, featureCount: featureCount, classCount: classCount,
      parallelism: parallelism)
  }
}
