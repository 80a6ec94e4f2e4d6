public import BllarseNumerics

/// The independent binary probit head: K probit regressions, one against the rest, which share one
/// covariance and are fitted by closed-form variational updates.
///
/// Model, with x a row of the design: `w_k ~ N(0, Λ₀⁻¹)`, `z_k ~ N(xᵀw_k, 1)`, and the label's class
/// is the one whose `z_k` is positive. Mean field: `q(w_k) = N(mu_k, Λ⁻¹)`.
///
/// `Scalar` is the precision of the data and of the products with it: `Float` for work, `Double` for
/// reference. Natural parameters, factorisations and sums are always in double precision.
///
/// - Note: Sources: Albert and Chib (1993) for the latent variables; Girolami and Rogers (2006) for the
///   variational updates; Wojnowicz et al. (2022) for the normalisations CBM and CBC.
public struct IBProbitHead<Scalar: BLASScalar>: Sendable {
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
    /// Which distribution function the losses and predictions use.
    public var cdfForm: NormalCDFForm

    /// Describes a head; the defaults are the reference's.
    public init(
      featureCount: Int, classCount: Int, usesBias: Bool = true,
      transform: FeatureTransform = .standardLayerNorm, priorPrecision: Double = 1,
      cdfForm: NormalCDFForm = .approximate
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
      self.cdfForm = cdfForm
    }

    /// D, the number of columns of the design.
    public var designColumnCount: Int { featureCount + (usesBias ? 1 : 0) }
  }

  /// What does not change while the head is fitted.
  public let configuration: Configuration
  /// The posterior over the weights, in natural parameters.
  public package(set) var posterior: GaussianPosterior {
    didSet { solvedMean = nil }
  }
  /// The posterior mean, where it is known without solving for it.
  package var solvedMean: Matrix<Double>?
  /// The inverse temperature by which logits are multiplied in probabilities; 1 until calibrated.
  public var inverseTemperature: Double = 1
  /// How threads are used.
  public var parallelism: Parallelism = .available

  /// A head that has seen no data: its posterior is the prior.
  public init(_ configuration: Configuration) {
    self.configuration = configuration
    posterior = Self.prior(configuration)
  }

  /// A head with a given posterior, as read from a checkpoint.
  ///
  /// - Parameters:
  ///   - configuration: as the head was made with.
  ///   - posterior: over `configuration.designColumnCount` weights of each class.
  public init(_ configuration: Configuration, posterior: GaussianPosterior) {
    precondition(
      posterior.size == configuration.designColumnCount
        && posterior.classCount == configuration.classCount,
      "a posterior of \(posterior.size) x \(posterior.classCount) for a head of "
        + "\(configuration.designColumnCount) x \(configuration.classCount)")
    self.configuration = configuration
    self.posterior = posterior
  }

  /// Returns the posterior to the prior and the temperature to 1.
  public mutating func reset() {
    posterior = Self.prior(configuration)
    inverseTemperature = 1
  }

  /// The mean of the weights, D x K; the bias is the last row.
  ///
  /// - Throws: `NumericsError.notPositiveDefinite` if rounding made the precision indefinite.
  public func mean() throws(NumericsError) -> Matrix<Double> {
    if let solvedMean { return solvedMean }
    return try posterior.mean()
  }

  /// The design matrix of features under this head's transform.
  ///
  /// - Throws: `NumericsError.sizeMismatch` when the features are not `featureCount` a row.
  public func design(_ features: FeatureMatrix) throws(NumericsError) -> DesignMatrix<Scalar> {
    try TrainingRows.checkFeatureCount(features, configuration.featureCount)
    return DesignMatrix(
      features, transform: configuration.transform, hasBias: configuration.usesBias)
  }

  private static func prior(_ configuration: Configuration) -> GaussianPosterior {
    GaussianPosterior(
      size: configuration.designColumnCount, classCount: configuration.classCount,
      precision: configuration.priorPrecision)
  }
}
