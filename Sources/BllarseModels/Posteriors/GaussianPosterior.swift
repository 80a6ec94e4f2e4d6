public import BllarseNumerics

/// A Gaussian over the weights of K classes with one precision shared by all, in natural parameters.
///
/// Natural parameters add up: merging batches, forgetting them and combining machines are sums. The
/// mean is solved for when it is asked for. D counts the columns of the design, bias included.
public struct GaussianPosterior: Sendable, Equatable {
  /// The precision `Λ`, D x D, symmetric positive definite.
  public var precision: Matrix<Double>
  /// The natural mean `η = Λ·mu`, D x K.
  public var naturalMean: Matrix<Double>

  /// Takes natural parameters as they are.
  ///
  /// - Parameters:
  ///   - precision: D x D, symmetric positive definite.
  ///   - naturalMean: D x K.
  public init(precision: Matrix<Double>, naturalMean: Matrix<Double>) {
    precondition(
      precision.rowCount == precision.columnCount && precision.rowCount == naturalMean.rowCount,
      "a precision of \(precision.rowCount) x \(precision.columnCount) for a natural mean of "
        + "\(naturalMean.rowCount) x \(naturalMean.columnCount)")
    self.precision = precision
    self.naturalMean = naturalMean
  }

  /// A prior with mean 0 and the same precision in every direction.
  ///
  /// - Parameters:
  ///   - size: D.
  ///   - classCount: K.
  ///   - precision: the precision of each weight, positive.
  public init(size: Int, classCount: Int, precision: Double) {
    self.init(
      precision: .diagonal(precision, size: size), naturalMean: .zeros(size, classCount))
  }

  /// D, the number of weights of a class.
  public var size: Int { precision.rowCount }
  /// K, the number of classes.
  public var classCount: Int { naturalMean.columnCount }

  /// The mean `mu = Λ⁻¹η`, D x K.
  ///
  /// - Throws: `NumericsError.notPositiveDefinite` if the precision is not positive definite.
  /// - Complexity: D³/3 + 2·D²·K floating-point operations.
  public func mean() throws(NumericsError) -> Matrix<Double> {
    try Cholesky(precision).solve(naturalMean)
  }
}

/// Which covariance of the weights stands behind the predictions of a Laplace head.
///
/// With h the curvatures of the log-likelihood at the optimum (N x C):
public enum CovarianceStructure: String, Sendable, Equatable, CaseIterable, Codable {
  /// `Λ = B ⊗ A + λ·I`: one matrix between features, one between classes; the default.
  case kronecker
  /// `Λ = Λ₀ + XᵀX`: unit curvature for every row, as in mean-field variational inference.
  case meanField = "meanfield"
  /// `Λ = Λ₀ + Xᵀ·diag(mean_k h_ik)·X`, one for all classes.
  case shared = "laplace-shared"
  /// `Λ_k = Λ₀ + Xᵀ·diag(h_ik)·X`, one for each class.
  case block = "laplace"
  /// The diagonal of `Λ_k` alone.
  case diagonal = "laplace-diag"
}

/// A Gaussian's covariance over the weights of C columns, in the form that leverages are computed from.
package struct PosteriorCovariance<Scalar: BLASScalar>: Sendable {
  package let structure: CovarianceStructure
  /// The number of columns of the weights.
  let columnCount: Int
  /// Of the precisions: one, or one for each column; none for diagonals.
  package let factors: [Cholesky<Scalar>]
  /// For diagonals: variances, D x C.
  package let variances: Matrix<Double>?
  /// For a Kronecker product.
  package let kronecker: KroneckerCovariance<Scalar>?

  /// Keeps a covariance as a checkpoint holds it.
  package init(
    structure: CovarianceStructure, columnCount: Int, factors: [Cholesky<Scalar>],
    variances: Matrix<Double>?
  ) {
    self.structure = structure
    self.columnCount = columnCount
    self.factors = factors
    self.variances = variances
    kronecker = nil
  }

  /// Wraps a Kronecker product.
  package init(_ kronecker: KroneckerCovariance<Scalar>) {
    structure = .kronecker
    columnCount = kronecker.outputShares.rowCount
    factors = []
    variances = nil
    self.kronecker = kronecker
  }

  /// Computes the covariance at the optimum.
  ///
  /// - Parameters:
  ///   - structure: which, but for `kronecker`.
  ///   - design: N x D.
  ///   - curvatures: h, N x C.
  ///   - prior: the diagonals of Λ₀, D x C.
  ///   - gram: XᵀX.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError.notPositiveDefinite` when rounding made a precision indefinite.
  init(
    _ structure: CovarianceStructure, design: DesignMatrix<Scalar>, curvatures: Matrix<Scalar>,
    prior: Matrix<Double>, gram: Matrix<Double>, execution: Execution
  ) throws(NumericsError) {
    self.structure = structure
    columnCount = curvatures.columnCount
    kronecker = nil
    func factor(_ gram: Matrix<Double>, _ column: Int) throws(NumericsError) -> Cholesky<Double> {
      var precision = gram
      precision.addToDiagonal(prior.column(column))
      return try Cholesky(precision)
    }
    let isShared = (1..<max(columnCount, 1)).allSatisfy { prior.column($0) == prior.column(0) }
    var factors: [Cholesky<Double>] = []
    var variances = Matrix<Double>?.none
    switch structure {
    case .meanField, .kronecker:
      for k in 0..<(isShared ? 1 : columnCount) { factors.append(try factor(gram, k)) }
    case .shared:
      let means = (0..<curvatures.rowCount).map { row in
        curvatures.withRow(row) { h in
          var sum = 0.0
          for k in h.indices { sum += Double(h[k]) }
          return sum / Double(h.count)
        }
      }
      let weighted = design.gram(rowWeights: means, execution: execution)
      for k in 0..<(isShared ? 1 : columnCount) { factors.append(try factor(weighted, k)) }
    case .block:
      // The two logits of two classes have the same curvature.
      for k in 0..<(columnCount == 2 && isShared ? 1 : columnCount) {
        try execution.checkCancellation()
        let weights = curvatures.column(k).map(Double.init)
        factors.append(
          try factor(design.gram(rowWeights: weights, execution: execution), k))
      }
    case .diagonal:
      variances = Self.diagonal(design, curvatures, prior)
    }
    self.variances = variances
    self.factors = factors.map { $0.converted() }
  }

  /// 1 / (Λ₀ + Σᵢ h_ik x_ij²), D x C.
  private static func diagonal(
    _ design: DesignMatrix<Scalar>, _ curvatures: Matrix<Scalar>, _ prior: Matrix<Double>
  ) -> Matrix<Double> {
    var sums = prior
    for start in stride(from: 0, to: design.rowCount, by: 2048) {
      let range = start..<min(start + 2048, design.rowCount)
      let squares = design.matrix(rows: range).map { $0 * $0 }
      sums.add(
        Matrix<Double>(squares.multiplied(by: curvatures.rows(range).compact(), transposing: true)))
    }
    return sums.map { 1 / $0 }
  }

  /// The variances `x_iᵀΛ_k⁻¹x_i` of the logits of rows.
  ///
  /// - Parameter rows: n x D.
  /// - Returns: n x C.
  func leverages(_ rows: Matrix<Scalar>) -> Matrix<Scalar> {
    if let kronecker { return kronecker.leverages(rows) }
    var result = Matrix<Scalar>.zeros(rows.rowCount, columnCount)
    if let variances {
      Matrix.multiply(rows.map { $0 * $0 }, Matrix<Scalar>(variances), into: &result)
      return result
    }
    for (k, factor) in factors.enumerated() {
      var whitened = rows
      factor.whiten(rows: &whitened)
      for (row, norm) in whitened.rowSquaredNorms().map({ Scalar($0) }).enumerated() {
        if factors.count == 1 {
          for column in 0..<columnCount { result[row, column] = norm }
        } else {
          result[row, k] = norm
        }
      }
    }
    return result
  }

  /// The same for the rows of a design, block by block on all threads.
  func leverages(of design: DesignMatrix<Scalar>, execution: Execution) -> Matrix<Scalar> {
    Matrix(rows: design.rowCount, columns: columnCount, blockSize: 256, execution) {
      leverages(design.matrix(rows: $0))
    }
  }
}

/// A Gaussian over the weights around their optimum.
package struct LaplacePosterior: Sendable {
  /// The optimum, inputs x C; the bias is the last row.
  package let mean: Matrix<Double>
  package let covariance: PosteriorCovariance<Float>
  /// λ, of the prior of the weights; a geometric mean if there are many.
  package let priorPrecision: Double

  package init(
    mean: Matrix<Double>, covariance: PosteriorCovariance<Float>, priorPrecision: Double
  ) {
    (self.mean, self.covariance, self.priorPrecision) = (mean, covariance, priorPrecision)
  }

  /// Means and variances of the logits of rows.
  ///
  /// - Parameters:
  ///   - inputs: n rows of inputs of the weights.
  ///   - squaredNormsOutside: of what lies outside the space of the training rows, which has the prior's variance.
  /// - Returns: n x C.
  func moments(_ inputs: Matrix<Float>, squaredNormsOutside: [Double]?) -> LatentMoments {
    var variances = Matrix<Double>(covariance.leverages(inputs))
    for (row, norm) in (squaredNormsOutside ?? []).enumerated() {
      let variance = Double(Float(norm / priorPrecision))
      variances.withMutableRow(row) { for k in $0.indices { $0[k] += variance } }
    }
    return LatentMoments(
      means: Matrix<Double>(inputs.multiplied(by: Matrix<Float>(mean))), variances: variances)
  }
}
