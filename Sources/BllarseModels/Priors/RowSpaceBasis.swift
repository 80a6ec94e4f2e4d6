package import BllarseNumerics

/// An orthonormal basis of the space that the rows of a design span, for features that outnumber rows.
///
/// Under a prior that is the same in all directions, weights at an optimum lie in that space: what is
/// orthogonal to all rows changes no prediction and costs a penalty. So a problem over D features
/// becomes one over R ≤ N coordinates, with the same optimum and, as the directions without data
/// contribute `log λ - log λ`, the same evidence. With `XXᵀ = Uᵀ·diag(e)·U`,
///
///     X = coordinates · basisᵀ,   coordinates = Uᵀ·diag(√e)   (N, R),   basis = Xᵀ·Uᵀ·diag(1/√e)   (D, R).
///
/// The condition number of `XXᵀ` is the square of that of X: directions are kept whose length is more than
/// 1e-5 (single precision) or 3e-7 (double) of the longest one.
///
/// - Complexity: N²·D and 9·N³ floating-point operations; memory for N² numbers and some rows.
struct RowSpaceBasis {
  /// e, the squared lengths of the rows along the basis: R numbers, ascending, positive.
  let eigenvalues: [Double]
  /// U, R x N.
  let eigenvectors: Matrix<Double>

  /// Finds the basis.
  ///
  /// - Parameters:
  ///   - design: N x D, without a bias; center it beforehand, as the Gram matrix of rows with a common
  ///     offset has that offset for its only large eigenvalue.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError` when the eigendecomposition fails or a feature is not finite.
  init<Scalar: BLASScalar>(
    _ design: DesignMatrix<Scalar>, execution: Execution
  ) throws(NumericsError) {
    let gram = Self.gramOfRows(design, execution: execution)
    try execution.checkCancellation()
    let eigen = try execution.withBLAS { () throws(NumericsError) in try SymmetricEigen(gram) }
    let largest = max(eigen.values.last ?? 0, 0)
    let resolution = Scalar.self == Double.self ? 1e-13 : 1e-10
    let kept = eigen.values.indices.filter {
      eigen.values[$0] > max(resolution * largest, 1e-300)
    }
    eigenvalues = kept.map { eigen.values[$0] }
    eigenvectors = eigen.rowVectors.gatheringRows(kept)
  }

  /// The rows in this basis, N x R.
  var coordinates: Matrix<Double> {
    scaledVectors { $0.squareRoot() }.transposed()
  }

  /// The basis itself, D x R.
  func vectors<Scalar: BLASScalar>(
    of design: DesignMatrix<Scalar>, execution: Execution
  ) -> Matrix<Scalar> {
    let coefficients = scaledVectors { 1 / $0.squareRoot() }  // (R, N)
    return Matrix<Scalar>(
      Self.combine(design, coefficients, execution: execution)
    ).transposed()
  }

  /// Weights of the features from weights of the coordinates, `basis · w`.
  ///
  /// - Parameters:
  ///   - weights: R x K.
  ///   - design: what the basis was made from.
  ///   - execution: the threads to work with.
  /// - Returns: D x K.
  func featureWeights<Scalar: BLASScalar>(
    _ weights: Matrix<Double>, _ design: DesignMatrix<Scalar>, execution: Execution
  ) -> Matrix<Double> {
    let coefficients = scaledVectors { 1 / $0.squareRoot() }  // (R, N)
    let rows = weights.multiplied(by: coefficients, transposing: true)  // (K, N)
    return Self.combine(design, rows, execution: execution).transposed()
  }

  /// U with each row multiplied by a function of its eigenvalue.
  private func scaledVectors(_ factor: (Double) -> Double) -> Matrix<Double> {
    var result = eigenvectors
    for (index, value) in eigenvalues.enumerated() {
      let factor = factor(value)
      result.withMutableRow(index) { row in for i in row.indices { row[i] *= factor } }
    }
    return result
  }

  // MARK: - Products by blocks of rows

  /// Rows that are in double precision at a time: 32 MB of them, and 16 at least.
  private static func blocks(_ rowCount: Int, _ columnCount: Int) -> [Range<Int>] {
    let size = max(16, (32 << 20) / (8 * max(columnCount, 1)))
    return stride(from: 0, to: rowCount, by: size).map { $0..<min($0 + size, rowCount) }
  }

  /// `XXᵀ`, N x N.
  private static func gramOfRows<Scalar: BLASScalar>(
    _ design: DesignMatrix<Scalar>, execution: Execution
  ) -> Matrix<Double> {
    let blocks = blocks(design.rowCount, design.columnCount)
    var gram = Matrix<Double>.zeros(design.rowCount, design.rowCount)
    for (index, range) in blocks.enumerated() {
      let rows = Matrix<Double>(design.matrix(rows: range))
      for other in blocks[...index] {
        let columns = other == range ? rows : Matrix<Double>(design.matrix(rows: other))
        let product = execution.withBLAS {
          rows.multiplied(by: columns, transposingOther: true)
        }
        gram.replaceBlock(row: range.lowerBound, column: other.lowerBound, with: product)
      }
    }
    gram.mirrorLowerTriangle()
    return gram
  }

  /// `coefficients · X`: M x N times N x D.
  private static func combine<Scalar: BLASScalar>(
    _ design: DesignMatrix<Scalar>, _ coefficients: Matrix<Double>, execution: Execution
  ) -> Matrix<Double> {
    var result = Matrix<Double>.zeros(coefficients.rowCount, design.columnCount)
    for range in blocks(design.rowCount, design.columnCount) {
      let rows = Matrix<Double>(design.matrix(rows: range))
      execution.withBLAS {
        Matrix.multiply(coefficients.columns(range), rows, into: &result, beta: 1)
      }
    }
    return result
  }
}

/// The training rows as the optima of the classical heads see them: centred, divided by one number, and
/// in the smaller of two spaces, that of the features or that of the rows.
///
/// Biases bear no penalty, so centring is a change of variables; and weights under one penalty λ are
/// `w = w'/g` for features divided by g, under the penalty `λ' = λ/g²`. So the optimum and its evidence
/// are those of the features as they are, but no digit is lost to their offset, and what is small or
/// large is so by itself: λ' is in units of features of mean variance 1.
package struct CentredDesign {
  /// The means of the features, D.
  package let means: [Double]
  /// g, the root of the features' mean variance.
  let scale: Double
  /// Where features outnumber rows, the space of the rows.
  let basis: RowSpaceBasis?
  /// The rows, N x (P + 1), P features or coordinates and a column of ones.
  let design: DesignMatrix<Float>
  /// The features, centred and divided, N x D.
  private let rows: DesignMatrix<Double>
  private let execution: Execution

  /// Centres and scales the rows.
  ///
  /// A feature that varies by less than the rounding of its values counts as a constant, and gets no
  /// weight.
  ///
  /// - Parameters:
  ///   - features: N x D, finite.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError` when the eigendecomposition of the rows' Gram matrix fails.
  package init(_ features: FeatureMatrix, execution: Execution) throws(NumericsError) {
    let statistics = ColumnStatistics(features, execution: execution)
    let deviation = statistics.globalDeviation
    let scale = deviation > 0 ? deviation : 1
    let factors = statistics.variation.map { $0 ? 1 / scale : 0 }
    let transform = FeatureTransform.columns(
      scale: factors, shift: zip(factors, statistics.means).map { -$0 * $1 })
    let rows = DesignMatrix<Double>(features, transform: transform, hasBias: false)
    if features.columnCount > features.rowCount {
      let basis = try RowSpaceBasis(rows, execution: execution)
      design = DesignMatrix(
        FeatureMatrix(basis.coordinates), transform: .identity, hasBias: true)
      self.basis = basis
    } else {
      design = DesignMatrix(features, transform: transform, hasBias: true)
      basis = nil
    }
    means = statistics.means
    self.scale = scale
    self.rows = rows
    self.execution = execution
  }

  /// The same rows in double precision.
  var doubleDesign: DesignMatrix<Double> {
    DesignMatrix(design.features, transform: design.transform, hasBias: design.hasBias)
  }

  /// λ' for a penalty on the weights of the features.
  func scaledPenalty(_ penalty: Double) -> Double { penalty / (scale * scale) }

  /// λ for a penalty on the weights of the design.
  package func featurePenalty(_ penalty: Double) -> Double { penalty * scale * scale }

  /// Weights of the features, less their means, from weights of the design.
  ///
  /// - Parameter weights: (P + 1) x K, the biases last.
  /// - Returns: (D + 1) x K, the biases last.
  package func featureWeights(_ weights: Matrix<Double>) -> Matrix<Double> {
    let size = weights.rowCount - 1
    var inner = weights.rows(0..<size)
    if let basis { inner = basis.featureWeights(inner, rows, execution: execution) }
    if case .columns(let factors, _) = rows.transform {
      for (row, factor) in factors.enumerated() {
        // Rounding may have left something to a constant; it has no right to a weight.
        inner.withMutableRow(row) { values in for k in values.indices { values[k] *= factor } }
      }
    }
    var result = Matrix<Double>.zeros(inner.rowCount + 1, weights.columnCount)
    result.replaceBlock(row: 0, column: 0, with: inner)
    result.replaceBlock(row: inner.rowCount, column: 0, with: weights.rows(size..<size + 1))
    return result
  }
}
