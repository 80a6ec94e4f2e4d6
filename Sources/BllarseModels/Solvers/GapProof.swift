package import BllarseNumerics

/// Decides whether a climb of the probit objective has come within its tolerance, and proves it where that is
/// cheap or asked for.
///
/// The distance to the maximum lies between `½·gᵀP⁻¹g` and `½·gᵀΛ₀⁻¹g`, g the gradient and `P = Λ₀ + XᵀX`. This
/// upper bound is larger than the distance by the ratio of XᵀX to Λ₀, so waiting for it would double the
/// iterations. ``CurvatureFloor`` gives one that is nearly the distance, for a Gram matrix a class: it is made when
/// ``GapEstimate`` says that the distance is within the tolerance, and the climb resumes if it is not. Where that
/// would cost too much, the estimate decides, unless ``isRequired``.
package struct GapProof<Scalar: BLASScalar> {
  let pass: ProbitPass<Scalar>
  /// XᵀX, D x D.
  let gram: Matrix<Double>
  /// Of `P`.
  let cholesky: Cholesky<Double>
  /// The diagonal of `Λ₀`, D positive numbers.
  let prior: [Double]
  /// Whether the upper bound has to be within the tolerance, whatever that costs.
  let isRequired: Bool

  private var estimate = GapEstimate()
  /// What part of the tolerance the estimate has to come down to.
  private var goal = 1.0
  /// At the last point, if it was asked for there.
  private var last: GapCertificate?

  /// Prepares the proof for one climb.
  init(
    _ pass: ProbitPass<Scalar>, gram: Matrix<Double>, cholesky: Cholesky<Double>, prior: [Double],
    isRequired: Bool
  ) {
    self.pass = pass
    self.gram = gram
    self.cholesky = cholesky
    self.prior = prior
    self.isRequired = isRequired
  }

  /// Whether a point is near enough; it has to be told of every point of the climb.
  mutating func confirms(_ point: ConcaveSolver<ProbitPass<Scalar>>.Point) -> Bool {
    if let gain = point.gain { estimate.observe(gain: gain, decrement: point.gap) }
    last = nil
    if GapCertificate.upper(point.gradient, prior) <= point.tolerance { return true }
    guard estimate.gap <= goal * point.tolerance else { return false }
    let found = bounds(point.gradient, point.logits)
    last = found
    goal = 0.25 * estimate.gap / point.tolerance
    return found.upper <= point.tolerance || !isWanted
  }

  /// The bounds where the climb ended.
  func certificate(_ solution: ConcaveSolver<ProbitPass<Scalar>>.Solution) -> GapCertificate {
    last ?? bounds(solution.gradient, solution.logits)
  }

  private func bounds(_ gradient: Matrix<Double>, _ logits: Matrix<Scalar>) -> GapCertificate {
    GapCertificate(gradient, cholesky, prior, groups: isWanted ? floorGroups : []) {
      CurvatureFloor(
        pass, classes: $0, logits: logits, prior: prior, gram: gram, decrement: $1,
        rowLimit: floorRowLimit)
    }
  }

  /// Multiplications that the proof may always take: some 20 ms on two cores.
  private static var affordableWork: Double { 2e9 }

  /// How many rows' Gram matrix a floor may take.
  private var floorRowLimit: Int {
    isRequired ? pass.design.rowCount : min(pass.design.rowCount, max(2048, 8 * prior.count))
  }

  /// The classes that share a floor: two that are each other's opposite, else each has its own.
  private var floorGroups: [Range<Int>] {
    pass.classCount == 2 && !pass.labels.contains(-1)
      ? [0..<2] : (0..<pass.classCount).map { $0..<$0 + 1 }
  }

  /// Whether the climb goes on until the upper bound is within the tolerance.
  private var isWanted: Bool {
    let size = Double(prior.count)
    let work = Double(floorGroups.count) * Double(floorRowLimit) * size * size
    return isRequired || work <= Self.affordableWork
  }
}

/// Estimates how far a preconditioned ascent is from its maximum, from what its last steps gained.
///
/// Two estimates, of which the larger counts: the preconditioned decrement `½·gᵀVg`, times what the last
/// gains were of the decrements before them (V differs from the inverse Hessian by a factor that changes
/// slowly), and the sum of the geometric series that the last gains began. Unlike ``GapCertificate`` this
/// is no bound; on the problems of the tests the distance is within twice the estimate.
struct GapEstimate {
  /// The distance to the maximum, in nats.
  private(set) var gap = Double.infinity

  /// The last gains and the decrements after them, latest last.
  private var steps: [(gain: Double, decrement: Double)] = []

  /// Learns of a step.
  ///
  /// - Parameters:
  ///   - gain: by how much the objective rose, nats.
  ///   - decrement: `½·gᵀVg` after the step.
  mutating func observe(gain: Double, decrement: Double) {
    steps.append((max(gain, 0), decrement))
    steps.removeFirst(max(0, steps.count - 4))
    guard steps.count >= 3 else { return }
    let pairs = Array(zip(steps, steps.dropFirst()))
    let factor = pairs.reduce(2) { max($0, $1.1.gain / max($1.0.decrement, 1e-300)) }
    // The slowest of the last contractions.
    let contraction = pairs.reduce(0) {
      max($0, min($1.1.gain / max($1.0.gain, 1e-300), 0.95))
    }
    gap = max(factor * decrement, max(gain, 0) * contraction / (1 - contraction))
  }
}
