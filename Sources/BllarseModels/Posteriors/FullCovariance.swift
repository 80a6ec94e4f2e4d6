package import BllarseNumerics
import Glibc

/// The Gaussian around an optimum whose precision is the whole Hessian, all columns of the weights coupled.
///
///     Λ = Σᵢ Bᵢ ⊗ xᵢxᵢᵀ + Λ₀,   B_i = wᵢ(diag(pᵢ) - pᵢpᵢᵀ)
///
/// of order D·C: the generalised Gauss-Newton matrix of a softmax, which is its Hessian. Everything is in double
/// precision: where all logits shift together only the prior holds the weights, and what is left of a variance without
/// that direction is a small difference.
package struct FullCovariance: Sendable {
  /// `Λ⁻¹`, the weights of one column after those of another, order D·C.
  package let matrix: Matrix<Double>
  /// C, the number of columns of the weights.
  package let columnCount: Int
  /// The number of directions in which logits have a meaning.
  package let directionCount: Int
  /// `log|Λ| - log|Λ₀|`; `nil` after reading a checkpoint.
  package let logDeterminantRatio: Double?

  /// Keeps a covariance as a checkpoint holds it.
  package init(
    matrix: Matrix<Double>, columnCount: Int, directionCount: Int,
    logDeterminantRatio: Double? = nil
  ) {
    (self.matrix, self.columnCount) = (matrix, columnCount)
    (self.directionCount, self.logDeterminantRatio) = (directionCount, logDeterminantRatio)
  }

  /// Inverts a precision.
  ///
  /// - Parameters:
  ///   - hessian: of the negative log-likelihood, order D·C.
  ///   - prior: the diagonal of Λ₀, D x C.
  ///   - directionCount: how many directions of the logits mean something.
  /// - Throws: `NumericsError.notPositiveDefinite` when rounding made the precision indefinite.
  /// - Complexity: (D·C)³ operations, and three matrices of order D·C.
  init(
    hessian: Matrix<Double>, prior: Matrix<Double>, directionCount: Int
  ) throws(NumericsError) {
    let factor = try Self.factor(hessian, prior)
    self.init(
      matrix: factor.inverse(), columnCount: prior.columnCount, directionCount: directionCount,
      logDeterminantRatio: factor.logDeterminant - Self.logDeterminant(prior))
  }

  /// `log|Λ| - log|Λ₀|` alone.
  static func logDeterminantRatio(
    hessian: Matrix<Double>, prior: Matrix<Double>
  ) throws(NumericsError) -> Double {
    try factor(hessian, prior).logDeterminant - logDeterminant(prior)
  }

  private static func factor(
    _ hessian: Matrix<Double>, _ prior: Matrix<Double>
  ) throws(NumericsError) -> Cholesky<Double> {
    var precision = hessian
    precision.addToDiagonal(prior.transposed().elements)
    return try Cholesky(precision)
  }

  private static func logDeterminant(_ prior: Matrix<Double>) -> Double {
    prior.elements.reduce(0) { $0 + log($1) }
  }

  /// D, bias included.
  var inputCount: Int { matrix.rowCount / max(columnCount, 1) }

  /// The covariances of the logits of rows, `Σ_f = (I ⊗ xᵀ)·Λ⁻¹·(I ⊗ x)`.
  ///
  /// - Parameter rows: n x D.
  /// - Returns: n x C², the rows of a C x C matrix one after the other.
  func logitCovariances(_ rows: Matrix<Double>) -> Matrix<Double> {
    let (count, inputs, columns) = (rows.rowCount, inputCount, columnCount)
    var result = Matrix<Double>.zeros(count, columns * columns)
    for k in 0..<columns {
      // What is left of the diagonal block is known by symmetry.
      let strip = matrix.rows(k * inputs..<(k + 1) * inputs)
        .columns(k * inputs..<columns * inputs)
      let products = rows.multiplied(by: strip)  // (n, (C - k)·D)
      for l in k..<columns {
        let block = products.columns((l - k) * inputs..<(l - k + 1) * inputs)
        for row in 0..<count {
          let value = block.rows(row..<row + 1).dot(rows.rows(row..<row + 1))
          result[row, k * columns + l] = value
          result[row, l * columns + k] = value
        }
      }
    }
    return result
  }

  /// The variances of the logits of rows, less what all logits of a row have in common.
  ///
  /// Where only differences of logits mean something, these are scaled so that a difference of two logits has twice the
  /// variance, as ``KroneckerCovariance/factor`` does.
  ///
  /// - Parameter rows: n x D.
  /// - Returns: n x C.
  func leverages(_ rows: Matrix<Double>) -> Matrix<Double> {
    let covariances = logitCovariances(rows)
    let columns = columnCount
    var result = Matrix<Double>.zeros(rows.rowCount, columns)
    let isCentred = directionCount < columns
    let factor = isCentred ? Double(columns) / Double(max(directionCount, 1)) : 1
    for row in 0..<rows.rowCount {
      covariances.withRow(row) { values in
        var means = [Double](repeating: 0, count: columns)
        var mean = 0.0
        if isCentred {
          for k in 0..<columns {
            for l in 0..<columns { means[k] += values[k * columns + l] }
            means[k] /= Double(columns)
            mean += means[k] / Double(columns)
          }
        }
        for k in 0..<columns {
          result[row, k] = factor * max(0, values[k * columns + k] - 2 * means[k] + mean)
        }
      }
    }
    return result
  }

  /// What forming and inverting one takes, in bytes: the Hessian, its factor, the inverse, and a copy that is stored.
  ///
  /// - Parameters:
  ///   - inputs: D, bias included.
  ///   - columns: C.
  /// - Returns: bytes.
  package static func memory(inputs: Double, columns: Double) -> Double {
    4 * 8 * (inputs * columns) * (inputs * columns)
  }

  /// Refuses what a fit would work in that does not fit into memory.
  ///
  /// - Parameters:
  ///   - rows: N.
  ///   - features: D, without the bias; the space of the rows has at most N.
  ///   - classes: K.
  /// - Throws: `NumericsError.tooLarge`.
  package static func checkMemory(
    rows: Int, features: Int, classes: Int
  ) throws(NumericsError) {
    try checkMemory(inputs: min(features, rows) + 1, columns: classes)
  }

  /// Refuses an order whose matrices do not fit into memory.
  ///
  /// - Parameters:
  ///   - inputs: D, bias included.
  ///   - columns: C.
  /// - Throws: `NumericsError.tooLarge`.
  package static func checkMemory(inputs: Int, columns: Int) throws(NumericsError) {
    let bytes = memory(inputs: Double(inputs), columns: Double(columns))
    let limits = MachineLimits.current
    let limit = min(limits.memory ?? .max, MachineLimits.physicalMemory ?? .max)
    guard bytes > Double(limit) else { return }
    throw .tooLarge(
      "the full covariance of \(inputs) weights (with the bias) of each of \(columns) classes, of order "
        + "\(inputs * columns),", bytes: Int(min(bytes, 1e18)), limit: limit,
      advice: "take --posterior kron, whose matrices have the order of the features")
  }
}
