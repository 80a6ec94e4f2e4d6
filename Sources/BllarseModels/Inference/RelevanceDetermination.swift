import BllarseNumerics
import Glibc

/// Automatic relevance determination: each weight of a target has a prior precision of its own, chosen by the
/// evidence, so that inputs the targets do not depend on lose their weights.
///
/// With `S_xx = ZᵀZ` (Z = diag(√e)·U, R x D), `v = q/√e` and `Λ = diag(λ)`, everything follows from one
/// Cholesky factor of order R ≤ min(N, D), without a cancellation:
///
///     C = I + α ZΛ⁻¹Zᵀ,    w = α Λ⁻¹Zᵀ C⁻¹v,    ‖y - Xw‖² = r₀ + ‖C⁻¹v‖²,
///     γ_j = 1 - λ_j Σ_jj = (α/λ_j) z_jᵀC⁻¹z_j
///
/// and the log evidence with its log hyperpriors is
///
///     ½[W log α - log|C| - α(r₀ + vᵀC⁻¹v) - W log 2π] + Σ(λ₁ log λ_j - λ₂λ_j) + α₁ log α - α₂α.
///
/// - Note: Source: MacKay, "Bayesian interpolation", Neural Computation 1992; Tipping, "Sparse Bayesian learning
///   and the relevance vector machine", JMLR 2001.
struct RelevanceDetermination {
  /// The columns of Z as rows, D x R.
  private let columns: Matrix<Double>
  /// v, R.
  private let targets: [Double]
  /// r₀.
  private let unexplained: Double
  /// W.
  private let weight: Double
  private let hyperpriors: RegressionHyperpriors
  private let execution: Execution

  /// What the iterations came to.
  struct Result {
    /// λ, D, and α: absolute precisions.
    var precisions: [Double]
    var noise: Double
    var logEvidence: Double
    /// The part of it that the hyperpriors are.
    var logHyperpriors: Double
    /// Σ γ_j.
    var effectiveCount: Double
    /// The log evidence of every point that was taken.
    var trace: [Double] = []
    var iterationCount = 0
    var hasConverged = false
  }

  /// Log precisions, and what they give.
  private struct Point {
    /// log λ, D, then log α.
    var logs: [Double]
    var logEvidence: Double
    /// What the rounding of the terms of the log evidence can come to.
    var rounding: Double
    /// w and γ, D.
    var weights, shares: [Double]
    var residual: Double
    /// B, D x R, with `BBᵀ = 1 - Λ^½ΣΛ^½`, where Newton's method may be tried.
    var whitened: Matrix<Double>?

    var precisions: [Double] { logs.dropLast().map { exp($0) } }
    var noise: Double { exp(logs[logs.count - 1]) }

    /// Whether its evidence is no lower, as far as rounding can tell: the evidence is flat at its optimum, so that
    /// a part in 10¹² of it is a part in 10⁶ of the weights.
    func isNoWorse(than other: Point) -> Bool {
      logEvidence >= other.logEvidence - max(rounding, other.rounding)
    }
  }

  /// The change of fitted values, in units of the targets' spread, at which iterations end: what remains is a
  /// hundred times as much where each step leaves 0.99 of it, and no digit of a prediction that matters.
  private static let tolerance = 1e-10
  /// The same of the logarithms of precisions, each times the share that the rows have in its weight.
  private static let precisionTolerance = 1e-8
  /// The same at which Newton's method is tried.
  private static let newtonChange = 0.1
  /// The number of inputs whose square is a matrix of 32 MB.
  private static let newtonInputs = 2000
  /// The first for steps that are to be compared with those of another program.
  private static let fixedPointTolerance = 1e-13

  /// How many units in the last place of its terms the evidence of a point is from that of its neighbours: 3 on 8,500
  /// rows and 384 columns, times four.
  private static let roundings = 12.0

  init(
    _ spectrum: RegressionSpectrum, target: Int, _ hyperpriors: RegressionHyperpriors,
    execution: Execution
  ) {
    var columns = spectrum.vectors.transposed()
    let roots = spectrum.eigenvalues.map { $0.squareRoot() }
    for row in 0..<columns.rowCount {
      columns.withMutableRow(row) { values in
        for d in values.indices { values[d] *= roots[d] }
      }
    }
    self.columns = columns
    targets = roots.indices.map { spectrum.projections[$0, target] / roots[$0] }
    unexplained = spectrum.unexplained[target]
    weight = spectrum.weight
    (self.hyperpriors, self.execution) = (hyperpriors, execution)
  }

  /// `S_yy`.
  private var targetScatter: Double { targets.reduce(unexplained) { $0 + $1 * $1 } }

  // MARK: - Iterations

  /// The fixed point of MacKay and Tipping, as scikit-learn's ARDRegression iterates it from λ = 1 and
  /// α = 1 / variance.
  ///
  ///     λ_j ← (γ_j + 2λ₁) / (w_j² + 2λ₂),      α ← (W - Σγ + 2α₁) / (‖y - Xw‖² + 2α₂)
  ///
  /// It nearly always raises the evidence, but nothing says that it must.
  func fixedPoint(iterationLimit: Int) throws(NumericsError) -> Result {
    var point = try start()
    var trace = [point.logEvidence]
    for _ in 0..<iterationLimit {
      let next = try evaluate(try mackay(point))
      let change = change(point, next)
      point = next
      trace.append(point.logEvidence)
      if change < Self.fixedPointTolerance { return result(point, trace, hasConverged: true) }
    }
    return result(point, trace, hasConverged: false)
  }

  /// The same fixed point, reached sooner and by a path along which the evidence falls by no more than rounding.
  ///
  /// A step that lowers the evidence is replaced by one of expectation maximisation,
  /// `λ_j ← (1 + 2λ₁) / (w_j² + Σ_jj + 2λ₂)`, which cannot. Once a step changes no precision by much, Newton's
  /// method in the logarithms of the precisions ends the matter (``RelevanceCurvature``); where it is not to be had,
  /// and before, every two steps are extrapolated, and the extrapolation is taken if it is no worse than
  /// both.
  ///
  /// - Note: Source: Varadhan and Roland, "Simple and globally convergent methods for accelerating the
  ///   convergence of any EM algorithm", Scandinavian Journal of Statistics 2008 (SQUAREM, S3).
  func accelerated(iterationLimit: Int) throws(NumericsError) -> Result {
    var point = try start()
    var trace = [point.logEvidence]
    var largestLength = 4.0
    while trace.count <= iterationLimit {
      let first = try step(from: point)
      trace.append(first.logEvidence)
      if isStill(point, first) { return result(first, trace, hasConverged: true) }
      if precisionChange(point, first) < Self.newtonChange, let next = try newton(from: first) {
        point = next
        trace.append(next.logEvidence)
        continue
      }
      let second = try step(from: first)
      trace.append(second.logEvidence)
      let difference = zip(first.logs, point.logs).map { $0 - $1 }
      let bend = second.logs.indices.map { second.logs[$0] - first.logs[$0] - difference[$0] }
      let curvature = bend.reduce(0) { $0 + $1 * $1 }
      point = second
      guard curvature > 0 else { continue }
      let wanted = (difference.reduce(0) { $0 + $1 * $1 } / curvature).squareRoot()
      let length = min(max(wanted, 1), largestLength)
      guard length > 1 else { continue }
      // x₀ + 2sr + s²v with s = length; at s = 1 it is the second step.
      let origin = zip(first.logs, difference).map { $0 - $1 }
      let logs = origin.indices.map {
        max(
          -690, min(690, origin[$0] + 2 * length * difference[$0] + length * length * bend[$0]))
      }
      if let extrapolated = try trial(logs), extrapolated.isNoWorse(than: second) {
        point = extrapolated
        trace.append(point.logEvidence)
        if length == largestLength { largestLength *= 4 }
      } else {
        largestLength = max(4, largestLength / 4)
      }
    }
    return result(point, trace, hasConverged: false)
  }

  /// Whether the D x D matrices of Newton's method are small, or no larger than others are.
  private var mayTakeNewton: Bool {
    columns.rowCount <= max(Self.newtonInputs, 2 * columns.columnCount)
  }

  /// A step of Newton's method, or one between it and the fixed point's, that does not lower the evidence; nil where
  /// there is none.
  private func newton(from point: Point) throws(NumericsError) -> Point? {
    guard let whitened = point.whitened else { return nil }
    let precisions = point.precisions
    let curvature = execution.withBLAS {
      RelevanceCurvature(
        whitened: whitened,
        scaledWeights: zip(point.weights, precisions).map { $0 * $1.squareRoot() },
        precisions: precisions, noise: point.noise, residual: point.residual, weight: weight,
        hyperpriors)
    }
    for shift in [0, 0.1, 1] {
      guard let step = execution.withBLAS({ curvature.step(shift: shift) }) else { continue }
      let logs = zip(point.logs, step).map { max(-690, min(690, $0 + $1)) }
      if let next = try trial(logs), next.isNoWorse(than: point) { return next }
    }
    return nil
  }

  private func step(from point: Point) throws(NumericsError) -> Point {
    if let next = try trial(try mackay(point)), next.isNoWorse(than: point) { return next }
    return try evaluate(expectationMaximisation(point))
  }

  /// What precisions give, or nil where they are so far apart that C cannot be factored.
  private func trial(_ logs: [Double]) throws(NumericsError) -> Point? {
    do throws(NumericsError) {
      return try evaluate(logs)
    } catch {
      if case .notPositiveDefinite = error { return nil }
      throw error
    }
  }

  private func result(_ point: Point, _ trace: [Double], hasConverged: Bool) -> Result {
    Result(
      precisions: point.precisions, noise: point.noise, logEvidence: point.logEvidence,
      logHyperpriors: logHyperpriors(point.logs),
      effectiveCount: point.shares.reduce(0, +), trace: trace, iterationCount: trace.count - 1,
      hasConverged: hasConverged)
  }

  private func isStill(_ one: Point, _ other: Point) -> Bool {
    change(one, other) < Self.tolerance && precisionChange(one, other) < Self.precisionTolerance
  }

  /// The largest change of what an input adds to the fitted values, in units of the targets' spread.
  private func change(_ one: Point, _ other: Point) -> Double {
    var largest = 0.0
    for (j, norm) in columns.rowSquaredNorms().enumerated() {
      largest = max(largest, (one.weights[j] - other.weights[j]).magnitude * norm.squareRoot())
    }
    return largest / max(targetScatter.squareRoot(), .leastNormalMagnitude)
  }

  /// The largest change of the logarithm of a weight's precision, times γ.
  private func precisionChange(_ one: Point, _ other: Point) -> Double {
    other.shares.indices.reduce(0) {
      max($0, other.shares[$1] * (one.logs[$1] - other.logs[$1]).magnitude)
    }
  }

  // MARK: - Updates

  private func start() throws(NumericsError) -> Point {
    var logs = [Double](repeating: 0, count: columns.rowCount)
    logs.append(-log(targetScatter / weight + Double.ulpOfOne))
    return try evaluate(logs)
  }

  private func mackay(_ point: Point) throws(NumericsError) -> [Double] {
    try updated(
      point, numerators: point.shares,
      moments: point.weights.map { $0 * $0 },
      noiseCount: weight - point.shares.reduce(0, +), residual: point.residual)
  }

  private func expectationMaximisation(_ point: Point) throws(NumericsError) -> [Double] {
    // Σ_jj = (1 - γ_j)/λ_j, and α·tr(S_xx Σ) = Σ γ_j.
    let moments = zip(zip(point.weights, point.shares), point.precisions).map { pair, precision in
      pair.0 * pair.0 + max(0, 1 - pair.1) / precision
    }
    return try updated(
      point, numerators: [Double](repeating: 1, count: moments.count), moments: moments,
      noiseCount: weight,
      residual: point.residual + point.shares.reduce(0, +) / point.noise)
  }

  private func updated(
    _ point: Point, numerators: [Double], moments: [Double], noiseCount: Double, residual: Double
  ) throws(NumericsError) -> [Double] {
    let (weights, noise) = (hyperpriors.weights, hyperpriors.noise)
    var logs: [Double] = []
    for (j, (numerator, moment)) in zip(numerators, moments).enumerated() {
      if numerator + 2 * weights.shape == 0, moment + 2 * weights.rate == 0 {
        // An input that does not vary, without a hyperprior: any precision will do.
        logs.append(point.logs[j])
        continue
      }
      let precision = (numerator + 2 * weights.shape) / (moment + 2 * weights.rate)
      try RegressionSpectrum.check(noise: 1, weights: precision)
      logs.append(log(precision))
    }
    let precision = (noiseCount + 2 * noise.shape) / (residual + 2 * noise.rate)
    try RegressionSpectrum.check(noise: precision, weights: 1)
    return logs + [log(precision)]
  }

  private func evaluate(_ logs: [Double]) throws(NumericsError) -> Point {
    try execution.checkCancellation()
    let logNoise = logs[logs.count - 1]
    let noise = exp(logNoise)
    // Rows √(α/λ_j)·z_j, D x R.
    var scaled = columns
    let scales = logs.dropLast().map { exp(0.5 * (logNoise - $0)) }
    for (j, scale) in scales.enumerated() {
      scaled.withMutableRow(j) { values in for d in values.indices { values[d] *= scale } }
    }
    var capacitance = execution.withBLAS { scaled.gram() }
    capacitance.addToDiagonal([Double](repeating: 1, count: targets.count))
    let factor = try execution.withBLAS { () throws(NumericsError) in try Cholesky(capacitance) }
    let solution = factor.solve(targets)
    let fitted = scaled.multiplied(by: solution)
    let weights = zip(fitted, scales).map { $0 * $1 }
    execution.withBLAS { factor.whiten(rows: &scaled) }
    let shares = scaled.rowSquaredNorms()
    let residual = solution.reduce(unexplained) { $0 + $1 * $1 }
    let energy = zip(solution, targets).reduce(unexplained) { $0 + $1.0 * $1.1 }
    let terms = [
      weight * logNoise, -factor.logDeterminant, -noise * energy, -weight * log(2 * Double.pi),
      2 * logHyperpriors(logs),
    ]
    return Point(
      logs: logs, logEvidence: 0.5 * terms.reduce(0, +),
      rounding: Self.roundings * terms.reduce(0) { $0 + $1.magnitude } * .ulpOfOne,
      weights: weights, shares: shares, residual: residual,
      whitened: mayTakeNewton ? scaled : nil)
  }
  private func logHyperpriors(_ logs: [Double]) -> Double {
    logs.dropLast().reduce(hyperpriors.logNoise(exp(logs[logs.count - 1]))) {
      $0 + hyperpriors.logWeights(exp($1))
    }
  }
}
