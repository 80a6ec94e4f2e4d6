public import BllarseNumerics

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
    let problem = try ProbitProblemPrecision(design, configuration, parallelism)
    // What the bound is less than the objective.
    let constant =
      0.5 * Double(configuration.classCount)
      * (problem.cholesky.logDeterminant - problem.logOfPrior)
    let solver = ProbitSolver(
      pass: ProbitPass(
        design: design, labels: labels, classCount: configuration.classCount,
        parallelism: parallelism),
      prior: problem.prior, gram: problem.gram, cholesky: problem.cholesky,
      tolerance: tolerance, constant: constant, iterationLimit: iterationLimit)
    let solution = solver.solve(
      from: .zeros(configuration.designColumnCount, configuration.classCount))
    try parallelism.checkCancellation()
    posterior = GaussianPosterior(
      precision: problem.precision, naturalMean: problem.precision.multiplied(by: solution.mean))
    solvedMean = solution.mean
    return FitInfo(
      iterations: solution.iterations, converged: solution.converged,
      objective: solution.objective,
      evidenceLowerBounds: solution.history.map { $0 - constant },
      certificate: solution.certificate)
  }
}
