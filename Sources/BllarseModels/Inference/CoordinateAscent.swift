package import BllarseNumerics
import Glibc

/// The coordinate ascent of the probit head on one batch, under a prior `N(0, (priorPrecision·I)⁻¹)`.
package struct CoordinateAscent<Scalar: BLASScalar> {
  let pass: ProbitPass<Scalar>
  let priorPrecision: Double
  /// Of `P = Λ₀ + XᵀX`, D x D.
  let cholesky: Cholesky<Double>

  /// Factors the precision of the batch.
  ///
  /// - Parameters:
  ///   - pass: the batch.
  ///   - gram: XᵀX, D x D.
  ///   - priorPrecision: of every weight.
  /// - Throws: `NumericsError.notPositiveDefinite` if `P` is not positive definite.
  init(pass: ProbitPass<Scalar>, gram: Matrix<Double>, priorPrecision: Double) throws(NumericsError)
  {
    self.pass = pass
    self.priorPrecision = priorPrecision
    var precision = gram
    precision.addToDiagonal([Double](repeating: priorPrecision, count: gram.rowCount))
    cholesky = try Cholesky(precision)
  }

  /// Takes a number of steps from a natural mean.
  ///
  /// A step `η ← XᵀZ` is taken as `η ← η - Λ₀·mu + XᵀR`, which equals it because `Z = X·mu + R` and
  /// `η = (Λ₀ + XᵀX)·mu`: near the fixed point the increments are small, so that single-precision
  /// products cost little accuracy, and `X·mu` need not be multiplied by `Xᵀ` again.
  ///
  /// - Returns: the natural mean of the batch, D x K, and the bounds if asked for.
  /// - Throws: `NumericsError.cancelled`.
  func run(
    from start: Matrix<Double>, iterations: Int, reportsBounds: Bool
  ) throws(NumericsError) -> (naturalMean: Matrix<Double>, bounds: [Double]) {
    var natural = start
    var bounds: [Double] = []
    for _ in 0..<iterations {
      try pass.parallelism.checkCancellation()
      let mean = cholesky.solve(natural, parallelism: pass.parallelism)  // (D, K)
      let sums = pass.sums(at: mean, withLikelihoods: reportsBounds)
      if reportsBounds { bounds.append(bound(at: mean, sums)) }
      natural.add(mean, times: -priorPrecision)
      natural.add(sums.products)
    }
    if reportsBounds {
      let mean = cholesky.solve(natural)
      bounds.append(bound(at: mean, pass.sums(at: mean)))
    }
    return (natural, bounds)
  }

  /// The evidence lower bound with q(z) refreshed at the mean.
  ///
  ///     Σ log Φ(S·M) - ½ Σ_k mu_kᵀΛ₀mu_k - K/2 (log|Λ₀ + XᵀX| - log|Λ₀|)
  private func bound(at mean: Matrix<Double>, _ sums: LikelihoodSums) -> Double {
    let logRatio =
      cholesky.logDeterminant - Double(cholesky.size) * log(priorPrecision)
    return sums.logLikelihoods.reduce(0, +) - 0.5 * priorPrecision * mean.squaredNorm
      - 0.5 * Double(mean.columnCount) * logRatio
  }
}
