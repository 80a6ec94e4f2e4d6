import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Finds the maximum of the probit head's evidence lower bound: preconditioned nonlinear conjugate
/// gradients with an exact line search for each class.
///
/// With q(z) at its optimum the bound is, up to a constant, the strictly concave
///
///     F(mu) = Σ log Φ(S·X·mu) - ½ Σ_k mu_kᵀΛ₀mu_k,
///
/// whose Hessian H satisfies `Λ₀ ≤ -H ≤ P = Λ₀ + XᵀX`. With `V = P⁻¹` as preconditioner a step of length
/// 1 along `V·gradient` is a coordinate-ascent step; the line search and the conjugate directions make it
/// twenty to fifty times as effective. The more rows are well fitted, the smaller their curvature
/// h = -(log Φ)'', so the preconditioner follows it: `V = (Λ₀ + c·XᵀX)⁻¹`, c the mean curvature. The bound
/// never falls.
///
/// The distance to the maximum lies between `½·gᵀP⁻¹g` and `½·gᵀΛ₀⁻¹g`, g the gradient. This upper bound is
/// larger than the distance by the ratio of XᵀX to Λ₀, so waiting for it would double the iterations.
/// ``CurvatureFloor`` gives one that is nearly the distance, for a Gram matrix a class: the solver asks for it
/// when ``GapEstimate`` says that the distance is within the tolerance, and goes on if it is not. Where that
/// would cost too much, the estimate decides, unless ``isCertified``.
///
/// - Note: Sources: Jamshidian and Jennrich (1993), conjugate gradient acceleration of EM; Polak and
///   Ribière's formula, restarted when it is negative.
struct ProbitSolver<Scalar: BLASScalar> {
  let pass: ProbitPass<Scalar>
  /// The diagonal of `Λ₀`, D positive numbers.
  let prior: [Double]
  /// XᵀX, D x D.
  let gram: Matrix<Double>
  /// Of `P`.
  let cholesky: Cholesky<Double>
  /// Stop when the gap is below this fraction of the bound's magnitude.
  var tolerance = 1e-6
  /// What the evidence lower bound is less than the objective.
  var constant = 0.0
  var iterationLimit = 1000
  /// Whether the upper bound has to be within the tolerance, whatever that costs.
  var isCertified = false

  /// Where the solver stopped.
  struct Solution {
    /// mu, D x K.
    var mean: Matrix<Double>
    /// Σ log Φ(S·M) - ½ Σ muᵀΛ₀mu.
    var objective: Double
    /// The objective before each iteration, and at the end.
    var history: [Double]
    var certificate: GapCertificate
    var iterations: Int
    var converged: Bool
  }

  /// Climbs from a starting mean.
  func solve(from start: Matrix<Double>) -> Solution {
    let classes = pass.classCount
    var mean = start
    var logits = Matrix<Scalar>.zeros(pass.design.rowCount, classes)
    var directionLogits = Matrix<Scalar>.zeros(pass.design.rowCount, classes)
    var sums = pass.restart(at: mean, logits: &logits)
    var gradient = gradient(sums, mean)  // (D, K)
    var objective = objective(sums, mean)
    var preconditioner = cholesky
    var scaled = preconditioner.solve(gradient, parallelism: pass.parallelism)  // z = V g
    var decrement = gradient.columnDots(scaled)  // gᵀVg
    var direction = scaled  // p
    var steps = [Double](repeating: 1, count: classes)
    var history = [objective]
    var estimate = GapEstimate()
    var stalls = 0  // steps that gained nothing
    var sinceRestart = 0
    var iterations = 0
    var certificate: GapCertificate?
    var goal = 1.0  // what part of the threshold the estimate has to come down to

    while iterations < iterationLimit && !pass.parallelism.isCancelled {
      let threshold = tolerance * abs(objective - constant)
      if GapCertificate.upper(gradient, prior) <= threshold { break }
      if estimate.gap <= goal * threshold {
        let found = self.certificate(gradient, logits)
        certificate = found
        if found.upper <= threshold || !isProofWanted { break }
        goal = 0.25 * estimate.gap / threshold
      }
      // At the floor of the precision, as far as can be told.
      if stalls >= 2 && GapCertificate.lower(gradient, cholesky) <= threshold { break }
      certificate = nil
      iterations += 1

      // 1. An exact step along the direction, class by class.
      let slopesAtZero = gradient.columnDots(direction)
      steps = lineSearch(
        mean, direction, logits, &directionLogits, slopesAtZero, firstSteps: steps)
      mean.addColumns(direction, times: steps)

      // 2. Logits there. In single precision their updates accumulate rounding: compute them anew
      // every twenty steps.
      sinceRestart += 1
      if sinceRestart == 20 {
        sums = pass.restart(at: mean, logits: &logits)
        sinceRestart = 0
      } else {
        sums = pass.advance(logits: &logits, direction: directionLogits, steps: steps)
      }
      let previous = (gradient: gradient, decrement: decrement, objective: objective)
      gradient = self.gradient(sums, mean)
      objective = self.objective(sums, mean)
      history.append(objective)

      // 3. The next direction: conjugate, or steepest where conjugacy is lost or the preconditioner new.
      let isNew = Self.refreshes(iterations)
      if isNew { preconditioner = curvaturePreconditioner(logits) }
      scaled = preconditioner.solve(gradient, parallelism: pass.parallelism)
      decrement = gradient.columnDots(scaled)
      let overlap = previous.gradient.columnDots(scaled)
      let conjugacy = (0..<classes).map { k in
        previous.decrement[k] > 0 && !isNew
          ? max(0, (decrement[k] - overlap[k]) / previous.decrement[k]) : 0
      }
      direction = scaled.combinedColumns(with: direction, times: conjugacy)
      let ascent = gradient.columnDots(direction)
      direction.replaceColumns(with: scaled) { k in !(ascent[k] > 0) }

      estimate.observe(
        gain: objective - previous.objective, decrement: 0.5 * decrement.reduce(0, +))
      // Single precision has a floor: a step that gains nothing although the gradient is not small.
      if objective <= previous.objective {
        stalls += 1
        if sinceRestart > 0 {
          sums = pass.restart(at: mean, logits: &logits)
          sinceRestart = 0
        }
      }
    }
    return Solution(
      mean: mean, objective: objective, history: history,
      certificate: certificate ?? self.certificate(gradient, logits),
      iterations: iterations, converged: iterations < iterationLimit)
  }

  /// Multiplications that the proof may always take: some 20 ms on two cores.
  private static var affordableWork: Double { 2e9 }

  /// How many rows' Gram matrix a floor may take.
  private var floorRowLimit: Int {
    isCertified ? pass.design.rowCount : min(pass.design.rowCount, max(2048, 8 * prior.count))
  }

  /// The classes that share a floor: two that are each other's opposite, else each has its own.
  private var floorGroups: [Range<Int>] {
    pass.classCount == 2 && !pass.labels.contains(-1)
      ? [0..<2] : (0..<pass.classCount).map { $0..<$0 + 1 }
  }

  /// Whether the fit goes on until the upper bound is within the tolerance.
  private var isProofWanted: Bool {
    let size = Double(prior.count)
    let work = Double(floorGroups.count) * Double(floorRowLimit) * size * size
    return isCertified || work <= Self.affordableWork
  }

  private func certificate(
    _ gradient: Matrix<Double>, _ logits: Matrix<Scalar>
  ) -> GapCertificate {
    GapCertificate(gradient, cholesky, prior, groups: isProofWanted ? floorGroups : []) {
      CurvatureFloor(
        pass, classes: $0, logits: logits, prior: prior, gram: gram, decrement: $1,
        rowLimit: floorRowLimit)
    }
  }

  /// Whether the preconditioner is made anew after an iteration: when the first steps have found where
  /// the curvature is, and then now and again.
  private static func refreshes(_ iteration: Int) -> Bool {
    iteration == 2 || iteration % 8 == 0
  }

  /// Of `Λ₀ + c·XᵀX`, c the mean curvature at the logits; of `P` if that cannot be factored.
  private func curvaturePreconditioner(_ logits: Matrix<Scalar>) -> Cholesky<Double> {
    var matrix = gram
    matrix.scale(by: pass.meanCurvature(at: logits))
    matrix.addToDiagonal(prior)
    return (try? Cholesky(matrix)) ?? cholesky
  }

  private func gradient(_ sums: ProbitPass<Scalar>.Sums, _ mean: Matrix<Double>) -> Matrix<Double> {
    sums.products.subtractingRows(of: mean, times: prior)
  }

  private func objective(_ sums: ProbitPass<Scalar>.Sums, _ mean: Matrix<Double>) -> Double {
    sums.logLikelihoods.reduce(0, +) - 0.5
      * mean.weightedColumnDots(mean, weights: prior).reduce(0, +)
  }

  /// Steps that maximise the objective along a direction, one for each class.
  ///
  /// The derivative along a line falls monotonically, so Newton's method on it is kept inside a
  /// bracket; three evaluations are typical, and only the first reads the features.
  private func lineSearch(
    _ mean: Matrix<Double>, _ direction: Matrix<Double>, _ logits: Matrix<Scalar>,
    _ directionLogits: inout Matrix<Scalar>, _ slopesAtZero: [Double], firstSteps: [Double]
  ) -> [Double] {
    let cross = mean.weightedColumnDots(direction, weights: prior)
    let square = direction.weightedColumnDots(direction, weights: prior)
    var searches = slopesAtZero.indices.map { k in
      LineSearch(slopeAtZero: slopesAtZero[k], firstStep: firstSteps[k])
    }
    var line = pass.direction(
      of: direction, into: &directionLogits, logits: logits, steps: searches.map(\.step))
    for _ in 0..<LineSearch.evaluationLimit {
      for k in searches.indices {
        let t = searches[k].step
        searches[k].observe(
          slope: line.slopes[k] - cross[k] - t * square[k],
          curvature: line.curvatures[k] - square[k])
      }
      if searches.allSatisfy(\.isDone) { break }
      line = pass.line(logits: logits, direction: directionLogits, steps: searches.map(\.step))
    }
    return searches.map(\.acceptedStep)
  }
}
