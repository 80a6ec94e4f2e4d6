public import BllarseNumerics

/// Independent binary logistic regressions, one class against the rest, with a Gaussian posterior each.
public typealias IBPolyaGammaHead<Scalar: BLASScalar> = PolyaGammaHead<Scalar, OneAgainstRest>

/// Multinomial logistic regression by stick-breaking, with a Gaussian posterior for each break.
public typealias MultinomialPolyaGammaHead<Scalar: BLASScalar> = PolyaGammaHead<
  Scalar, StickBreaking
>

/// Bayesian logistic regressions, fitted by closed-form variational updates with Polya-Gamma variables.
///
/// Each yes-no question of the coding has weights `w ~ N(0, Λ₀⁻¹)` and a Gaussian posterior with a
/// precision of its own, kept in natural parameters. An update takes the running posterior, mean and
/// precision, as the prior of the batch.
///
/// `Scalar` is the precision of the data and of the products with it: `Float` for work, `Double` for
/// reference. Natural parameters, factorisations and sums are always in double precision.
///
/// - Note: Source: Polson, Scott and Windle (2013). Same result as the Python original, but for the
///   stream of updates of its stick-breaking head, which keeps the precision of earlier batches and
///   drops their mean; this one keeps both.
public struct PolyaGammaHead<Scalar: BLASScalar, Coding: BinaryCoding>: Sendable {
  /// What does not change while a head is fitted.
  public struct Configuration: Sendable, Equatable {
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

    /// Describes a head; the defaults are the reference's.
    public init(
      featureCount: Int, classCount: Int, usesBias: Bool = true,
      transform: FeatureTransform = .identity, priorPrecision: Double = 1
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
    /// C, the number of questions.
    public var columnCount: Int { Coding.columnCount(classCount: classCount) }
  }

  /// What does not change while the head is fitted.
  public let configuration: Configuration
  /// The posterior precision of each question, C matrices of D x D.
  public package(set) var precisions: [Matrix<Double>]
  /// The posterior natural mean of each question, a column each, D x C.
  public package(set) var naturalMean: Matrix<Double>
  /// How threads are used.
  public var parallelism: Parallelism = .available

  /// A head that has seen no data: its posterior is the prior.
  public init(_ configuration: Configuration) {
    self.configuration = configuration
    (precisions, naturalMean) = Self.prior(configuration)
  }

  /// A head with a given posterior.
  ///
  /// - Parameters:
  ///   - configuration: as the head was made with.
  ///   - precisions: C matrices of D x D, positive definite.
  ///   - naturalMean: D x C.
  public init(
    _ configuration: Configuration, precisions: [Matrix<Double>], naturalMean: Matrix<Double>
  ) {
    let (size, columns) = (configuration.designColumnCount, configuration.columnCount)
    precondition(
      precisions.count == columns && naturalMean.rowCount == size
        && naturalMean.columnCount == columns
        && precisions.allSatisfy { $0.rowCount == size && $0.columnCount == size },
      "\(precisions.count) precisions and a natural mean of \(naturalMean.rowCount) x "
        + "\(naturalMean.columnCount) for a head of \(size) x \(columns)")
    self.configuration = configuration
    self.precisions = precisions
    self.naturalMean = naturalMean
  }

  /// Returns the posterior to the prior.
  public mutating func reset() { (precisions, naturalMean) = Self.prior(configuration) }

  /// The mean of the weights, D x C; the bias is the last row.
  ///
  /// - Throws: `NumericsError.notPositiveDefinite` if rounding made a precision indefinite.
  public func mean() throws(NumericsError) -> Matrix<Double> {
    var mean = naturalMean
    for (column, precision) in precisions.enumerated() {
      let solution = try parallelism.withBLAS { () throws(NumericsError) in
        try Cholesky(precision).solve(naturalMean.column(column))
      }
      for (row, value) in solution.enumerated() { mean[row, column] = value }
    }
    return mean
  }

  /// The design matrix of features under this head's transform.
  ///
  /// - Throws: `NumericsError.sizeMismatch` when the features are not `featureCount` a row.
  public func design(_ features: FeatureMatrix) throws(NumericsError) -> DesignMatrix<Scalar> {
    try TrainingRows.checkFeatureCount(features, configuration.featureCount)
    return DesignMatrix(
      features, transform: configuration.transform, hasBias: configuration.usesBias)
  }

  private static func prior(
    _ configuration: Configuration
  ) -> (precisions: [Matrix<Double>], naturalMean: Matrix<Double>) {
    let (size, columns) = (configuration.designColumnCount, configuration.columnCount)
    return (
      [Matrix<Double>](
        repeating: .diagonal(configuration.priorPrecision, size: size), count: columns),
      .zeros(size, columns)
    )
  }
}
