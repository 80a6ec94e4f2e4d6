package import BllarseNumerics
import Glibc

/// The coordinate ascent of the probit head on one batch, under a prior `N(0, Λ₀⁻¹)`, `Λ₀ = λI`.
struct CoordinateAscent<Scalar: BLASScalar> {
  let pass: ProbitPass<Scalar>
  /// Of the batch alone.
  let problem: ProbitProblemPrecision

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
      let mean = problem.cholesky.solve(natural, parallelism: pass.parallelism)  // (D, K)
      let sums = pass.sums(at: mean, withLikelihoods: reportsBounds)
      if reportsBounds { bounds.append(bound(at: mean, sums)) }
      natural.add(mean, times: -problem.priorPrecision)
      natural.add(sums.products)
    }
    if reportsBounds {
      let mean = problem.cholesky.solve(natural)
      bounds.append(bound(at: mean, pass.sums(at: mean)))
    }
    return (natural, bounds)
  }

  /// The evidence lower bound with q(z) refreshed at the mean.
  ///
  ///     Σ log Φ(S·M) - ½ Σ_k mu_kᵀΛ₀mu_k - K/2 (log|Λ₀ + XᵀX| - log|Λ₀|)
  private func bound(at mean: Matrix<Double>, _ sums: LikelihoodSums) -> Double {
    sums.logLikelihoods.reduce(0, +) - 0.5 * problem.priorPrecision * mean.squaredNorm
      - problem.boundConstant(classCount: mean.columnCount)
  }
}

/// `Λ₀ + XᵀX` of a design, factored.
package struct ProbitProblemPrecision {
  /// XᵀX.
  let gram: Matrix<Double>
  let precision: Matrix<Double>
  let cholesky: Cholesky<Double>
  /// λ.
  let priorPrecision: Double
  /// The diagonal of Λ₀.
  var prior: [Double] { [Double](repeating: priorPrecision, count: precision.rowCount) }
  /// log|Λ₀|.
  let logOfPrior: Double

  init<Scalar: BLASScalar>(
    _ design: DesignMatrix<Scalar>, _ configuration: HeadShape, _ parallelism: Parallelism
  ) throws(NumericsError) {
    gram = design.gram(parallelism: parallelism)
    var precision = gram
    priorPrecision = configuration.priorPrecision
    precision.addToDiagonal([Double](repeating: priorPrecision, count: precision.rowCount))
    cholesky = try parallelism.withBLAS { () throws(NumericsError) in try Cholesky(precision) }
    self.precision = precision
    logOfPrior = Double(precision.rowCount) * log(priorPrecision)
  }

  /// What the evidence lower bound of some classes is less than their objective.
  func boundConstant(classCount: Int) -> Double {
    0.5 * Double(classCount) * (cholesky.logDeterminant - logOfPrior)
  }
}
