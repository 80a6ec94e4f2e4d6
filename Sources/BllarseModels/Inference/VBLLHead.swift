public import BllarseNumerics
import Glibc

/// Softmax regression with Gaussian weights and Gaussian logit noise, fitted by variational Bayes.
///
///     z = Wᵀx + ε,  ε_k ~ N(0, σ_k²),  y ~ softmax(z);   w_k ~ N(0, τI),  q(w_k) = N(m_k, S_k)
///
/// This is the discriminative variational Bayesian last layer. The logarithm of a class's probability is bounded by
/// Jensen's inequality,
///
///     E_q log softmax(z)_y ≥ m_yᵀx - log Σ_k exp(m_kᵀx + v_k/2),   v_k = xᵀS_k·x + σ_k²
///
/// and the sum over the rows, less the divergence of q from the prior, plus the prior of the noise, is maximised.
///
/// - Note: Source: Harrison, Willes and Snoek, "Variational Bayesian last layers", ICLR 2024.
public struct VBLLHead<Scalar: BLASScalar>: Sendable {
  /// The design, and the prior precision 1/τ.
  public let configuration: HeadShape
  /// m, D x K.
  public let mean: Matrix<Double>
  /// σ², K numbers.
  public let noiseVariances: [Double]
  /// S_k.
  package let covariance: VBLLCovariance<Scalar>
  /// m as products with rows take it.
  private let singleMean: Matrix<Scalar>
  private let softmax: GaussianSoftmax

  /// Keeps a posterior.
  ///
  /// - Throws: `NumericsError` when the rules of the predictive's quadrature cannot be computed.
  package init(
    _ configuration: HeadShape, mean: Matrix<Double>, covariance: VBLLCovariance<Scalar>,
    noiseVariances: [Double]
  ) throws(NumericsError) {
    self.configuration = configuration
    (self.mean, self.covariance) = (mean, covariance)
    self.noiseVariances = noiseVariances
    singleMean = Matrix<Scalar>(mean)
    softmax = try GaussianSoftmax()
  }
}

/// The priors of a variational Bayesian last layer, and the form of its covariances.
public struct VBLLConfiguration: Sendable, Equatable {
  /// The form of the covariances.
  public var parameterization = VBLLParameterization.dense
  /// The columns of the factors of low-rank covariances, at least 1; no more than the design has are used.
  public var rank = 3
  /// The variance of a weight under the prior, in units of 2/D (D features).
  public var priorScale = 1.0
  /// The scale of the Wishart prior of the noise's precision.
  public var wishartScale = 1.0
  /// The degrees of freedom of that prior, before K + 1 are added to them.
  public var degreesOfFreedom = 1.0
  /// The fit ends when an iteration raises the bound by less than this fraction of its magnitude.
  public var tolerance = 1e-6
  /// The fit ends after so many iterations, converged or not.
  public var iterationLimit = 100

  /// The defaults of the authors' package.
  public init() {}

  /// τ of D features.
  public func priorVariance(featureCount: Int) -> Double {
    priorScale * 2 / Double(featureCount)
  }

  /// Refuses what cannot be.
  func check() throws(NumericsError) {
    for (name, value) in [
      ("the prior scale", priorScale), ("the Wishart scale", wishartScale),
      ("the degrees of freedom", degreesOfFreedom), ("the tolerance", tolerance),
    ] {
      try NumericsError.require(value > 0 && value.isFinite, name, value, "a finite number above 0")
    }
    try NumericsError.require(rank >= 1, "the rank", Double(rank), "1 or more")
  }
}

/// What the fit of a variational Bayesian last layer reports.
public struct VBLLInfo: Sendable, Equatable {
  /// The bound at the start, and after each iteration, in nats; it never falls.
  public var bounds: [Double]
  /// Iterations over all rows.
  public var iterations: Int { bounds.count - 1 }
  /// Whether the tolerance was reached.
  public var converged: Bool
}

extension VBLLHead {
  /// Means and variances of the logits of rows, with the noise.
  ///
  /// - Parameters:
  ///   - features: n x featureCount, finite.
  ///   - execution: the threads to work with.
  /// - Returns: n x K.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  public func latent(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> LatentMoments {
    let design: DesignMatrix<Scalar> = try configuration.design(features)
    let means = Matrix<Double>(
      rows: design.rowCount, columns: mean.columnCount, blockSize: 256, execution: execution
    ) { Matrix<Double>(design.matrix(rows: $0).multiplied(by: singleMean)) }
    var variances = covariance.variances(design, execution: execution)
    variances.addToRows(noiseVariances)
    return LatentMoments(means: means, variances: variances)
  }

  /// The logarithms of the mean of the softmax over weights and noise; see ``GaussianSoftmax``.
  ///
  /// - Parameters:
  ///   - features: n x featureCount, finite.
  ///   - execution: the threads to work with; they do not change the result.
  /// - Returns: n x K; the exponentials of a row sum to 1.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  public func predictive(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Double> {
    let moments = try latent(features, execution: execution)
    return Matrix(
      rows: features.rowCount, columns: mean.columnCount, blockSize: 64, execution: execution
    ) { range in
      softmax.logProbabilities(
        LatentMoments(
          means: moments.means.rows(range), variances: moments.variances.rows(range)))
    }
  }

  /// Predicts rows, with the scores of their uncertainty.
  ///
  /// The draws that split the entropy are of the weights alone: what the noise of the logits takes away, further rows would
  /// not give back.
  ///
  /// - Parameters:
  ///   - features: n x featureCount, finite.
  ///   - map: a calibration on held-out rows that predictions go through.
  ///   - splitsEntropy: whether to compute mutual informations.
  ///   - execution: the threads to work with; they do not change the result.
  /// - Returns: predictions, the same bits as ``predictive(_:execution:)`` rounded, and scores.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  package func uncertaintyParts(
    _ features: FeatureMatrix, map: HeldOutCalibration, splitsEntropy: Bool,
    execution: Execution
  ) throws(NumericsError) -> UncertaintyParts {
    let moments = try latent(features, execution: execution)
    return LogitUncertainty(
      classCount: mean.columnCount, predictive: Predictive(likelihood: .softmax),
      splitsEntropy: splitsEntropy
    ).parts(rowCount: features.rowCount, blockSize: 64, map: map, execution: execution) { range in
      var moments = LatentMoments(
        means: moments.means.rows(range).compact(),
        variances: moments.variances.rows(range).compact())
      let own = Matrix<Float>(softmax.logProbabilities(moments))
      moments.variances.addToRows(noiseVariances, times: -1)
      moments.variances = moments.variances.map { max($0, 0) }
      return (own, moments)
    }
  }
}
