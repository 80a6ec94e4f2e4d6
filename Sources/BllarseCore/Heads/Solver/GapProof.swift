import BllarseNumerics

/// Decides whether a climb of the probit objective has come within its tolerance, and proves it where that is
/// cheap or asked for.
///
/// The distance to the maximum lies between `½·gᵀP⁻¹g` and `½·gᵀΛ₀⁻¹g`, g the gradient and `P = Λ₀ + XᵀX`. This
/// upper bound is larger than the distance by the ratio of XᵀX to Λ₀, so waiting for it would double the
/// iterations. ``CurvatureFloor`` gives one that is nearly the distance, for a Gram matrix a class: it is made when
/// ``GapEstimate`` says that the distance is within the tolerance, and the climb resumes if it is not. Where that
/// would cost too much, the estimate decides, unless ``isRequired``.
struct GapProof<Scalar: BLASScalar> {
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
