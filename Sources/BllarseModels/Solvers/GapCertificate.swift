package import BllarseNumerics

/// Bounds on the distance between an evidence lower bound and its maximum, in nats.
public struct GapCertificate: Sendable, Equatable, Codable {
  /// The maximum is at least this far away.
  public var lower: Double
  /// The maximum is at most this far away.
  public var upper: Double

  /// Bounds that are known.
  package init(lower: Double, upper: Double) {
    self.lower = lower
    self.upper = upper
  }

  /// The bounds that follow from `Λ₀ ≤ -H ≤ Λ₀ + XᵀX`, and from floors of the curvature around the weights
  /// for the classes that have one and are close enough to their maximum.
  ///
  /// In a ball in which -H is not below A the objective is below the quadratic of curvature A. Where the
  /// quadratic's maximum lies in the ball, so does the objective's, at most `½·gᵀA⁻¹g` away.
  ///
  /// - Parameters:
  ///   - gradient: g, D x K.
  ///   - cholesky: of `Λ₀ + XᵀX`.
  ///   - prior: the diagonal of `Λ₀`.
  ///   - groups: the classes that share a floor.
  ///   - floor: of a group, given the largest `gᵀ(Λ₀ + XᵀX)⁻¹g` of its classes.
  init(
    _ gradient: Matrix<Double>, _ cholesky: Cholesky<Double>, _ prior: [Double],
    groups: [Range<Int>], floor: (_ classes: Range<Int>, _ decrement: Double) -> CurvatureFloor?
  ) {
    let decrements = gradient.columnDots(cholesky.solve(gradient))
    var squares = Self.priorDecrements(gradient, prior)
    for group in groups {
      guard let floor = floor(group, decrements[group].max() ?? 0) else { continue }
      for k in group {
        let slope = gradient.column(k)
        let square = zip(slope, floor.cholesky.solve(slope)).reduce(0) { $0 + $1.0 * $1.1 }
        if square <= floor.radius * floor.radius { squares[k] = min(squares[k], square) }
      }
    }
    lower = 0.5 * decrements.reduce(0, +)
    // Rounding must not turn them round.
    upper = max(lower, 0.5 * squares.reduce(0, +))
  }

  /// `½ Σ_k g_kᵀ(Λ₀ + XᵀX)⁻¹g_k`.
  static func lower(_ gradient: Matrix<Double>, _ cholesky: Cholesky<Double>) -> Double {
    0.5 * gradient.columnDots(cholesky.solve(gradient)).reduce(0, +)
  }

  /// `½ Σ_k g_kᵀΛ₀⁻¹g_k`.
  static func upper(_ gradient: Matrix<Double>, _ prior: [Double]) -> Double {
    0.5 * priorDecrements(gradient, prior).reduce(0, +)
  }

  private static func priorDecrements(_ gradient: Matrix<Double>, _ prior: [Double]) -> [Double] {
    gradient.weightedColumnDots(gradient, weights: prior.map { 1 / $0 })
  }
}

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

/// A matrix A that the curvature of one class's probit objective, or of several, is not below, around given
/// weights: for all `d` with `‖d‖_A ≤ ρ`, `-H(mu + d) ≥ A = Λ₀ + Xᵀ·diag(w)·X`.
///
/// A weight `w` serves a row of signed logit m (the largest of the classes') where `w ≤ h(m + ρ/√w)`,
/// `h = -(log Φ)''`, which falls: because `w·x·xᵀ ≤ A`, the logit changes by at most `ρ/√w` in the ball. The
/// largest such weight is found by going along `y = m + ρ/√w`: with `w = h(y)` the logit is
/// `m(y) = y - ρ/√h(y)`, which rises up to some y and then falls; beyond its maximum no weight serves but 0.
///
/// What serves a row serves every row of smaller logit. So the weights may be cut at that of one row, c, which
/// saves the Gram matrix of all rows of smaller logit: `A = Λ₀ + c·XᵀX - Σ (c - w)·x·xᵀ`, the sum over the
/// rows below c.
struct CurvatureFloor {
  /// Of A.
  let cholesky: Cholesky<Double>
  /// ρ.
  let radius: Double

  /// Finds weights and radius, or nil where the fit is too far from the maximum, or A cannot be factored.
  ///
  /// - Parameters:
  ///   - pass: design and labels.
  ///   - classes: the classes.
  ///   - logits: X·mu, N x K.
  ///   - prior: the diagonal of `Λ₀`.
  ///   - gram: XᵀX.
  ///   - decrement: the largest `gᵀ(Λ₀ + XᵀX)⁻¹g` of a class: it says how far the maximum can be.
  ///   - rowLimit: how many rows may have a weight below c.
  init?<Scalar: BLASScalar>(
    _ pass: ProbitPass<Scalar>, classes: Range<Int>, logits: Matrix<Scalar>, prior: [Double],
    gram: Matrix<Double>, decrement: Double, rowLimit: Int
  ) {
    let margins = Self.margins(pass, logits, classes)
    // Everything is below where a Gram matrix of all rows is affordable.
    let cutMargin = margins.count > rowLimit ? margins.sorted(by: >)[rowLimit] : -Double.infinity
    guard let radius = Self.radius(margins, decrement: decrement, cutMargin: cutMargin) else {
      return nil
    }
    let weights = Self.weights(margins, radius: radius)
    var matrix: Matrix<Double>
    if margins.count > rowLimit {
      let cut = Self.weights([cutMargin], radius: radius)[0]
      let rows = weights.indices.filter { weights[$0] < cut }
      let design = DesignMatrix<Scalar>(
        pass.design.features.gatheringRows(rows), transform: pass.design.transform,
        hasBias: pass.design.hasBias)
      matrix = gram
      matrix.scale(by: cut)
      matrix.add(
        design.gram(rowWeights: rows.map { cut - weights[$0] }, execution: pass.execution),
        times: -1)
      // The difference has the rounding errors of the whole.
      matrix.addToDiagonal(
        prior.indices.map { -16 * Double(Scalar.ulpOfOne) * cut * gram[$0, $0] })
    } else {
      matrix = pass.design.gram(rowWeights: weights, execution: pass.execution)
    }
    matrix.addToDiagonal(prior)
    guard let cholesky = try? Cholesky(matrix) else { return nil }
    self.cholesky = cholesky
    self.radius = radius
  }

  /// The largest signed logit of each row, moved up by more than its rounding error.
  private static func margins<Scalar: BLASScalar>(
    _ pass: ProbitPass<Scalar>, _ logits: Matrix<Scalar>, _ classes: Range<Int>
  ) -> [Double] {
    pass.labels.indices.map { row in
      let largest = classes.reduce(-Double.infinity) { largest, k in
        let logit = Double(logits[row, k])
        return max(largest, Int(pass.labels[row]) == k ? logit : -logit)
      }
      return largest + 1024 * Double(Scalar.ulpOfOne) * (1 + abs(largest))
    }
  }

  /// A radius that is likely to hold the maximum: twice its distance if the curvature is what it is at
  /// the weights.
  ///
  /// It is found together with the curvature in the ball; some rows are enough to find it.
  private static func radius(
    _ margins: [Double], decrement: Double, cutMargin: Double
  ) -> Double? {
    guard decrement > 0, !margins.isEmpty else { return nil }
    let sample = stride(from: 0, to: margins.count, by: 1 + margins.count / 1000)
      .map { max(margins[$0], cutMargin) }
    var radius = 0.0
    for _ in 0..<8 {
      let mean = weights(sample, radius: radius).reduce(0, +) / Double(sample.count)
      guard mean > 0 else { return nil }
      let next = (4 * decrement / mean).squareRoot()
      if next <= 1.05 * radius { return radius }
      radius = next
    }
    return nil
  }

  /// y, h(y) and 1/√h(y), as far out as the curvature counts for anything.
  private static let grid: [(y: Double, curvature: Double, inverseRoot: Double)] =
    stride(from: -12, to: 7.5, by: 0.02).map { y in
      let curvature = SpecialFunctions.probitCurvature(y)
      return (y, curvature, 1 / curvature.squareRoot())
    }

  /// The largest weight of each row for a radius, from a table: the logit is rounded up to the next of the
  /// table, which can only make the weight smaller.
  static func weights(_ margins: [Double], radius: Double) -> [Double] {
    var table: [Double] = []
    for point in grid {
      let margin = point.y - radius * point.inverseRoot
      guard margin > table.last ?? -.infinity else { break }
      table.append(margin)
    }
    return margins.map { margin in
      var (low, high) = (0, table.count)
      while low < high {
        let middle = (low + high) / 2
        if table[middle] < margin { low = middle + 1 } else { high = middle }
      }
      return low < table.count ? grid[low].curvature : 0
    }
  }
}
