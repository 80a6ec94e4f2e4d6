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
  ///   - tolerance: the fit ends when the bound is within this fraction of its magnitude of its maximum.
  ///   - iterationLimit: the fit ends after so many iterations, converged or not.
  ///   - isCertified: whether that has to be proven whatever the proof costs: a Gram matrix for each
  ///     class. Otherwise, where it would take more than some 20 ms, an estimate from the last steps is
  ///     enough.
  /// - Returns: iterations, bound, certificate.
  /// - Throws: `NumericsError` for rows or labels that cannot be, with the first of them;
  ///   `notPositiveDefinite` if rounding made `Λ₀ + XᵀX` indefinite. The head is unchanged then.
  /// - Complexity: N·D² + D³/3 once, and 4·N·D·K for each of some ten to twenty iterations.
  @discardableResult
  public mutating func fit(
    features: FeatureMatrix, labels: [Int32], tolerance: Double = 1e-6, iterationLimit: Int = 1000,
    isCertified: Bool = false
  ) throws(NumericsError) -> FitInfo {
    try TrainingRows.check(
      features, labels: labels, featureCount: configuration.featureCount,
      classCount: configuration.classCount, parallelism: parallelism)
    return try fit(
      features: features, labels: labels, tolerance: tolerance, iterationLimit: iterationLimit,
      isCertified: isCertified, logitLimit: Self.logitLimit)
  }

  /// Bytes for the logits of all rows in the solver.
  package static var logitLimit: Int { 64 << 20 }

  /// Fits rows that were checked, with a limit to the memory of the solver.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - tolerance: as above.
  ///   - iterationLimit: as above.
  ///   - isCertified: as above.
  ///   - logitLimit: bytes for the logits of all rows, at the weights and along the search direction.
  /// - Returns: iterations, bound, certificate.
  /// - Throws: as above.
  @discardableResult
  @specialized(where Scalar == Float)
  package mutating func fit(
    features: FeatureMatrix, labels: [Int32], tolerance: Double, iterationLimit: Int = 1000,
    isCertified: Bool = false, logitLimit: Int
  ) throws(NumericsError) -> FitInfo {
    try NumericsError.require(tolerance > 0, "the tolerance", tolerance, "more than 0")
    var design = try design(features)
    design.makeResident(limit: residentDesignLimit, parallelism: parallelism)
    let problem = try ProbitProblemPrecision(design, configuration, parallelism)
    let solution = try solve(
      design, labels, problem, tolerance, iterationLimit, isCertified, logitLimit)
    posterior = GaussianPosterior(
      precision: problem.precision, naturalMean: problem.precision.multiplied(by: solution.mean))
    solvedMean = solution.mean
    // What the bound is less than the objective.
    let constant = problem.boundConstant(classCount: configuration.classCount)
    return FitInfo(
      iterations: solution.iterations, converged: solution.converged,
      objective: solution.objective,
      evidenceLowerBounds: solution.history.map { $0 - constant },
      certificate: solution.certificate)
  }

  /// Solves for all classes: at once while the solver's logits are small beside the features, else for
  /// some classes after others, which the bound allows because it is a sum over classes.
  private func solve(
    _ design: DesignMatrix<Scalar>, _ labels: [Int32], _ problem: ProbitProblemPrecision,
    _ tolerance: Double, _ iterationLimit: Int, _ isCertified: Bool,
    _ logitLimit: Int
  ) throws(NumericsError) -> JoinedOptimum {
    let classes = configuration.classCount
    let bytesOfClass = 2 * design.rowCount * MemoryLayout<Scalar>.size
    let groups = max(1, min(classes, (classes * bytesOfClass + logitLimit - 1) / logitLimit))
    var joined = JoinedOptimum()
    for group in 0..<groups {
      let range = classes * group / groups..<classes * (group + 1) / groups
      let pass = ProbitPass(
        design: design,
        labels: groups == 1
          ? labels
          : labels.map { range.contains(Int($0)) ? $0 - Int32(range.lowerBound) : -1 },
        classCount: range.count, parallelism: parallelism)
      var solver = ConcaveSolver(
        pass: pass, gram: problem.gram, prior: .columns(problem.prior, count: range.count))
      solver.tolerance = .fraction(
        tolerance, boundConstant: problem.boundConstant(classCount: range.count))
      solver.iterationLimit = iterationLimit
      var proof = GapProof(
        pass, gram: problem.gram, cholesky: problem.cholesky, prior: problem.prior,
        isRequired: isCertified)
      let solution = try solver.solve(
        from: .zeros(configuration.designColumnCount, range.count)
      ) { proof.confirms($0) }
      joined.append(solution, proof.certificate(solution))
    }
    return joined
  }
}

/// The optimum of all classes from those of groups of them, found one after the other.
private struct JoinedOptimum {
  /// The columns of mu, class after class.
  private var columns: [[Double]] = []
  /// F before each iteration, and at the end: while a group is solved the others stay where they are.
  var history: [Double] = [0]
  var certificate = GapCertificate(lower: 0, upper: 0)
  var iterations = 0
  var converged = true

  var objective: Double { history[history.count - 1] }
  /// mu, D x K.
  var mean: Matrix<Double> {
    Matrix(
      rows: columns.count, columns: columns.first?.count ?? 0, elements: columns.flatMap { $0 }
    ).transposed()
  }

  mutating func append<Pass: LaplacePass>(
    _ part: ConcaveSolver<Pass>.Solution, _ bounds: GapCertificate
  ) {
    columns += (0..<part.weights.columnCount).map { part.weights.column($0) }
    // It begins at zero weights, as all of them do.
    let (before, start) = (objective, part.history[0])
    history = history.map { $0 + start } + part.history.dropFirst().map { before + $0 }
    certificate.lower += bounds.lower
    certificate.upper += bounds.upper
    iterations += part.iterations
    converged = converged && part.converged
  }
}
