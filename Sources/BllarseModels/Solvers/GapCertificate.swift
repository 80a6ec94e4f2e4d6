import BllarseNumerics

/// Bounds on the distance between an evidence lower bound and its maximum, in nats.
public struct GapCertificate: Sendable, Equatable, Codable {
  /// The maximum is at least this far away.
  public var lower: Double
  /// The maximum is at most this far away.
  public var upper: Double

  /// Bounds that are known.
  package init(lower: Double, upper: Double) {
    self.lower = lower
    self.upper = upper
  }

  /// The bounds that follow from `Λ₀ ≤ -H ≤ Λ₀ + XᵀX`, and from floors of the curvature around the weights
  /// for the classes that have one and are close enough to their maximum.
  ///
  /// In a ball in which -H is not below A the objective is below the quadratic of curvature A. Where the
  /// quadratic's maximum lies in the ball, so does the objective's, at most `½·gᵀA⁻¹g` away.
  ///
  /// - Parameters:
  ///   - gradient: g, D x K.
  ///   - cholesky: of `Λ₀ + XᵀX`.
  ///   - prior: the diagonal of `Λ₀`.
  ///   - groups: the classes that share a floor.
  ///   - floor: of a group, given the largest `gᵀ(Λ₀ + XᵀX)⁻¹g` of its classes.
  init(
    _ gradient: Matrix<Double>, _ cholesky: Cholesky<Double>, _ prior: [Double],
    groups: [Range<Int>], floor: (_ classes: Range<Int>, _ decrement: Double) -> CurvatureFloor?
  ) {
    let decrements = gradient.columnDots(cholesky.solve(gradient))
    var squares = Self.priorDecrements(gradient, prior)
    for group in groups {
      guard let floor = floor(group, decrements[group].max() ?? 0) else { continue }
      for k in group {
        let slope = gradient.column(k)
        let square = zip(slope, floor.cholesky.solve(slope)).reduce(0) { $0 + $1.0 * $1.1 }
        if square <= floor.radius * floor.radius { squares[k] = min(squares[k], square) }
      }
    }
    lower = 0.5 * decrements.reduce(0, +)
    // Rounding must not turn them round.
    upper = max(lower, 0.5 * squares.reduce(0, +))
  }

  /// `½ Σ_k g_kᵀ(Λ₀ + XᵀX)⁻¹g_k`.
  static func lower(_ gradient: Matrix<Double>, _ cholesky: Cholesky<Double>) -> Double {
    0.5 * gradient.columnDots(cholesky.solve(gradient)).reduce(0, +)
  }

  /// `½ Σ_k g_kᵀΛ₀⁻¹g_k`.
  static func upper(_ gradient: Matrix<Double>, _ prior: [Double]) -> Double {
    0.5 * priorDecrements(gradient, prior).reduce(0, +)
  }

  private static func priorDecrements(_ gradient: Matrix<Double>, _ prior: [Double]) -> [Double] {
    gradient.weightedColumnDots(gradient, weights: prior.map { 1 / $0 })
  }
}
