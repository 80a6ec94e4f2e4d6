import BllarseNumerics

/// Finds the maximum of a penalised concave log-likelihood over weights.
///
/// With W, D x C:
///
///     F(W) = Σᵢ log p(yᵢ | X·W) + <B, W> - ½ Σ_jk Λ₀_jk W_jk²,
///
/// by nonlinear conjugate gradients with an exact line search. The preconditioner V is the inverse of the curvature
/// and the prior (see ``LikelihoodCurvature``), computed anew every ten iterations. F never falls.
///
/// `½ gᵀVg`, g the gradient, estimates the distance to the maximum in nats; `½ gᵀΛ₀⁻¹g` bounds it.
///
/// - Note: Sources: Jamshidian and Jennrich (1993), conjugate gradients for EM; Polak and Ribière's
///   formula, restarted when it is negative.
struct CurvatureSolver<Pass: LaplacePass> {
  typealias Scalar = Pass.Scalar

  let pass: Pass
  /// XᵀX, D x D.
  let gram: Matrix<Double>
  /// Λ₀ as a matrix of diagonals, D x C, positive.
  let prior: Matrix<Double>
  /// B, D x C; `nil` stands for zero.
  var linearTerm: Matrix<Double>?
  /// What the first steps are scaled by; `nil` for the curvature at the start.
  var preconditioner: Preconditioner?
  /// Stop when the estimated distance to the maximum is below this, in nats.
  var tolerance = 1e-5
  var iterationLimit = 200

  /// Where the solver stopped.
  struct Solution: Sendable {
    /// W, D x C.
    var weights: Matrix<Double>
    /// X·W, N x C.
    var logits: Matrix<Scalar>
    /// F there.
    var objective: Double
    /// The estimated distance to the maximum, in nats.
    var gap: Double
    /// What the distance cannot exceed, in nats.
    var gapBound: Double
    /// Conjugate-gradient iterations; each reads the features twice.
    var iterations: Int
    /// Whether the tolerance was reached.
    var converged: Bool
    /// Whether the curvature at the start was too rough a guide.
    var isDemanding: Bool { iterations >= CurvatureSolver.refreshInterval }
  }

  /// What is left of a slope at the end of a line search: a closer search costs more evaluations than it saves
  /// iterations.
  private static var slopeFraction: Double { 0.1 }
  /// Iterations between two refreshes of the preconditioner.
  static var refreshInterval: Int { 10 }

  /// Climbs from starting weights.
  ///
  /// - Parameter start: D x C.
  /// - Returns: where it stopped.
  /// - Throws: `NumericsError.notPositiveDefinite` if rounding or a NaN made a preconditioner indefinite.
  func solve(from start: Matrix<Double>) throws(NumericsError) -> Solution {
    var weights = start
    var logits = Matrix<Scalar>.zeros(pass.design.rowCount, pass.classCount)
    var directionLogits = logits
    var sums = pass.restart(at: weights, logits: &logits)
    var gradient = gradient(sums, weights)  // (D, C)
    var objective = objective(sums, weights)
    var preconditioner: Preconditioner
    if let given = self.preconditioner {
      preconditioner = given
    } else {
      preconditioner = try refreshed(logits, .little)
    }
    var scaled = preconditioner.solve(gradient)  // z = V g
    var decrement = reduce(gradient.columnDots(scaled))  // gᵀVg
    var direction = scaled  // p
    var steps = [Double](repeating: 1, count: pass.stepCount)
    var (iterations, stalls, isFresh) = (0, 0, true)

    while iterations < iterationLimit, 0.5 * decrement.reduce(0, +) >= tolerance, stalls < 2 {
      try pass.parallelism.checkCancellation()
      iterations += 1

      // 1. An exact step along the direction.
      steps = lineSearch(weights, direction, logits, &directionLogits, gradient, firstSteps: steps)
      weights.addColumns(direction, times: spread(steps))

      // 2. Logits and gradient there. Updates of the logits accumulate rounding: compute them anew
      // with every refresh.
      let refreshes = iterations % Self.refreshInterval == 0
      sums =
        refreshes
        ? pass.restart(at: weights, logits: &logits)
        : pass.advance(logits: &logits, direction: directionLogits, steps: steps)
      let previous = (gradient: gradient, decrement: decrement, objective: objective)
      gradient = self.gradient(sums, weights)
      objective = self.objective(sums, weights)
      // The precision of the data has a floor below which no step gains anything.
      stalls = objective > previous.objective ? 0 : stalls + 1

      // 3. The next direction: conjugate, or steepest where conjugacy is lost.
      isFresh = refreshes || stalls > 0
      if refreshes { preconditioner = try refreshed(logits, .some) }
      scaled = preconditioner.solve(gradient)
      decrement = reduce(gradient.columnDots(scaled))
      if isFresh {
        direction = scaled
      } else {
        let overlap = reduce(previous.gradient.columnDots(scaled))
        let conjugacy = decrement.indices.map { k in
          previous.decrement[k] > 0
            ? max(0, (decrement[k] - overlap[k]) / previous.decrement[k]) : 0
        }
        direction = scaled.combinedColumns(with: direction, times: spread(conjugacy))
        let ascent = spread(reduce(gradient.columnDots(direction)))
        direction.replaceColumns(with: scaled) { k in !(ascent[k] > 0) }
      }
    }
    let gap = 0.5 * decrement.reduce(0, +)
    return Solution(
      weights: weights, logits: logits, objective: objective, gap: gap,
      gapBound: 0.5 * gradient.combined(with: prior) { g, l in g * g / l }.sum,
      iterations: iterations, converged: gap < tolerance)
  }

  private func refreshed(
    _ logits: Matrix<Scalar>, _ effort: LikelihoodCurvature.Effort
  ) throws(NumericsError) -> Preconditioner {
    try Preconditioner(LikelihoodCurvature(pass, gram: gram, logits, effort), prior: prior)
  }

  // MARK: - Objective

  private func gradient(
    _ sums: ProbitPass<Scalar>.Sums, _ weights: Matrix<Double>
  ) -> Matrix<Double> {
    var gradient = sums.products
    if let linearTerm { gradient.add(linearTerm) }
    gradient.add(weights.combined(with: prior) { w, l in w * l }, times: -1)
    return gradient
  }

  private func objective(_ sums: ProbitPass<Scalar>.Sums, _ weights: Matrix<Double>) -> Double {
    let penalty = 0.5 * weights.combined(with: prior) { w, l in w * w * l }.sum
    return sums.logLikelihoods.reduce(0, +) + (linearTerm?.dot(weights) ?? 0) - penalty
  }

  /// Sums of columns that share a step.
  private func reduce(_ columns: [Double]) -> [Double] {
    Pass.isSeparable ? columns : [columns.reduce(0, +)]
  }

  /// A number for each column.
  private func spread(_ steps: [Double]) -> [Double] {
    Pass.isSeparable ? steps : [Double](repeating: steps[0], count: pass.classCount)
  }

  // MARK: - Line search

  /// Steps that maximise the objective along a direction.
  private func lineSearch(
    _ weights: Matrix<Double>, _ direction: Matrix<Double>, _ logits: Matrix<Scalar>,
    _ directionLogits: inout Matrix<Scalar>, _ gradient: Matrix<Double>, firstSteps: [Double]
  ) -> [Double] {
    let weighted = direction.combined(with: prior) { p, l in p * l }  // Λ₀ p
    var constant = reduce(weights.columnDots(weighted))
    if let linearTerm {
      for (k, value) in reduce(linearTerm.columnDots(direction)).enumerated() {
        constant[k] -= value
      }
    }
    let square = reduce(direction.columnDots(weighted))
    let slopesAtZero = reduce(gradient.columnDots(direction))
    var searches = slopesAtZero.indices.map { k in
      LineSearch(
        slopeAtZero: slopesAtZero[k], firstStep: firstSteps[k], slopeFraction: Self.slopeFraction)
    }
    var line = pass.direction(
      of: direction, into: &directionLogits, logits: logits, steps: searches.map(\.step))
    for _ in 0..<LineSearch.evaluationLimit {
      for k in searches.indices {
        let t = searches[k].step
        searches[k].observe(
          slope: line.slopes[k] - constant[k] - t * square[k],
          curvature: line.curvatures[k] - square[k])
      }
      if searches.allSatisfy(\.isDone) { break }
      line = pass.line(logits: logits, direction: directionLogits, steps: searches.map(\.step))
    }
    return searches.map(\.acceptedStep)
  }
}

extension Matrix where Element: BLASScalar {
  /// The sum of all elements, in double precision.
  var sum: Double {
    var total = 0.0
    for row in 0..<rowCount {
      withRow(row) { values in for column in values.indices { total += Double(values[column]) } }
    }
    return total
  }
}
