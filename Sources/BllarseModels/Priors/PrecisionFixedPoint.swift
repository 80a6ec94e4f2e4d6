import BllarseNumerics
import Glibc

/// MacKay's fixed point for prior precisions of groups of weights.
///
///     α_g ← Σ_{w in g} (1 - α_g V_ww) / Σ_{w in g} m_w²
///
/// with m the mean and V the covariance of the posterior under the present precisions.
///
/// - Note: Sources: MacKay, "Bayesian interpolation", Neural Computation 1992; Tipping, "Sparse Bayesian
///   learning and the relevance vector machine", JMLR 2001.
struct PrecisionFixedPoint {
  /// Which weights share a precision.
  enum Grouping {
    /// Those of a class.
    case classes
    /// Those of a feature.
    case features
  }

  let grouping: Grouping
  var iterationLimit = 30
  /// The largest change of log α at which the iteration ends.
  var tolerance = 0.02

  private static let range = 1e-4...1e8

  /// Iterates from given precisions.
  ///
  /// - Parameters:
  ///   - start: D x C; the last row belongs to the bias and stays.
  ///   - posterior: for precisions, means and marginal variances of the weights, D x C each.
  /// - Returns: the precisions, D x C.
  /// - Throws: what `posterior` throws.
  func run(
    from start: Matrix<Double>,
    _ posterior: (Matrix<Double>) throws(NumericsError) -> (
      means: Matrix<Double>, variances: Matrix<Double>
    )
  ) throws(NumericsError) -> Matrix<Double> {
    var prior = start
    let (features, classes) = (start.rowCount - 1, start.columnCount)
    guard features > 0 else { return prior }
    for _ in 0..<iterationLimit {
      let (means, variances) = try posterior(prior)
      let groupCount = grouping == .classes ? classes : features
      var known = [Double](repeating: 0, count: groupCount)
      var squares = known
      for j in 0..<features {
        for k in 0..<classes {
          let group = grouping == .classes ? k : j
          known[group] += max(0, 1 - prior[j, k] * variances[j, k])
          squares[group] += means[j, k] * means[j, k]
        }
      }
      var change = 0.0
      for j in 0..<features {
        for k in 0..<classes {
          let group = grouping == .classes ? k : j
          let wanted = known[group] > 0 ? known[group] / squares[group] : Self.range.upperBound
          let bounded =
            wanted.isNaN
            ? Self.range.upperBound
            : min(max(wanted, Self.range.lowerBound), Self.range.upperBound)
          change = max(change, abs(log(bounded / prior[j, k])))
          prior[j, k] = bounded
        }
      }
      if change < tolerance { break }
    }
    return prior
  }
}

extension PosteriorCovariance {
  /// The diagonals of `Λ_k⁻¹`, D x C, Laplace's covariance class by class.
  static func inverseDiagonals<Other: BLASScalar>(
    design: DesignMatrix<Other>, curvatures: Matrix<Other>, prior: Matrix<Double>,
    parallelism: Parallelism
  ) throws(NumericsError) -> Matrix<Double> {
    var result = prior
    for k in 0..<curvatures.columnCount {
      try parallelism.checkCancellation()
      var precision = design.gram(
        rowWeights: curvatures.column(k).map(Double.init), parallelism: parallelism)
      precision.addToDiagonal(prior.column(k))
      for (j, variance) in try Cholesky(precision).inverseDiagonal().enumerated() {
        result[j, k] = variance
      }
    }
    return result
  }
}
