package import BllarseNumerics
import Glibc

/// How the covariance of the weights of a class is parameterised.
public enum VBLLParameterization: String, Sendable, Equatable, CaseIterable, Codable {
  /// Any covariance, D x D.
  case dense
  /// A diagonal.
  case diagonal
  /// A diagonal and a product of a factor with its transpose, D x R.
  case lowRank = "lowrank"
}

/// The covariances S_k of the weights of K classes, each independent of the others.
package enum VBLLCovariance<Scalar: BLASScalar>: Sendable {
  /// Factors of the precisions `S_k⁻¹`, one for each class.
  case dense([Cholesky<Scalar>])
  /// Variances, D x K.
  case diagonal(Matrix<Double>)
  /// Variances d_k, D x K, and factors U_k, D x R, one for each class: `S_k = diag(d_k) + U_k·U_kᵀ`.
  case lowRank(Matrix<Double>, [Matrix<Double>])

  /// Which of them it is.
  package var parameterization: VBLLParameterization {
    switch self {
    case .dense: .dense
    case .diagonal: .diagonal
    case .lowRank: .lowRank
    }
  }

  /// `xᵀS_k·x` of the rows of a design.
  ///
  /// - Parameters:
  ///   - design: n x D.
  ///   - execution: the threads to work with.
  /// - Returns: n x K.
  /// - Complexity: n·D²·K for dense covariances, 2·n·D·K, and as much for each column of a factor.
  func variances(_ design: DesignMatrix<Scalar>, execution: Execution) -> Matrix<Double> {
    switch self {
    case .dense(let factors):
      var result = Matrix<Double>.zeros(design.rowCount, factors.count)
      for (k, factor) in factors.enumerated() {
        result.replaceBlock(
          row: 0, column: k,
          with: Matrix(
            rows: design.rowCount, columns: 1,
            elements: design.quadraticForms(factor, execution: execution)))
      }
      return result
    case .diagonal(let variances):
      let variances = Matrix<Scalar>(variances)
      return Matrix(
        rows: design.rowCount, columns: variances.columnCount, blockSize: 256, execution: execution
      ) { Self.products(of: design.matrix(rows: $0), variances) }
    case .lowRank(let variances, let factors):
      let variances = Matrix<Scalar>(variances)
      let factors = factors.map { Matrix<Scalar>($0) }
      return Matrix(
        rows: design.rowCount, columns: variances.columnCount, blockSize: 256, execution: execution
      ) { range in
        let rows = design.matrix(rows: range)
        var result = Self.products(of: rows, variances)
        for (k, factor) in factors.enumerated() {
          for (row, norm) in rows.multiplied(by: factor).rowSquaredNorms().enumerated() {
            result[row, k] += norm
          }
        }
        return result
      }
    }
  }

  /// Squares of rows times variances.
  private static func products(
    of rows: Matrix<Scalar>, _ variances: Matrix<Scalar>
  ) -> Matrix<Double> {
    var squares = rows.compact()
    squares.formSquares()
    return Matrix<Double>(squares.multiplied(by: variances))
  }
}

/// What the divergence of a posterior from its prior needs of its covariances.
struct CovarianceSummary: Sendable, Equatable {
  /// Σ_k log|S_k|.
  var logDeterminant: Double
  /// Σ_k tr(S_k).
  var trace: Double
}

extension VBLLCovariance {
  /// Determinants and traces.
  ///
  /// - Complexity: D³/3 for each dense covariance.
  func summary() -> CovarianceSummary {
    switch self {
    case .dense(let factors):
      var summary = CovarianceSummary(logDeterminant: 0, trace: 0)
      for factor in factors {
        summary.logDeterminant -= factor.logDeterminant
        summary.trace += factor.inverseFactor().squaredNorm
      }
      return summary
    case .diagonal(let variances):
      return CovarianceSummary(logDeterminant: variances.logSum, trace: variances.sum)
    case .lowRank(let variances, let factors):
      var summary = CovarianceSummary(logDeterminant: 0, trace: 0)
      for (k, factor) in factors.enumerated() {
        let one = LowRankCovariance(variances: variances.column(k), factor: factor)
        summary.logDeterminant += one.logDeterminant
        summary.trace += one.trace
      }
      return summary
    }
  }
}

extension Matrix<Double> {
  /// The sum of the logarithms of all elements.
  fileprivate var logSum: Double {
    var total = 0.0
    for row in 0..<rowCount {
      withRow(row) { values in for column in values.indices { total += log(values[column]) } }
    }
    return total
  }
}

/// A covariance `S = diag(d) + U·Uᵀ`, D x D, with U of few columns.
struct LowRankCovariance: Sendable {
  /// d, positive.
  var variances: [Double]
  /// U, D x R.
  var factor: Matrix<Double>

  /// `I + Uᵀ·diag(d)⁻¹·U`, R x R, as a factor, and `diag(d)⁻¹·U`.
  private var capacitance: (factor: Cholesky<Double>, scaled: Matrix<Double>)? {
    let scaled = factor.scalingRows(by: variances.map { 1 / $0 })
    var inner = factor.multiplied(by: scaled, transposing: true)
    inner.addToDiagonal([Double](repeating: 1, count: inner.rowCount))
    return (try? Cholesky(inner)).map { ($0, scaled) }
  }

  /// log|S|; not a number where rounding makes it meaningless.
  var logDeterminant: Double {
    (capacitance?.factor.logDeterminant ?? .nan) + variances.reduce(0) { $0 + log($1) }
  }

  /// tr(S).
  var trace: Double { variances.reduce(0, +) + factor.squaredNorm }

  /// S⁻¹, D x D.
  var precision: Matrix<Double> {
    var result = Matrix<Double>.diagonal(variances.map { 1 / $0 })
    if let (inner, scaled) = capacitance {
      var whitened = scaled
      inner.whiten(rows: &whitened)
      result.add(whitened.multiplied(by: whitened, transposingOther: true), times: -1)
    }
    return result
  }

  /// Finds the covariance of this form under which a Gaussian is nearest to one of a given precision.
  ///
  ///     minimise  G(S) = ½ tr(A·S) - ½ log|S|
  ///
  /// over U and log(d - f), by ``LimitedMemoryBFGS``, with f a hundred-thousandth of the variances that weights have given
  /// all others: where U can stand for a variance, d would go to zero, and log|S| would be a difference of two numbers
  /// without end. From a diagonal it starts with the columns of U that are
  /// the best for the variances there: along the eigenvectors of `diag(d)^½·A·diag(d)^½` with the smallest eigenvalues,
  /// as in the principal components of a precision.
  ///
  /// - Parameters:
  ///   - target: A, D x D, symmetric positive definite.
  ///   - rank: the columns of U.
  ///   - iterationLimit: steps at most.
  /// - Returns: a covariance whose G is not above this one's, but for the least variances.
  /// - Throws: `NumericsError` when an eigendecomposition fails.
  func nearest(
    to target: Matrix<Double>, rank: Int, iterationLimit: Int
  ) throws(NumericsError) -> LowRankCovariance {
    var start = self
    if factor.columnCount == 0 {
      start.factor = try principalFactor(of: target, rank: rank)
    }
    let size = variances.count
    let units = start.variances.map { $0.squareRoot() }
    let diagonal = target.diagonal
    let floors = diagonal.map { Self.leastVariance / $0 }
    let rests = zip(start.variances, floors).map { max($0 - $1, $1) }
    func covariance(_ point: [Double]) -> LowRankCovariance {
      LowRankCovariance(
        variances: (0..<size).map { floors[$0] + rests[$0] * exp(point[$0]) },
        factor: Matrix(rows: size, columns: rank, elements: Array(point[size...]))
          .scalingRows(by: units))
    }
    let scaledStart = start.factor.scalingRows(by: units.map { 1 / $0 })
    let solution = LimitedMemoryBFGS(
      tolerance: 1e-10 * Double(size), iterationLimit: iterationLimit
    ).minimize(from: [Double](repeating: 0, count: size) + scaledStart.elements) { point in
      let here = covariance(point)
      guard let (inner, scaled) = here.capacitance else { return (.infinity, point) }
      let product = target.multiplied(by: here.factor)  // A·U
      let solved = inner.solve(scaled.transposed()).transposed()  // S⁻¹·U
      var value = -0.5 * inner.logDeterminant + 0.5 * product.dot(here.factor)
      var gradient = point
      let own = solved.rowDots(scaled)  // diag(d⁻¹) less the diagonal of S⁻¹
      for row in 0..<size {
        let d = here.variances[row]
        value += 0.5 * (diagonal[row] * d - log(d))
        gradient[row] = 0.5 * (d - floors[row]) * (diagonal[row] - 1 / d + own[row])
      }
      let slopes = product.combined(with: solved) { $0 - $1 }.scalingRows(by: units)
      gradient.replaceSubrange(size..., with: slopes.elements)
      return (value.isNaN ? .infinity : value, gradient)
    }
    return covariance(solution.point)
  }

  /// What a variance is at least, in units of the one given all other weights.
  private static var leastVariance: Double { 1e-5 }
  /// What a column has at least: at zero it would stay zero, as the gradient is.
  private static var leastShare: Double { 1e-2 }

  /// `diag(d)^½·Q·(a⁻¹ - 1)^½` with the smallest eigenvalues a of `diag(d)^½·A·diag(d)^½` and their eigenvectors Q.
  private func principalFactor(
    of target: Matrix<Double>, rank: Int
  ) throws(NumericsError) -> Matrix<Double> {
    let units = variances.map { $0.squareRoot() }
    let scaled = target.scalingRows(by: units).transposed().scalingRows(by: units)
    let eigen = try SymmetricEigen(scaled)
    var rows = eigen.rowVectors.rows(0..<rank).compact()
    rows = rows.scalingRows(
      by: eigen.values.prefix(rank).map {
        max(1 / max($0, 1e-12) - 1, Self.leastShare).squareRoot()
      })
    return rows.transposed().scalingRows(by: units)
  }
}

extension Matrix<Double> {
  /// The products of the rows of two matrices, one number a row.
  fileprivate func rowDots(_ other: Matrix) -> [Double] {
    let products = combined(with: other) { $0 * $1 }
    return products.rowSums()
  }
}
