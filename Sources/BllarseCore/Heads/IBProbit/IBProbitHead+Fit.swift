public import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension IBProbitHead {
  /// What a converged fit reports.
  public struct FitInfo: Sendable, Equatable {
    /// The number of conjugate-gradient iterations.
    public var iterations: Int
    /// Whether the tolerance was reached.
    public var converged: Bool
    /// The penalised log-likelihood at the end: the evidence lower bound without its constant.
    public var objective: Double
    /// The evidence lower bound before each iteration and at the end, in nats; it never falls.
    public var evidenceLowerBounds: [Double]
    /// Bounds on the distance of the last to the maximum.
    public var certificate: GapCertificate
  }

  /// Fits all rows at once to the optimum, and makes that the posterior.
  ///
  /// The maximum of the evidence lower bound is the fixed point of coordinate ascent, whatever its
  /// start; what the posterior held before is replaced.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - tolerance: the fit ends when the bound's distance to its maximum is below this fraction of its
  ///     magnitude.
  ///   - iterationLimit: the fit ends after so many iterations, converged or not.
  /// - Returns: iterations, bound, certificate.
  /// - Throws: `NumericsError.notPositiveDefinite` if rounding or a NaN made `Λ₀ + XᵀX` indefinite.
  /// - Complexity: N·D² + D³/3 once, and 4·N·D·K for each of some ten to twenty iterations.
  @discardableResult
  public mutating func fit(
    features: FeatureMatrix, labels: [Int32], tolerance: Double = 1e-6, iterationLimit: Int = 1000
  ) throws(NumericsError) -> FitInfo {
    precondition(tolerance > 0, "a tolerance of \(tolerance)")
    var design = design(features)
    design.makeResident(limit: residentDesignLimit, parallelism: parallelism)
    var precision = design.gram(parallelism: parallelism)
    let size = precision.rowCount
    let prior = [Double](repeating: configuration.priorPrecision, count: size)
    precision.addToDiagonal(prior)
    let cholesky = try Cholesky(precision)
    let constant =
      0.5 * Double(configuration.classCount)
      * (cholesky.logDeterminant - prior.reduce(0) { $0 + log($1) })
    let solver = ProbitSolver(
      pass: ProbitPass(
        design: design, labels: labels, classCount: configuration.classCount,
        parallelism: parallelism),
      prior: prior, preconditioner: cholesky, tolerance: tolerance, constant: constant,
      iterationLimit: iterationLimit)
    let solution = solver.solve(from: .zeros(size, configuration.classCount))
    posterior = GaussianPosterior(
      precision: precision, naturalMean: precision.multiplied(by: solution.mean))
    solvedMean = solution.mean
    return FitInfo(
      iterations: solution.iterations, converged: solution.converged,
      objective: solution.objective,
      evidenceLowerBounds: solution.history.map { $0 - constant },
      certificate: solution.certificate)
  }
}
