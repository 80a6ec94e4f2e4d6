import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

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
struct KroneckerCovariance<Scalar: BLASScalar>: Sendable {
  /// x̄, D numbers.
  let center: [Scalar]
  /// U, D x D: column d belongs to a_d.
  let vectors: Matrix<Scalar>
  /// a, not negative.
  let values: [Double]
  /// N, the sum of the rows' weights.
  let rowTotal: Double
  /// b, of the directions that mean something.
  let outputValues: [Double]
  /// V_kj², C x J.
  let outputShares: Matrix<Double>
  /// λ.
  let priorPrecision: Double
  /// λ of the bias.
  let biasPrecision: Double

  /// The curvature between features: x̄, and A without the bias, as an eigendecomposition.
  struct Inputs: Sendable {
    let center: [Scalar]
    let vectors: Matrix<Scalar>
    let values: [Double]
    let rowTotal: Double

    init(center: [Scalar], vectors: Matrix<Scalar>, values: [Double], rowTotal: Double) {
      self.center = center
      self.vectors = vectors
      self.values = values
      self.rowTotal = rowTotal
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
  init(
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

  init(
    _ inputs: Inputs, outputValues: [Double], outputShares: Matrix<Double>,
    priorPrecision: Double, biasPrecision: Double
  ) {
    center = inputs.center
    vectors = inputs.vectors
    values = inputs.values
    rowTotal = inputs.rowTotal
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
      for a in values { sum += log1p(a * b / priorPrecision) }
      sum += log1p(rowTotal * b / biasPrecision)
    }
    return sum
  }

  /// The variances of the logits of rows.
  ///
  /// - Parameter rows: n x (D + 1), the last column ones.
  /// - Returns: n x C.
  func leverages(_ rows: Matrix<Scalar>) -> Matrix<Scalar> {
    let size = values.count
    var centred = rows.columns(0..<size).compact()
    for row in 0..<centred.rowCount {
      centred.withMutableRow(row) { values in
        for column in values.indices { values[column] -= center[column] }
      }
    }
    // (n, D), then squared.
    let squares = centred.multiplied(by: vectors).map { $0 * $0 }
    var variances = Matrix<Double>.zeros(size, outputValues.count)
    for row in 0..<size {
      variances.withMutableRow(row) { target in
        for j in target.indices { target[j] = 1 / (values[row] * outputValues[j] + priorPrecision) }
      }
    }
    var alongOutputs = squares.multiplied(by: Matrix<Scalar>(variances))  // (n, J)
    let biases = outputValues.map { Scalar(1 / (rowTotal * $0 + biasPrecision)) }
    for row in 0..<alongOutputs.rowCount {
      alongOutputs.withMutableRow(row) { target in
        for j in target.indices { target[j] += biases[j] }
      }
    }
    var shares = outputShares.transposed()  // (J, C)
    shares.scale(by: factor)
    return alongOutputs.multiplied(by: Matrix<Scalar>(shares))
  }
}

extension KroneckerCovariance {
  /// The variances of the logits of a few rows, without the eigendecomposition between features where
  /// there are few directions of the logits: a factorisation for each costs less.
  ///
  /// - Parameters:
  ///   - rows: n x (D + 1), the last column ones.
  ///   - gram: A with the bias, (D + 1) x (D + 1).
  ///   - known: its eigendecomposition, if there is one.
  ///   - outputCurvature: B, C x C.
  ///   - directionCount: how many of its directions mean something.
  ///   - priorPrecision: λ.
  ///   - biasPrecision: of the bias.
  /// - Returns: n x C.
  /// - Throws: `NumericsError` when an eigendecomposition fails or a matrix is indefinite.
  static func leverages(
    of rows: Matrix<Scalar>, gram: Matrix<Double>, known: Inputs?, outputCurvature: Matrix<Double>,
    directionCount: Int, priorPrecision: Double, biasPrecision: Double
  ) throws(NumericsError) -> Matrix<Scalar> {
    guard known == nil, directionCount <= directionLimit else {
      let inputs: Inputs
      if let known { inputs = known } else { inputs = try Inputs(gram: gram) }
      return try KroneckerCovariance(
        inputs, outputCurvature: outputCurvature,
        directionCount: directionCount, priorPrecision: priorPrecision,
        biasPrecision: biasPrecision
      ).leverages(rows)
    }
    let eigen = try SymmetricEigen(outputCurvature)
    let kept = eigen.values.indices.suffix(directionCount)
    let columns = outputCurvature.rowCount
    let size = gram.rowCount - 1
    var result = Matrix<Scalar>.zeros(rows.rowCount, columns)
    let factor = directionCount < columns ? Double(columns) / Double(directionCount) : 1
    var prior = [Double](repeating: priorPrecision, count: size + 1)
    prior[size] = biasPrecision
    for j in kept {
      var precision = gram
      precision.scale(by: max(eigen.values[j], 0))
      precision.addToDiagonal(prior)
      var whitened = rows
      let cholesky: Cholesky<Scalar> = try Cholesky(precision).converted()
      cholesky.whiten(rows: &whitened)
      let shares = eigen.rowVectors.row(j).map { Scalar(factor * $0 * $0) }
      for row in 0..<rows.rowCount {
        let norm = Scalar(whitened.rows(row..<row + 1).squaredNorm)
        result.withMutableRow(row) { target in
          for k in target.indices { target[k] += norm * shares[k] }
        }
      }
    }
    return result
  }

  /// An eigendecomposition takes some 9·D³ operations, most of them slow ones; a factorisation D³/3.
  private static var directionLimit: Int { 16 }
}
