public import BllarseNumerics

/// The independent binary probit head: K probit regressions, one against the rest, which share one
/// covariance and are fitted by closed-form variational updates.
///
/// Model, with x a row of the design: `w_k ~ N(0, Λ₀⁻¹)`, `z_k ~ N(xᵀw_k, 1)`, and the label's class
/// is the one whose `z_k` is positive. Mean field: `q(w_k) = N(mu_k, Λ⁻¹)`.
///
/// `Scalar` is the precision of the data and of the products with it: `Float` for work, `Double` for
/// reference. Natural parameters, factorisations and sums are always in double precision.
///
/// - Note: Sources: Albert and Chib (1993) for the latent variables; Girolami and Rogers (2006) for the
///   variational updates; Wojnowicz et al. (2022) for the normalisations CBM and CBC.
public struct IBProbitHead<Scalar: BLASScalar>: Sendable {
  /// What does not change while the head is fitted.
  public let configuration: HeadShape
  /// Which distribution function the losses and predictions use.
  public var cdfForm: NormalCDFForm
  /// The posterior over the weights, in natural parameters.
  public package(set) var posterior: GaussianPosterior {
    didSet { solvedMean = nil }
  }
  /// The posterior mean, where it is known without solving for it.
  package var solvedMean: Matrix<Double>?
  /// The inverse temperature by which logits are multiplied in probabilities; 1 until calibrated.
  public var inverseTemperature: Double = 1
  /// Bytes for the logits of all rows in the solver, at the weights and along the direction.
  package var logitLimit = 64 << 20

  /// A head that has seen no data: its posterior is the prior.
  public init(_ configuration: HeadShape, cdfForm: NormalCDFForm = .approximate) {
    (self.configuration, self.cdfForm) = (configuration, cdfForm)
    posterior = Self.prior(configuration)
  }

  /// A head with a given posterior, as read from a checkpoint.
  ///
  /// - Parameters:
  ///   - configuration: as the head was made with.
  ///   - posterior: over `configuration.designColumnCount` weights of each class.
  ///   - cdfForm: of losses and predictions.
  public init(
    _ configuration: HeadShape, posterior: GaussianPosterior, cdfForm: NormalCDFForm = .approximate
  ) {
    precondition(
      posterior.size == configuration.designColumnCount
        && posterior.classCount == configuration.classCount,
      "a posterior of \(posterior.size) x \(posterior.classCount) for a head of "
        + "\(configuration.designColumnCount) x \(configuration.classCount)")
    (self.configuration, self.cdfForm) = (configuration, cdfForm)
    self.posterior = posterior
  }

  /// Returns the posterior to the prior and the temperature to 1.
  public mutating func reset() {
    posterior = Self.prior(configuration)
    inverseTemperature = 1
  }

  /// The mean of the weights, D x K; the bias is the last row.
  ///
  /// - Throws: `NumericsError.notPositiveDefinite` if rounding made the precision indefinite.
  public func mean() throws(NumericsError) -> Matrix<Double> {
    if let solvedMean { return solvedMean }
    return try posterior.mean()
  }

  /// The design matrix of features under this head's transform.
  ///
  /// - Throws: `NumericsError.sizeMismatch` when the features are not `featureCount` a row.
  public func design(_ features: FeatureMatrix) throws(NumericsError) -> DesignMatrix<Scalar> {
    try configuration.design(features)
  }

  private static func prior(_ configuration: HeadShape) -> GaussianPosterior {
    GaussianPosterior(
      size: configuration.designColumnCount, classCount: configuration.classCount,
      precision: configuration.priorPrecision)
  }
}

// MARK: - Fits to all rows

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
  ///   - execution: the threads to work with, and what tells them to stop.
  /// - Returns: iterations, bound, certificate.
  /// - Throws: `NumericsError` for rows or labels that cannot be, with the first of them;
  ///   `notPositiveDefinite` if rounding made `Λ₀ + XᵀX` indefinite. The head is unchanged then.
  /// - Complexity: N·D² + D³/3 once, and 4·N·D·K for each of some ten to twenty iterations.
  @discardableResult
  @specialized(where Scalar == Float)
  public mutating func fit(
    features: FeatureMatrix, labels: [Int32], tolerance: Double = 1e-6, iterationLimit: Int = 1000,
    isCertified: Bool = false, execution: Execution = .available
  ) throws(NumericsError) -> FitInfo {
    try configuration.check(features, labels, execution)
    try NumericsError.require(tolerance > 0, "the tolerance", tolerance, "more than 0")
    var design = try design(features)
    design.makeResident(limit: residentDesignLimit, execution: execution)
    let problem = try ProbitProblemPrecision(design, configuration, execution)
    let solution = try solve(
      design, labels, problem, tolerance, iterationLimit, isCertified, execution)
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
    _ tolerance: Double, _ iterationLimit: Int, _ isCertified: Bool, _ execution: Execution
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
        classCount: range.count, execution: execution)
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

// MARK: - Updates by batches

extension IBProbitHead {
  /// The natural mean from which the iterations of an update start.
  public enum Start: Sendable, Equatable {
    /// Zero weights.
    case zero
    /// Standard normal numbers over the square root of D, from a stream of this seed and index, as
    /// the reference starts; with few iterations the start matters.
    case seeded(UInt64, index: UInt64 = 0)
    /// A natural mean, D x K.
    case naturalMean(Matrix<Double>)
  }

  /// What an update reports.
  public struct UpdateInfo: Sendable, Equatable {
    /// The number of fixed-point iterations.
    public var iterations: Int
    /// The evidence lower bounds of the batch, in nats: empty unless asked for.
    ///
    /// One at the start of each iteration, with q(z) refreshed, and one after the last; they never fall,
    /// up to rounding.
    public var evidenceLowerBounds: [Double]
  }

  /// Fits a batch by coordinate ascent and merges it into the posterior.
  ///
  /// The batch is fitted alone under the prior, by `iterations` steps
  ///
  ///     M = X·V·η,   Z = M + S·r(S·M),   η ← XᵀZ,      V = (Λ₀ + XᵀX)⁻¹
  ///
  /// and then merged, with forgetting rate a:
  ///
  ///     Λ ← Λ₀ + (1 - a)(Λ - Λ₀) + XᵀX,   η ← (1 - a)·η + η_batch.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - iterations: how many steps, at least 1.
  ///   - forgettingRate: a, in `0...1`.
  ///   - start: where the steps begin.
  ///   - reportsBounds: whether to compute the evidence lower bounds, for the price of one more pass.
  ///   - execution: the threads to work with.
  /// - Returns: iterations and bounds.
  /// - Throws: `NumericsError` for rows or labels that cannot be, with the first of them;
  ///   `notPositiveDefinite` if rounding made `Λ₀ + XᵀX` indefinite. The head is unchanged then.
  /// - Complexity: N·D² + D³/3 once, and 4·N·D·K + 2·D²·K for each step.
  /// - Note: Same result as the Python original, given the same start.
  @discardableResult
  @specialized(where Scalar == Float)
  public mutating func update(
    features: FeatureMatrix, labels: [Int32], iterations: Int, forgettingRate: Double = 0,
    start: Start = .zero, reportsBounds: Bool = false, execution: Execution = .available
  ) throws(NumericsError) -> UpdateInfo {
    try configuration.check(features, labels, execution)
    try NumericsError.requireUpdate(iterations: iterations, forgettingRate: forgettingRate)
    try check(start)
    if features.rowCount < configuration.designColumnCount && !reportsBounds {
      let total = try runEpoch(
        MergedEpoch(
          self, features: features, labels: labels, order: Array(0..<features.rowCount),
          batchSize: features.rowCount, iterations: iterations, forgettingRate: forgettingRate,
          execution: execution)
      ) { _ in start }
      return UpdateInfo(iterations: total, evidenceLowerBounds: [])
    }
    var design = try design(features)
    design.makeResident(limit: residentDesignLimit, execution: execution)
    let fit = CoordinateAscent(
      pass: ProbitPass(
        design: design, labels: labels, classCount: configuration.classCount,
        execution: execution),
      problem: try ProbitProblemPrecision(design, configuration, execution))
    let (natural, bounds) = try fit.run(
      from: naturalMean(of: start), iterations: iterations, reportsBounds: reportsBounds)
    merge(gram: fit.problem.gram, naturalMean: natural, forgettingRate: forgettingRate)
    return UpdateInfo(iterations: iterations, evidenceLowerBounds: bounds)
  }

  /// Fits batches one after the other, each alone, and merges them into the posterior: an epoch.
  ///
  /// The result is that of ``update(features:labels:iterations:forgettingRate:start:reportsBounds:)``
  /// for each batch in turn. Batches of fewer rows than the design has columns are fitted in their own
  /// N x N space, in parallel, and the precision is one weighted Gram matrix of the whole epoch; the
  /// mean is not solved for.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - order: the rows of the epoch, in order, each at most once.
  ///   - batchSize: rows of a batch; the last may have fewer.
  ///   - iterations: how many steps a batch takes, at least 1.
  ///   - forgettingRate: in `0...1`, applied before each batch is merged.
  ///   - execution: the threads to work with.
  ///   - start: where the steps of a batch begin, by its position in the epoch.
  /// - Returns: the iterations of all batches; no bounds.
  /// - Throws: `NumericsError` for rows, labels or an order that cannot be, with the first place;
  ///   `notPositiveDefinite` if rounding made a batch's precision indefinite.
  /// - Complexity: N·D² for the epoch, and batchSize²·(D + iterations·K) for each batch.
  @discardableResult
  public mutating func update(
    features: FeatureMatrix, labels: [Int32], order: [Int], batchSize: Int, iterations: Int,
    forgettingRate: Double = 0, execution: Execution = .available,
    start: @Sendable (_ batch: Int) -> Start = { _ in .zero }
  ) throws(NumericsError) -> UpdateInfo {
    try configuration.check(features, labels, execution)
    try NumericsError.requireUpdate(iterations: iterations, forgettingRate: forgettingRate)
    try NumericsError.require(batchSize >= 1, "the batch size", Double(batchSize), "1 or more")
    try TrainingRows.checkOrder(order, rowCount: features.rowCount)
    for batch in 0..<(order.count + batchSize - 1) / batchSize { try check(start(batch)) }
    let total = try runEpoch(
      MergedEpoch(
        self, features: features, labels: labels, order: order, batchSize: batchSize,
        iterations: iterations, forgettingRate: forgettingRate, execution: execution),
      start: start)
    return UpdateInfo(iterations: total, evidenceLowerBounds: [])
  }

  /// Takes all steps of an epoch, and returns the iterations of its batches.
  private mutating func runEpoch(
    _ merged: MergedEpoch<Scalar>, start: @Sendable (_ batch: Int) -> Start
  ) throws(NumericsError) -> Int {
    var epoch = merged
    var total = 0
    for step in 0..<epoch.steps.count { total += try epoch.run(step, &self, start: start) }
    return total
  }

  /// Refuses a start of another shape than the weights.
  private func check(_ start: Start) throws(NumericsError) {
    guard case .naturalMean(let matrix) = start else { return }
    try TrainingRows.checkStart(
      matrix, rowCount: configuration.designColumnCount, columnCount: configuration.classCount)
  }

  /// Adds a batch's natural parameters to the posterior, after letting it forget.
  mutating func merge(gram: Matrix<Double>, naturalMean: Matrix<Double>, forgettingRate: Double) {
    let keep = 1 - forgettingRate
    let prior = configuration.priorPrecision
    let size = posterior.size
    posterior.precision.scale(by: keep)
    posterior.precision.add(gram)
    posterior.precision.addToDiagonal([Double](repeating: forgettingRate * prior, count: size))
    posterior.naturalMean.scale(by: keep)
    posterior.naturalMean.add(naturalMean)
  }

  func naturalMean(of start: Start) -> Matrix<Double> {
    let (size, classes) = (configuration.designColumnCount, configuration.classCount)
    switch start {
    case .zero:
      return .zeros(size, classes)
    case .seeded(let seed, let index):
      var generator = Philox(seed: seed, purpose: .initialisation, index: index)
      let scale = 1 / Double(size).squareRoot()
      return Matrix(
        rows: size, columns: classes,
        elements: generator.normals(count: size * classes).map { $0 * scale })
    case .naturalMean(let matrix):
      precondition(
        matrix.rowCount == size && matrix.columnCount == classes,
        "a start of \(matrix.rowCount) x \(matrix.columnCount), not \(size) x \(classes)")
      return matrix
    }
  }
}

// MARK: - Predictions

extension IBProbitHead {
  /// The probit arguments `a = X·mu` of a set of rows, N x K: the plug-in of the posterior mean.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - execution: the threads to work with.
  /// - Returns: N x K.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width, `notPositiveDefinite` if rounding
  ///   made the precision indefinite.
  public func arguments(
    _ features: FeatureMatrix, execution: Execution = .available
  ) throws(NumericsError) -> Matrix<Scalar> {
    try design(features).multiplied(by: try mean(), execution: execution)
  }

  /// Means and variances of the probit arguments of rows; the variance is the same for all classes.
  ///
  /// - Parameters:
  ///   - features: n x featureCount, finite.
  ///   - execution: the threads to work with.
  /// - Returns: n x K.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width, `notPositiveDefinite` if rounding
  ///   made the precision indefinite.
  public func latent(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> LatentMoments {
    let variances = try design(features).quadraticForms(
      Cholesky(posterior.precision), execution: execution)
    return LatentMoments(
      means: Matrix<Double>(try arguments(features, execution: execution)),
      variances: .columns(variances, count: configuration.classCount))
  }

  /// The two normalisations of the answers to rows.
  package func mixture(
    _ features: FeatureMatrix, _ execution: Execution
  ) throws(NumericsError) -> BinaryMixture<Scalar> {
    BinaryMixture(probit: try arguments(features, execution: execution), cdfForm)
  }

  /// Losses and logits as the Python original computes them.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - loss: which of the four.
  ///   - execution: the threads to work with.
  /// - Returns: one loss a row, in nats, and the logits, N x K: multiplied by the inverse temperature they
  ///   are the logarithms of unnormalised class probabilities.
  /// - Throws: `NumericsError` for labels or rows of another width that cannot be, `notPositiveDefinite` if
  ///   rounding made the precision indefinite.
  public func lossesAndLogits(
    features: FeatureMatrix, labels: [Int32], loss: BinaryLoss,
    execution: Execution = .available
  ) throws(NumericsError) -> (losses: [Double], logits: Matrix<Scalar>) {
    try TrainingRows.matchLabels(
      labels, rowCount: features.rowCount, classCount: configuration.classCount)
    let arguments = try arguments(features, execution: execution)
    return BinaryMixture(probit: arguments, cdfForm).losses(
      loss, arguments: arguments, labels: labels, inverseTemperature: inverseTemperature)
  }

  /// The logarithms of the plug-in predictive probabilities of the equal mixture of CBM and CBC.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - execution: the threads to work with.
  /// - Returns: N x K; the exponentials of a row sum to 1.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width, `notPositiveDefinite` if rounding
  ///   made the precision indefinite.
  public func logProbabilities(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Scalar> {
    try mixture(features, execution).mixture(inverseTemperature)
  }

  /// The mean loss of rows as the Python original takes it: of the mixture, under the posterior mean.
  ///
  /// The mean is kept, for those who ask next.
  ///
  /// - Throws: `NumericsError.notPositiveDefinite` if rounding made the precision indefinite.
  package mutating func originalLoss(
    _ features: FeatureMatrix, _ labels: [Int32], _ execution: Execution
  ) throws(NumericsError) -> Double {
    solvedMean = try mean()
    let losses = try lossesAndLogits(
      features: features, labels: labels, loss: .mixture, execution: execution
    ).losses
    return losses.reduce(0, +) / Double(max(losses.count, 1))
  }

  /// Fits the inverse temperature to held-out rows as the Python original does.
  ///
  /// Eight damped Newton steps from 1 on the mean cross-entropy of `softmax(β·logits)`:
  ///
  ///     β ← clip(β - ¼·g / (h + 1e-8), 0.01, 100),   g = mean(E_p[f] - f_y),   h = mean(Var_p[f]).
  ///
  /// The steps stop short of the optimum (a tenth of the initial distance is left on a quadratic).
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite; not the rows that the head was fitted to.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - loss: which logits are scaled; CBC by default.
  ///   - steps: the number of damped steps.
  ///   - execution: the threads to work with.
  /// - Returns: the inverse temperature, which the head keeps.
  /// - Throws: `NumericsError` for rows or labels that cannot be, with the first of them;
  ///   `notPositiveDefinite` if rounding made the precision indefinite.
  @discardableResult
  public mutating func calibrate(
    features: FeatureMatrix, labels: [Int32], loss: BinaryLoss = .conditionals, steps: Int = 8,
    execution: Execution = .available
  ) throws(NumericsError) -> Double {
    try configuration.check(features, labels, execution)
    let logits = try lossesAndLogits(
      features: features, labels: labels, loss: loss, execution: execution
    ).logits
    var beta = 1.0
    for _ in 0..<steps {
      let (gradient, curvature) = logits.temperatureDerivatives(labels, beta)
      beta = min(max(beta - 0.25 * gradient / (curvature + 1e-8), 0.01), 100)
    }
    inverseTemperature = beta
    return beta
  }
}
