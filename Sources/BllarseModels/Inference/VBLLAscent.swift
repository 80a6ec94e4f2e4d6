public import BllarseNumerics
import Glibc

/// The maximisation of the bound of a discriminative variational Bayesian last layer.
///
/// With w_i the weights of the rows, and all constants,
///
///     F = Σ_i w_i [m_yᵀx - log Σ_k exp(m_kᵀx + v_k/2)] - Σ_k KL(N(m_k, S_k) || N(0, τI)) - Σ_k [ν log σ_k² + ω/(2σ_k²)]
///
/// F is concave in m, S (dense or diagonal) and log σ² together: the log-sum-exp is convex and rises in every argument, the
/// arguments are affine in m and S and convex in log σ². So it has one maximum, and an iteration is
///
/// 1. m, to its maximum, by ``ConcaveSolver`` with the variances as offsets of the logits;
/// 2. log σ² towards `σ_k² = ω / (ν + √(ν² + n_k·ω))`, with n_k = Σ w_i p_ik and p = softmax(Xm + v/2), where its
///    derivative is zero at these n;
/// 3. the covariances by a natural-gradient step: of all of the form that is wanted those that are nearest to the precision
///    `(1 - a)·S_k⁻¹ + a·T_k`, `T_k = τ⁻¹I + Xᵀdiag(w·p_k)X`.
///
/// S_k = T_k⁻¹ is where the derivative with respect to S_k is zero. Steps 2 and 3 go in a direction in which F rises; each is
/// halved until F is not lower, and left out where no step of 2⁻²⁰ raises it, so that F never falls. Low-rank covariances make
/// F not concave; they get to a stationary point, from the diagonal ones and the best factors for these.
///
/// - Note: Sources: Harrison, Willes and Snoek (2024), eq. (11)-(13), for the bound; Khan and Rue, "The Bayesian learning
///   rule" (2023), for natural gradients of Gaussians.
struct VBLLAscent<Scalar: BLASScalar> {
  private let design: DesignMatrix<Scalar>
  private let labels: [Int32]
  private let weights: [Double]?
  private let classCount: Int
  private let configuration: VBLLConfiguration
  /// τ.
  private let priorVariance: Double
  private let execution: Execution
  private let pass: SoftmaxPass<Scalar>
  /// XᵀX, weighted.
  private let gram: Matrix<Double>

  /// ν, by which the logarithm of the noise's precision is multiplied.
  private var shape: Double {
    (configuration.degreesOfFreedom + Double(classCount) + 1) / 2
  }
  /// D, with the bias.
  private var size: Int { design.columnCount }
  private var rank: Int { min(configuration.rank, size) }

  init(
    _ design: DesignMatrix<Scalar>, labels: [Int32], classCount: Int, weights: [Double]?,
    priorVariance: Double, _ configuration: VBLLConfiguration, execution: Execution
  ) {
    (self.design, self.labels, self.weights) = (design, labels, weights)
    (self.classCount, self.configuration) = (classCount, configuration)
    self.priorVariance = priorVariance
    self.execution = execution
    pass = .make(
      design, labels: labels, classCount: classCount, weights: weights, execution: execution)
    gram = design.gram(rowWeights: weights, execution: execution)
  }

  /// A point of the ascent.
  struct State {
    /// m, D x K.
    var mean: Matrix<Double>
    /// X·m, N x K.
    var logits: Matrix<Scalar>
    /// σ², K numbers.
    var noise: [Double]
    var covariance: VBLLCovariance<Scalar>
    /// In double precision, with `covariance` for dense ones: factors of S_k⁻¹.
    var factors: [Cholesky<Double>]
    /// xᵀS_k·x, N x K.
    var variances: Matrix<Double>
    var summary: CovarianceSummary
  }

  /// The relative rise at which the climb ends; a low-rank covariance is known no better than its own search finds it.
  private var tolerance: Double {
    configuration.parameterization == .lowRank
      ? max(configuration.tolerance, Self.lowRankTolerance) : configuration.tolerance
  }

  /// Climbs to the maximum.
  ///
  /// - Throws: `NumericsError.notPositiveDefinite` if rounding made a precision indefinite; `cancelled`.
  func run() throws(NumericsError) -> (state: State, info: VBLLInfo) {
    var state = try start()
    var bounds = [bound(state)]
    var converged = false
    guard bounds[0].isFinite else {
      throw .notConverged(routine: "the variational Bayesian last layer", dimension: size)
    }
    while bounds.count <= configuration.iterationLimit {
      try execution.checkCancellation()
      let before = bounds[bounds.count - 1]
      var bound = before
      try raiseMean(&state, &bound)
      raiseNoise(&state, &bound)
      try raiseCovariance(&state, &bound, isFirst: bounds.count == 1)
      bounds.append(bound)
      if bound - before < tolerance * abs(bound) {
        converged = true
        break
      }
    }
    return (state, VBLLInfo(bounds: bounds, converged: converged))
  }

  /// Weights of zero, and covariances that are the same for all classes: those of equal probabilities.
  private func start() throws(NumericsError) -> State {
    let share = 1 / Double(classCount)
    var covariance: VBLLCovariance<Scalar>
    var factors: [Cholesky<Double>] = []
    switch configuration.parameterization {
    case .dense:
      var precision = gram
      precision.scale(by: share)
      precision.addToDiagonal([Double](repeating: 1 / priorVariance, count: size))
      let factor = try execution.withBLAS { () throws(NumericsError) in try Cholesky(precision) }
      factors = [Cholesky<Double>](repeating: factor, count: classCount)
      covariance = .dense([Cholesky<Scalar>](repeating: factor.converted(), count: classCount))
    case .diagonal, .lowRank:
      let variances = gram.diagonal.map { 1 / (1 / priorVariance + share * $0) }
      covariance = .diagonal(.columns(variances, count: classCount))
    }
    let noise = [Double](
      repeating: configuration.wishartScale / (2 * shape), count: classCount)
    return State(
      mean: .zeros(size, classCount), logits: .zeros(design.rowCount, classCount), noise: noise,
      covariance: covariance, factors: factors,
      variances: covariance.variances(design, execution: execution),
      summary: covariance.summary())
  }

  // MARK: - The bound

  /// F.
  private func bound(_ state: State) -> Double {
    let dimension = Double(size * classCount)
    let divergence =
      0.5
      * ((state.mean.squaredNorm + state.summary.trace) / priorVariance - dimension
        + dimension * log(priorVariance) - state.summary.logDeterminant)
    let noise = state.noise.reduce(0) {
      $0 - shape * log($1) - 0.5 * configuration.wishartScale / $1
    }
    return expectedLogLikelihood(state) - divergence + noise
  }

  /// The first sum of F.
  private func expectedLogLikelihood(_ state: State) -> Double {
    let parts = execution.map(design.rowCount, blockSize: 512) { range in
      let tilted = tiltedLogits(state, range)
      var sum = 0.0
      for row in 0..<range.count where weights?[range.lowerBound + row] != 0 {
        let label = Int(labels[range.lowerBound + row])
        let variance = state.variances[range.lowerBound + row, label] + state.noise[label]
        let value = tilted.withRow(row) { z in
          z[label] - 0.5 * variance - logSumExp(z)
        }
        sum += (weights?[range.lowerBound + row] ?? 1) * value
      }
      return [sum]
    }
    return parts.reduce(0, +)
  }

  /// Xm + v/2 of some rows.
  private func tiltedLogits(_ state: State, _ range: Range<Int>) -> Matrix<Double> {
    var result = Matrix<Double>(state.logits.rows(range))
    result.add(state.variances.rows(range), times: 0.5)
    result.addToRows(state.noise, times: 0.5)
    return result
  }

  /// w_i·p_ik of all rows, N x K.
  private func responsibilities(_ state: State) -> Matrix<Double> {
    Matrix(
      rows: design.rowCount, columns: classCount, blockSize: 512, execution: execution
    ) { range in
      let shares = tiltedLogits(state, range).softmaxRows()
      guard let weights else { return shares }
      return shares.scalingRows(by: Array(weights[range]))
    }
  }

  // MARK: - Steps

  /// Step 1.
  private func raiseMean(_ state: inout State, _ bound: inout Double) throws(NumericsError) {
    var pass = pass
    var offsets = state.variances
    offsets.addToRows(state.noise)
    offsets.scale(by: 0.5)
    pass.rows.offsets = Matrix<Scalar>(offsets)
    var solver = ConcaveSolver(
      pass: pass, gram: gram,
      prior: Matrix(rows: size, columns: classCount, repeating: 1 / priorVariance))
    // A tenth of what ends the fit.
    solver.tolerance = .nats(0.1 * configuration.tolerance * abs(bound))
    let solution = try solver.solve(from: state.mean)
    var next = state
    next.mean = solution.weights
    next.logits = design.multiplied(by: next.mean, execution: execution)
    accept(next, &state, &bound)
  }

  /// Step 2.
  private func raiseNoise(_ state: inout State, _ bound: inout Double) {
    for _ in 0..<Self.noiseSteps {
      let counts = responsibilities(state).columnSums()
      let (shape, scale) = (shape, configuration.wishartScale)
      let target = counts.map { scale / (shape + (shape * shape + $0 * scale).squareRoot()) }
      let before = bound
      halving { step in
        var next = state
        for (k, value) in target.enumerated() {
          next.noise[k] = state.noise[k] * pow(value / state.noise[k], step)
        }
        return accept(next, &state, &bound)
      }
      if bound - before < 0.1 * configuration.tolerance * abs(bound) { return }
    }
  }

  /// Step 3.
  private func raiseCovariance(
    _ state: inout State, _ bound: inout Double, isFirst: Bool
  ) throws(NumericsError) {
    let shares = responsibilities(state)
    var target = [Cholesky<Double>]()  // of T_k, for dense covariances
    try halving { step throws(NumericsError) in
      var next = state
      switch state.covariance {
      case .dense:
        if step == 1 { target = try targetFactors(shares) }
        next.factors = step == 1 ? target : try Self.mix(state.factors, target, step, execution)
        next.covariance = .dense(next.factors.map { $0.converted() })
      case .diagonal(let variances) where configuration.parameterization == .diagonal:
        let precisions = targetDiagonals(shares)
        next.covariance = .diagonal(
          variances.combined(with: precisions) { 1 / ((1 - step) / $0 + step * $1) })
      case .diagonal(let variances):
        let own = LowRankFactors(
          variances: variances,
          factors: [Matrix<Double>](repeating: .zeros(size, 0), count: classCount))
        next.covariance = try lowRank(from: own, shares, step)
      case .lowRank(let variances, let factors):
        next.covariance = try lowRank(
          from: LowRankFactors(variances: variances, factors: factors), shares, step)
      }
      next.variances = next.covariance.variances(design, execution: execution)
      next.summary = next.covariance.summary()
      return accept(next, &state, &bound)
    }
  }

  /// Tries steps of 1, ½, … until one is taken.
  private func halving<Failure: Error>(_ take: (Double) throws(Failure) -> Bool) throws(Failure) {
    var step = 1.0
    while step >= Self.smallestStep {
      if try take(step) { return }
      step *= 0.5
    }
  }

  /// Takes a state whose bound is not lower.
  @discardableResult
  private func accept(_ next: State, _ state: inout State, _ bound: inout Double) -> Bool {
    let value = self.bound(next)
    guard value >= bound else { return false }
    (state, bound) = (next, value)
    return true
  }

  private static var smallestStep: Double { 0x1p-20 }
  private static var noiseSteps: Int { 5 }
  /// Steps of the search for the nearest low-rank covariance.
  private static var lowRankSteps: Int { 100 }
  private static var lowRankTolerance: Double { 1e-9 }

  // MARK: - Covariances

  /// T_k, D x D.
  private func target(
    _ shares: Matrix<Double>, _ k: Int, _ workspace: DesignMatrix<Scalar>.GramWorkspace
  ) -> Matrix<Double> {
    var precision = Matrix<Double>.diagonal(1 / priorVariance, size: size)
    design.addLowerGram(
      weights: shares.column(k), to: &precision, workspace, execution: execution)
    precision.mirrorLowerTriangle()
    return precision
  }

  private func targetFactors(
    _ shares: Matrix<Double>
  ) throws(NumericsError) -> [Cholesky<Double>] {
    let workspace = DesignMatrix<Scalar>.GramWorkspace(design)
    var factors: [Cholesky<Double>] = []
    for k in 0..<classCount {
      try execution.checkCancellation()
      let precision = target(shares, k, workspace)
      factors.append(
        try execution.withBLAS { () throws(NumericsError) in try Cholesky(precision) })
    }
    return factors
  }

  /// Factors of mixed precisions.
  static func mix(
    _ own: [Cholesky<Double>], _ other: [Cholesky<Double>], _ step: Double, _ execution: Execution
  ) throws(NumericsError) -> [Cholesky<Double>] {
    try execution.withBLAS { () throws(NumericsError) in
      var factors: [Cholesky<Double>] = []
      for (a, b) in zip(own, other) {
        var precision = a.product
        precision.scale(by: 1 - step)
        precision.add(b.product, times: step)
        factors.append(try Cholesky(precision))
      }
      return factors
    }
  }

  /// The diagonals of T_k, D x K.
  private func targetDiagonals(_ shares: Matrix<Double>) -> Matrix<Double> {
    // A part of the rows for each thread, whose blocks are added in double precision.
    let part = (design.rowCount + execution.threadCount - 1) / execution.threadCount
    let sums = execution.map(design.rowCount, blockSize: max(part, 1)) { range in
      var sum = Matrix<Double>.zeros(size, classCount)
      for start in stride(from: range.lowerBound, to: range.upperBound, by: 512) {
        let rows = start..<min(start + 512, range.upperBound)
        var squares = design.matrix(rows: rows).compact()
        squares.formSquares()
        let weights = Matrix<Scalar>(shares.rows(rows).compact())
        sum.add(Matrix<Double>(squares.multiplied(by: weights, transposing: true)))
      }
      return [sum]
    }
    var total = Matrix<Double>(rows: size, columns: classCount, repeating: 1 / priorVariance)
    for sum in sums { total.add(sum) }
    return total
  }

  private struct LowRankFactors {
    var variances: Matrix<Double>
    var factors: [Matrix<Double>]
  }

  /// The low-rank covariances nearest to mixed precisions.
  private func lowRank(
    from own: LowRankFactors, _ shares: Matrix<Double>, _ step: Double
  ) throws(NumericsError) -> VBLLCovariance<Scalar> {
    let workspace = DesignMatrix<Scalar>.GramWorkspace(design)
    var result = own
    for k in 0..<classCount {
      try execution.checkCancellation()
      var precision = target(shares, k, workspace)
      var covariance = LowRankCovariance(
        variances: own.variances.column(k), factor: own.factors[k])
      if step < 1 {
        precision.scale(by: step)
        precision.add(covariance.precision, times: 1 - step)
      } else if own.factors[k].columnCount == 0 {
        covariance.variances = precision.diagonal.map { 1 / $0 }
      }
      let nearest = try execution.withBLAS { () throws(NumericsError) in
        try covariance.nearest(to: precision, rank: rank, iterationLimit: Self.lowRankSteps)
      }
      result.variances.replaceBlock(
        row: 0, column: k, with: Matrix(rows: size, columns: 1, elements: nearest.variances))
      result.factors[k] = nearest.factor
    }
    return .lowRank(result.variances, result.factors)
  }
}

extension Cholesky<Double> {
  /// L·Lᵀ; what stands above the diagonal of the factor has no meaning.
  fileprivate var product: Matrix<Double> {
    var lower = factor.compact()
    for row in 0..<size {
      lower.withMutableRow(row) { values in
        for column in row + 1..<max(row + 1, size) { values[column] = 0 }
      }
    }
    return lower.multiplied(by: lower, transposingOther: true)
  }
}

/// `log Σ exp z`, of a row.
private func logSumExp(_ z: Span<Double>) -> Double {
  var largest = z[0]
  for k in z.indices { largest = max(largest, z[k]) }
  var sum = 0.0
  for k in z.indices { sum += exp(z[k] - largest) }
  return largest + log(sum)
}

extension VBLLHead {
  /// Fits a head to rows, to the maximum of the bound.
  ///
  /// - Parameters:
  ///   - features: N x D, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - classCount: K.
  ///   - weights: how often each row counts, numbers that are not negative; `nil` for once.
  ///   - scaling: of the features; `nil` for features as they are, without a bias.
  ///   - configuration: priors, the form of the covariances, and where to stop.
  ///   - execution: the threads to work with, and what tells them to stop.
  /// - Returns: the head, and the bounds.
  /// - Throws: `NumericsError`: there are no rows, a label is no class, a feature is not finite, a weight is negative, or
  ///   rounding made a precision indefinite; `cancelled`.
  /// - Complexity: an iteration takes some tens of passes of 4·N·D·K operations, and 2·N·D²·K for dense covariances, N·D²·K
  ///   for low-rank ones; two to ten iterations are typical.
  public static func fit(
    _ features: FeatureMatrix, labels: [Int32], classCount: Int, weights: [Double]? = nil,
    scaling: FeatureScaling? = nil, _ configuration: VBLLConfiguration,
    execution: Execution = .available
  ) throws(NumericsError) -> (head: VBLLHead, info: VBLLInfo) {
    try TrainingRows.check(
      features, labels: labels, classCount: classCount, weights: weights, execution: execution)
    try configuration.check()
    let priorVariance = configuration.priorVariance(featureCount: features.columnCount)
    let shape = HeadShape(
      featureCount: features.columnCount, classCount: classCount, usesBias: scaling != nil,
      transform: scaling?.transform(of: features, weights: weights, execution: execution)
        ?? .identity,
      priorPrecision: 1 / priorVariance)
    var design: DesignMatrix<Scalar> = try shape.design(features)
    design.makeResident(limit: residentDesignLimit, execution: execution)
    let ascent = VBLLAscent(
      design, labels: labels, classCount: classCount, weights: weights,
      priorVariance: priorVariance, configuration, execution: execution)
    let (state, info) = try ascent.run()
    let head = try VBLLHead(
      shape, mean: state.mean, covariance: state.covariance, noiseVariances: state.noise)
    return (head, info)
  }
}
