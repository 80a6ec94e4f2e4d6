import BllarseNumerics
import Glibc

/// The inverse of a curvature and a prior, as factors.
///
/// Columns of the weights share a factor where their priors are the same and their curvatures within a factor of two.
/// Where a factorisation is dear, columns with priors of their own share one with the geometric means of the priors:
/// some more iterations cost less than a factorisation for each column.
struct Preconditioner: Sendable {
  private enum Form {
    /// Factors, and the columns of each.
    case common([(factor: Cholesky<Double>, columns: [Int])])
    case whole(Cholesky<Double>)
  }
  private let form: Form
  /// The order from which on columns with different priors share a factor.
  private static let sharedOrder = 512

  /// Factors a curvature.
  ///
  /// - Parameters:
  ///   - curvature: of the log-likelihood.
  ///   - prior: Λ₀ as a matrix of diagonals, D x C, positive.
  /// - Throws: `NumericsError.notPositiveDefinite` if rounding or a NaN made the sum indefinite.
  init(_ curvature: LikelihoodCurvature, prior: Matrix<Double>) throws(NumericsError) {
    let priors = (0..<prior.columnCount).map { prior.column($0) }
    switch curvature {
    case .whole(let hessian):
      form = .whole(try Self.factor(hessian, priors.flatMap { $0 }))
    case .common(let matrix, let scales):
      let isShared = priors.allSatisfy { $0 == priors[0] }
      let mean = priors[0].indices.map { j in
        exp(priors.reduce(0) { $0 + log($1[j]) } / Double(priors.count))
      }
      let ownPriors = !isShared && matrix.rowCount < Self.sharedOrder
      var groups: [(prior: [Double], columns: [Int])] = []
      var known: [Int: Int] = [:]
      for k in priors.indices {
        let octave = scales[k] > 0 ? Int(log2(scales[k]).rounded()) : Int.min
        if !ownPriors, let group = known[octave] {
          groups[group].columns.append(k)
        } else {
          known[octave] = groups.count
          groups.append((isShared || ownPriors ? priors[k] : mean, [k]))
        }
      }
      var factors: [(Cholesky<Double>, [Int])] = []
      for (prior, columns) in groups {
        var precision = matrix
        precision.scale(by: columns.reduce(0) { $0 + scales[$1] } / Double(columns.count))
        factors.append((try Self.factor(precision, prior), columns))
      }
      form = .common(factors)
    }
  }

  /// Factors a precision, if need be with more on its diagonal.
  ///
  /// A Gram matrix of rows in single precision has rounding errors of some 1e-7 of its largest element:
  /// where columns repeat one another and the prior is weaker than that, it need not be positive definite.
  private static func factor(
    _ curvature: Matrix<Double>, _ prior: [Double]
  ) throws(NumericsError) -> Cholesky<Double> {
    var precision = curvature
    precision.addToDiagonal(prior)
    let largest = precision.diagonal.reduce(0) { max($0, $1) }
    for addition in [0, 1e-7, 1e-6, 1e-5] {
      var precision = precision
      if addition > 0 {
        precision.addToDiagonal(
          [Double](repeating: addition * largest, count: precision.rowCount))
      }
      do throws(NumericsError) {
        return try Cholesky(precision)
      } catch {
        guard largest.isFinite, addition < 1e-5 else { throw error }
      }
    }
    return try Cholesky(precision)
  }

  /// V·G for a gradient G, D x C.
  func solve(_ right: Matrix<Double>) -> Matrix<Double> {
    switch form {
    case .common(let factors):
      if factors.count == 1 { return factors[0].factor.solve(right) }
      var result = Matrix<Double>.zeros(right.rowCount, right.columnCount)
      let rows = right.transposed()
      for (factor, columns) in factors {
        let solution = factor.solve(rows.gatheringRows(columns).transposed())
        for (place, k) in columns.enumerated() {
          result.replaceBlock(row: 0, column: k, with: solution.columns(place..<place + 1))
        }
      }
      return result
    case .whole(let factor):
      let solution = factor.solve((0..<right.columnCount).flatMap { right.column($0) })
      return Matrix(rows: right.columnCount, columns: right.rowCount, elements: solution)
        .transposed()
    }
  }
}
