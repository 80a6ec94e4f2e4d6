package import BllarseNumerics
import Glibc

/// The Gaussian around an optimum whose precision is a Kronecker product.
///
///     Λ = B ⊗ A + λ·I,   A = Xᵀ·diag(h/h̄)·X,   B = mean_i B_i,   h_i = tr B_i
///
/// B_i is the curvature of the log-likelihood of a row between its logits: `diag(p) - ppᵀ` for the softmax.
/// For two classes, and wherever all rows have the same B_i up to a factor, this is the Hessian itself.
/// With the eigenvalues a of A and b of B, V the eigenvectors of B, the variance of a logit is
///
///     v_k = Σ_j V_kj² Σ_d z_d² / (a_d b_j + λ),   z = Uᵀ(x - x̄)
///
/// and two products for all rows. The bias has a prior of its own: rows are centred at x̄, their mean weighted
/// with h, where it has no covariance with the other weights and a precision of `N·b_j + λ_bias`.
///
/// - Note: Source: Ritter, Botev and Barber, "A scalable Laplace approximation for neural networks", ICLR
///   2018, for the form.
package struct KroneckerCovariance<Scalar: BLASScalar>: Sendable {
  /// Of the features.
  package let inputs: Inputs
  /// b, of the directions that mean something.
  package let outputValues: [Double]
  /// V_kj², C x J.
  package let outputShares: Matrix<Double>
  /// λ.
  let priorPrecision: Double
  /// λ of the bias.
  package let biasPrecision: Double

  /// The curvature between features: x̄, and A without the bias, as an eigendecomposition.
  package struct Inputs: Sendable {
    /// x̄, D numbers.
    package let center: [Scalar]
    /// U, D x D: column d belongs to a_d.
    package let vectors: Matrix<Scalar>
    /// a, not negative.
    package let values: [Double]
    /// N, the sum of the rows' weights.
    package let rowTotal: Double

    package init(center: [Scalar], vectors: Matrix<Scalar>, values: [Double], rowTotal: Double) {
      self.center = center
      self.vectors = vectors
      self.values = values
      self.rowTotal = rowTotal
    }

    /// `(Uᵀ(x - x̄))²` of rows.
    ///
    /// - Parameter rows: n x (D + 1), the last column ones.
    /// - Returns: n x D.
    func squares(of rows: Matrix<Scalar>) -> Matrix<Scalar> {
      var centred = rows.columns(0..<values.count).compact()
      centred.addToRows(center, times: -1)
      var squares = centred.multiplied(by: vectors)
      squares.formSquares()
      return squares
    }

    /// Decomposes a Gram matrix.
    ///
    /// - Parameter gram: `Xᵀ·diag(h/h̄)·X`, the bias in the last row and column.
    /// - Throws: `NumericsError` when the eigendecomposition fails.
    init(gram: Matrix<Double>) throws(NumericsError) {
      let size = gram.rowCount - 1
      let total = gram[size, size]
      let mean = (0..<size).map { total > 0 ? gram[size, $0] / total : 0 }
      var inner = gram.rows(0..<size).columns(0..<size).compact()
      for row in 0..<size {
        let factor = mean[row] * total
        inner.withMutableRow(row) { values in
          for column in values.indices { values[column] -= factor * mean[column] }
        }
      }
      let eigen = try SymmetricEigen(inner)
      rowTotal = total
      center = mean.map { Scalar($0) }
      vectors = Matrix<Scalar>(eigen.rowVectors.transposed())
      values = eigen.values.map { max($0, 0) }
    }
  }

  /// Puts the two factors together.
  ///
  /// - Parameters:
  ///   - inputs: of the features.
  ///   - outputCurvature: B, C x C.
  ///   - directionCount: how many of its directions mean something: those of its largest eigenvalues.
  ///   - priorPrecision: λ.
  ///   - biasPrecision: of the bias.
  /// - Throws: `NumericsError` when an eigendecomposition fails.
  package init(
    _ inputs: Inputs, outputCurvature: Matrix<Double>, directionCount: Int,
    priorPrecision: Double, biasPrecision: Double
  ) throws(NumericsError) {
    let eigen = try SymmetricEigen(outputCurvature)
    let kept = eigen.values.indices.suffix(directionCount)
    self.init(
      inputs, outputValues: kept.map { max(eigen.values[$0], 0) },
      outputShares: eigen.rowVectors.gatheringRows(kept).transposed().map { $0 * $0 },
      priorPrecision: priorPrecision, biasPrecision: biasPrecision)
  }

  package init(
    _ inputs: Inputs, outputValues: [Double], outputShares: Matrix<Double>,
    priorPrecision: Double, biasPrecision: Double
  ) {
    self.inputs = inputs
    self.outputValues = outputValues
    self.outputShares = outputShares
    self.priorPrecision = priorPrecision
    self.biasPrecision = biasPrecision
  }

  /// The factor that makes the variances those of logits whose differences have twice the variance.
  ///
  /// Where only differences of logits mean something, a logit less the mean of all has (C-1)/C of it.
  var factor: Double {
    let (columns, directions) = (outputShares.rowCount, outputValues.count)
    return directions < columns ? Double(columns) / Double(directions) : 1
  }

  /// `log|Λ|` less that of the prior: Σ log(1 + a_d b_j / λ), with the bias.
  var logDeterminantRatio: Double {
    var sum = 0.0
    for b in outputValues {
      for a in inputs.values { sum += log1p(a * b / priorPrecision) }
      sum += log1p(inputs.rowTotal * b / biasPrecision)
    }
    return sum
  }

  /// What does not depend on the rows whose variances are asked for.
  private struct Factors {
    /// 1 / (a_d b_j + λ), D x J.
    let variances: Matrix<Scalar>
    /// Of the bias, J numbers.
    let biases: [Scalar]
    /// V_kj², J x C, times ``factor``.
    let shares: Matrix<Scalar>
  }

  private var factors: Factors {
    let variances = Matrix<Double>(rows: inputs.values.count, columns: outputValues.count) {
      target in
      for row in inputs.values.indices {
        for (j, b) in outputValues.enumerated() {
          target[row * outputValues.count + j] = 1 / (inputs.values[row] * b + priorPrecision)
        }
      }
    }
    var shares = outputShares.transposed()
    shares.scale(by: factor)
    return Factors(
      variances: Matrix<Scalar>(variances),
      biases: outputValues.map { Scalar(1 / (inputs.rowTotal * $0 + biasPrecision)) },
      shares: Matrix<Scalar>(shares))
  }

  /// The variances of the logits of rows.
  ///
  /// - Parameter rows: n x (D + 1), the last column ones.
  /// - Returns: n x C.
  func leverages(_ rows: Matrix<Scalar>) -> Matrix<Scalar> {
    leverages(squares: inputs.squares(of: rows), factors)
  }

  /// The same, from the squares of what the rows are along the eigenvectors, n x D.
  private func leverages(squares: Matrix<Scalar>, _ factors: Factors) -> Matrix<Scalar> {
    var alongOutputs = squares.multiplied(by: factors.variances)  // (n, J)
    alongOutputs.addToRows(factors.biases)
    return alongOutputs.multiplied(by: factors.shares)
  }
}

extension KroneckerCovariance {
  /// Rows along the eigenvectors of a curvature between features: what their variances need of both, for any prior and
  /// any curvature between logits.
  struct ProjectedRows: Sendable {
    let inputs: Inputs
    /// n x D.
    let squares: Matrix<Scalar>

    /// Projects rows, n x (D + 1), the last column ones.
    init(_ rows: Matrix<Scalar>, on inputs: Inputs, execution: Execution) {
      self.inputs = inputs
      squares = inBlocks(of: rows, columns: inputs.values.count, execution) {
        inputs.squares(of: $0)
      }
    }

    /// The variances of the rows' logits.
    ///
    /// - Parameters:
    ///   - outputCurvature: B, C x C.
    ///   - directionCount: how many of its directions mean something.
    ///   - priorPrecision: λ.
    ///   - biasPrecision: of the bias.
    ///   - execution: the threads to work with.
    /// - Returns: n x C.
    /// - Throws: `NumericsError` when an eigendecomposition fails.
    func leverages(
      outputCurvature: Matrix<Double>, directionCount: Int, priorPrecision: Double,
      biasPrecision: Double, execution: Execution
    ) throws(NumericsError) -> Matrix<Scalar> {
      let covariance = try KroneckerCovariance(
        inputs, outputCurvature: outputCurvature, directionCount: directionCount,
        priorPrecision: priorPrecision, biasPrecision: biasPrecision)
      let factors = covariance.factors
      return inBlocks(of: squares, columns: outputCurvature.rowCount, execution) {
        covariance.leverages(squares: $0, factors)
      }
    }
  }

  /// The variances of the logits of a few rows, without the eigendecomposition between features where
  /// there are few directions of the logits: a factorisation for each costs less.
  ///
  /// - Parameters:
  ///   - rows: n x (D + 1), the last column ones.
  ///   - gram: A with the bias, (D + 1) x (D + 1).
  ///   - outputCurvature: B, C x C.
  ///   - directionCount: how many of its directions mean something.
  ///   - priorPrecision: λ.
  ///   - biasPrecision: of the bias.
  ///   - execution: the threads to work with.
  /// - Returns: n x C.
  /// - Throws: `NumericsError` when an eigendecomposition fails or a matrix is indefinite.
  static func leverages(
    of rows: Matrix<Scalar>, gram: Matrix<Double>, outputCurvature: Matrix<Double>,
    directionCount: Int, priorPrecision: Double, biasPrecision: Double, execution: Execution
  ) throws(NumericsError) -> Matrix<Scalar> {
    let columns = outputCurvature.rowCount
    guard directionCount <= directionLimit else {
      let projected = ProjectedRows(rows, on: try Inputs(gram: gram), execution: execution)
      return try projected.leverages(
        outputCurvature: outputCurvature, directionCount: directionCount,
        priorPrecision: priorPrecision, biasPrecision: biasPrecision, execution: execution)
    }
    let eigen = try SymmetricEigen(outputCurvature)
    let kept = eigen.values.indices.suffix(directionCount)
    let size = gram.rowCount - 1
    let factor = directionCount < columns ? Double(columns) / Double(directionCount) : 1
    var prior = [Double](repeating: priorPrecision, count: size + 1)
    prior[size] = biasPrecision
    var choleskies: [(factor: Cholesky<Scalar>, shares: [Scalar])] = []
    for j in kept {
      var precision = gram
      precision.scale(by: max(eigen.values[j], 0))
      precision.addToDiagonal(prior)
      choleskies.append(
        (
          try Cholesky(precision).converted(),
          eigen.rowVectors.row(j).map { Scalar(factor * $0 * $0) }
        ))
    }
    let factors = choleskies
    return inBlocks(of: rows, columns: columns, execution) { rows in
      var result = Matrix<Scalar>.zeros(rows.rowCount, columns)
      for (factor, shares) in factors {
        var whitened = rows.compact()
        factor.whiten(rows: &whitened)
        for (row, norm) in whitened.rowSquaredNorms().enumerated() {
          for k in 0..<columns { result[row, k] += Scalar(norm) * shares[k] }
        }
      }
      return result
    }
  }

  /// Variances of rows, block by block on all threads.
  private static func inBlocks(
    of rows: Matrix<Scalar>, columns: Int, _ execution: Execution,
    _ body: @Sendable (Matrix<Scalar>) -> Matrix<Scalar>
  ) -> Matrix<Scalar> {
    Matrix(rows: rows.rowCount, columns: columns, blockSize: 256, execution) {
      body(rows.rows($0))
    }
  }

  /// An eigendecomposition takes some 9·D³ operations, most of them slow ones; a factorisation D³/3.
  private static var directionLimit: Int { 16 }
}
