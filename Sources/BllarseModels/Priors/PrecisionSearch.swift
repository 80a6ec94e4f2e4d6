import BllarseNumerics
import Glibc

/// Climbs a function of `log10 λ` on a grid of half steps, and goes on to the vertices of parabolas.
///
/// The evidence is smooth and has one maximum in all but odd cases; a warm start makes a step of the
/// climb cost a few passes over the data.
struct EvidenceSearch {
  /// The range of `log10 λ`.
  static let range = RecipeConstants.precisionExponents
  static let step = 0.5
  static let evaluationLimit = 14
  /// The distance of two vertices at which the search ends: the evidence is flat at its maximum.
  static let resolution = 0.005
  static let refinementLimit = 6

  /// Values found so far, by `log10 λ`.
  private(set) var values: [Double: Double] = [:]

  /// Finds the maximum.
  ///
  /// - Parameters:
  ///   - start: where to begin.
  ///   - evaluate: the function; it may keep a state from call to call.
  /// - Returns: `log10 λ`.
  /// - Throws: what `evaluate` throws.
  mutating func maximize<Failure: Error>(
    from start: Double, _ evaluate: (Double) throws(Failure) -> Double
  ) throws(Failure) -> Double {
    func value(_ t: Double) throws(Failure) -> Double {
      let key = Self.clamp(t)
      if let known = values[key] { return known }
      let result = try evaluate(key)
      values[key] = result
      return result
    }
    var t = Self.clamp(start)
    var here = try value(t)
    let up = try value(t + Self.step)
    let direction = up > here ? Self.step : -Self.step
    while values.count < Self.evaluationLimit {
      let next = Self.clamp(t + direction)
      guard next != t else { break }
      let there = try value(next)
      guard there > here else { break }
      (t, here) = (next, there)
    }
    guard Self.range.lowerBound < t && t < Self.range.upperBound else { return t }
    var (low, high) = (Self.clamp(t - Self.step), Self.clamp(t + Self.step))
    for _ in 0..<Self.refinementLimit {
      let values = (try value(low), try value(t), try value(high))
      guard let vertex = Self.vertex((low, t, high), values), abs(vertex - t) > Self.resolution
      else { break }
      if try value(vertex) > values.1 {
        if vertex > t { low = t } else { high = t }
        t = vertex
      } else if vertex > t {
        high = vertex
      } else {
        low = vertex
      }
    }
    return t
  }

  /// Where the parabola through three points has its maximum; `nil` without one.
  private static func vertex(
    _ t: (Double, Double, Double), _ values: (Double, Double, Double)
  ) -> Double? {
    let (left, right) = (t.1 - t.0, t.2 - t.1)
    let (fall, rise) = (values.1 - values.0, values.2 - values.1)
    let bend = fall * right - rise * left
    guard bend > 0 else { return nil }
    let vertex = t.1 + 0.5 * (fall * right * right + rise * left * left) / bend
    return min(max(clamp(vertex), t.0), t.2)
  }

  private static func clamp(_ t: Double) -> Double {
    let rounded = (t * 1e6).rounded() / 1e6
    return min(max(rounded, range.lowerBound), range.upperBound)
  }
}

/// An end of the range that a search for a penalty has reached.
package enum SearchEnd: Sendable, Equatable {
  case weakest, strongest

  /// The end that a penalty is at, if it is at one.
  init?(_ penalty: Double, of range: ClosedRange<Double>) {
    if penalty <= range.lowerBound * 1.001 {
      self = .weakest
    } else if penalty >= range.upperBound * 0.999 {
      self = .strongest
    } else {
      return nil
    }
  }

  /// What it means, for a note.
  package var explanation: String {
    switch self {
    case .weakest:
      "the weakest of those that are searched: the evidence holds the weights back as little as it can; "
        + "give another with --l2"
    case .strongest:
      "the strongest of those that are searched: the evidence finds nothing in the features that tells "
        + "the classes apart; give another with --l2"
    }
  }
}

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
    execution: Execution
  ) throws(NumericsError) -> Matrix<Double> {
    var result = prior
    for k in 0..<curvatures.columnCount {
      try execution.checkCancellation()
      var precision = design.gram(
        rowWeights: curvatures.column(k).map(Double.init), execution: execution)
      precision.addToDiagonal(prior.column(k))
      for (j, variance) in try Cholesky(precision).inverseDiagonal().enumerated() {
        result[j, k] = variance
      }
    }
    return result
  }
}
