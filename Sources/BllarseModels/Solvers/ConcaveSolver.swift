import BllarseNumerics
import Glibc

/// Finds the maximum of a penalised concave log-likelihood over weights.
///
/// With W, D x C:
///
///     F(W) = Σᵢ log p(yᵢ | X·W) + <B, W> - ½ Σ_jk Λ₀_jk W_jk²,
///
/// by nonlinear conjugate gradients with an exact line search, one for each column where the log-likelihood is a
/// sum over columns. The preconditioner V is the inverse of the curvature and the prior (see
/// ``LikelihoodCurvature``), computed anew every ten iterations. F never falls.
///
/// `½ gᵀVg`, g the gradient, estimates the distance to the maximum in nats; `½ gᵀΛ₀⁻¹g` bounds it. A climb ends
/// when the estimate is below the tolerance and its caller confirms that it is near enough (see ``GapProof``), or at
/// the floor of the precision.
///
/// - Note: Sources: Jamshidian and Jennrich (1993), conjugate gradients for EM; Polak and Ribière's
///   formula, restarted when it is negative.
struct ConcaveSolver<Pass: LaplacePass> {
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
  /// Stop when the distance to the maximum is below this.
  var tolerance = GapTolerance.nats(1e-5)
  var iterationLimit = 200

  /// Where the solver stopped.
  struct Solution: Sendable {
    /// W, D x C.
    var weights: Matrix<Double>
    /// X·W, N x C.
    var logits: Matrix<Scalar>
    /// g, D x C.
    var gradient: Matrix<Double>
    /// F before each iteration, and at the end.
    var history: [Double]
    /// The estimated distance to the maximum, in nats.
    var gap: Double
    /// What the distance cannot exceed, in nats.
    var gapBound: Double
    /// Whether the tolerance was reached.
    var converged: Bool

    /// F at the end.
    var objective: Double { history[history.count - 1] }
    /// Conjugate-gradient iterations; each reads the features twice.
    var iterations: Int { history.count - 1 }
    /// Whether the curvature at the start was too rough a guide.
    var isDemanding: Bool { iterations >= ConcaveSolver.refreshInterval }
  }

  /// A point of the climb.
  struct Point {
    /// g, D x C.
    let gradient: Matrix<Double>
    /// X·W, N x C.
    let logits: Matrix<Scalar>
    /// By how much the last step raised F; `nil` at the start.
    let gain: Double?
    /// `½ gᵀVg`: the estimated distance to the maximum, in nats.
    let gap: Double
    /// What the distance is to be below, in nats.
    let tolerance: Double
  }

  /// What is left of a slope at the end of a line search: a closer search costs more evaluations than it saves
  /// iterations.
  private static var slopeFraction: Double { 0.1 }
  /// Iterations between two refreshes of the preconditioner.
  static var refreshInterval: Int { 10 }
  /// Iterations between two computations of the logits from the weights: their updates accumulate rounding.
  private static var restartInterval: Int { 20 }

  /// Climbs from starting weights.
  ///
  /// - Parameters:
  ///   - start: D x C.
  ///   - isConfirmed: asked at every point whether it may be the last if its estimate is below the tolerance.
  /// - Returns: where it stopped.
  /// - Throws: `NumericsError.notPositiveDefinite` if rounding or a NaN made a preconditioner indefinite;
  ///   `cancelled`.
  func solve(
    from start: Matrix<Double>, confirming isConfirmed: (Point) -> Bool = { _ in true }
  ) throws(NumericsError) -> Solution {
    var weights = start
    var logits = Matrix<Scalar>.zeros(pass.design.rowCount, pass.classCount)
    var directionLogits = logits
    var sums = pass.restart(at: weights, logits: &logits)
    var gradient = gradient(sums, weights)  // (D, C)
    var history = [objective(sums, weights)]
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
    var sinceRestart = 0
    var stalls = 0  // steps in a row that gained nothing
    var leastGap = Double.infinity
    var gain = Double?.none

    while true {
      let objective = history[history.count - 1]
      let gap = 0.5 * decrement.reduce(0, +)
      let limit = tolerance.nats(objective: objective)
      // The point is gone before the logits change: a copy of them would be made otherwise.
      let isNear =
        isConfirmed(
          Point(gradient: gradient, logits: logits, gain: gain, gap: gap, tolerance: limit))
        && gap < limit
      // At the floor of the precision neither the objective nor the gradient gets any better.
      stalls = gain.map { $0 > 0 } ?? true || gap < leastGap ? 0 : stalls + 1
      if isNear || stalls >= 2 || history.count > iterationLimit {
        return Solution(
          weights: weights, logits: logits, gradient: gradient, history: history, gap: gap,
          gapBound: 0.5 * gradient.combined(with: prior) { g, l in g * g / l }.sum,
          converged: isNear || stalls >= 2 && gap < limit)
      }
      try pass.execution.checkCancellation()

      // 1. An exact step along the direction.
      steps = lineSearch(weights, direction, logits, &directionLogits, gradient, firstSteps: steps)
      weights.addColumns(direction, times: spread(steps))

      // 2. Logits and gradient there.
      sinceRestart += 1
      if stalls > 0 || sinceRestart == Self.restartInterval {
        sums = pass.restart(at: weights, logits: &logits)
        sinceRestart = 0
      } else {
        sums = pass.advance(logits: &logits, direction: directionLogits, steps: steps)
      }
      let previous = (gradient: gradient, decrement: decrement)
      gradient = self.gradient(sums, weights)
      history.append(self.objective(sums, weights))
      gain = history[history.count - 1] - objective
      leastGap = min(leastGap, gap)

      // 3. The next direction: conjugate, or steepest where conjugacy is lost or the preconditioner new.
      let refreshes = (history.count - 1) % Self.refreshInterval == 0
      if refreshes {
        preconditioner = try refreshed(logits, .some)
        leastGap = .infinity
      }
      scaled = preconditioner.solve(gradient)
      decrement = reduce(gradient.columnDots(scaled))
      if refreshes || stalls > 0 {
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
  }

  private func refreshed(
    _ logits: Matrix<Scalar>, _ effort: LikelihoodCurvature.Effort
  ) throws(NumericsError) -> Preconditioner {
    try Preconditioner(LikelihoodCurvature(pass, gram: gram, logits, effort), prior: prior)
  }

  // MARK: - Objective

  private func gradient(
    _ sums: LikelihoodSums, _ weights: Matrix<Double>
  ) -> Matrix<Double> {
    var gradient = sums.products
    if let linearTerm { gradient.add(linearTerm) }
    gradient.add(weights.combined(with: prior) { w, l in w * l }, times: -1)
    return gradient
  }

  private func objective(_ sums: LikelihoodSums, _ weights: Matrix<Double>) -> Double {
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
  ///
  /// The derivative along a line falls monotonically, so Newton's method on it is kept inside a bracket; three
  /// evaluations are typical, and only the first reads the features.
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

/// How near to the maximum a climb has to come.
enum GapTolerance: Sendable {
  /// A distance in nats.
  case nats(Double)
  /// A fraction of the magnitude of a bound that is less than the objective by a constant.
  case fraction(Double, boundConstant: Double)

  /// The distance, in nats, where the objective is known.
  func nats(objective: Double) -> Double {
    switch self {
    case .nats(let distance): distance
    case .fraction(let fraction, let constant): fraction * abs(objective - constant)
    }
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

extension Matrix<Double> {
  /// A matrix whose columns are all the same.
  static func columns(_ column: [Double], count: Int) -> Matrix<Double> {
    Matrix(
      rows: column.count, columns: count,
      elements: column.flatMap { [Double](repeating: $0, count: count) })
  }
}

/// Newton's method for the zero of a falling derivative, kept inside a bracket: the exact step along a
/// direction on a strictly concave objective.
struct LineSearch {
  /// More evaluations than a concave objective needs; the bracket halves in the worst case.
  static let evaluationLimit = 40

  /// Where the objective is to be evaluated next.
  private(set) var step: Double
  /// Whether `acceptedStep` is the maximum, to the accuracy wanted.
  private(set) var isDone: Bool
  /// A step at which the objective is not below its value at 0.
  private(set) var acceptedStep = 0.0

  private let slopeAtZero: Double
  private let slopeFraction: Double
  private var low = (step: 0.0, slope: 0.0)  // the slope here is not negative
  private var high = Double.infinity  // the slope here is negative

  /// Begins a search along a direction in which the objective rises at first.
  ///
  /// - Parameters:
  ///   - slopeAtZero: the derivative at step 0; a search that is not positive there is over at once.
  ///   - firstStep: where to look first, positive.
  ///   - slopeFraction: what part of the slope at 0 counts as none.
  init(slopeAtZero: Double, firstStep: Double, slopeFraction: Double) {
    self.slopeFraction = slopeFraction
    self.slopeAtZero = slopeAtZero
    step = firstStep > 0 && firstStep.isFinite ? firstStep : 1
    isDone = !(slopeAtZero > 0)
    low.slope = slopeAtZero
    if isDone { step = 0 }
  }

  /// Takes the derivatives at `step` and moves on.
  mutating func observe(slope: Double, curvature: Double) {
    guard !isDone else { return }
    guard slope.isFinite, curvature.isFinite else {
      // Too far out to be represented: come back.
      high = step
      step = 0.5 * (low.step + high)
      return
    }
    // By concavity the objective rose by at least low.step·low.slope up to `low`, and fell since by at
    // most (step - low.step)·|slope|.
    let neverFell = slope >= 0 || low.step * low.slope + (step - low.step) * slope >= 0
    if abs(slope) <= slopeFraction * slopeAtZero && neverFell {
      acceptedStep = step
      isDone = true
      return
    }
    if slope >= 0 {
      low = (step, slope)
      acceptedStep = step
    } else {
      high = step
    }
    var next = curvature < 0 ? step - slope / curvature : 2 * step
    if !(next > low.step && next < high) {
      next = high.isFinite ? 0.5 * (low.step + high) : 2 * step
    }
    if curvature < 0 && slope < 0 && abs(slope) <= slopeFraction * slopeAtZero {
      // Just beyond the maximum, and Newton's steps may come down to it from this side for ever: go
      // back a little further, to where the objective is known to have risen.
      let back = step - max(2 * slope / curvature, 1e-5 * step)
      if back > low.step { next = back }
    }
    // A bracket as narrow as rounding ends the search at its safe end.
    if next == step || (high.isFinite && high - low.step <= 1e-12 * high) {
      isDone = true
      step = acceptedStep
      return
    }
    step = next
  }
}

/// The inverse of a curvature and a prior, as factors.
///
/// Columns of the weights share a factor where their priors are the same and their curvatures within a factor of two.
/// Where a factorisation is dear, columns with priors of their own share one with the geometric means of the priors:
/// some more iterations cost less than a factorisation for each column.
struct Preconditioner: Sendable {
  private enum Form {
    /// Factors, and the columns of each.
    case common([(factor: Cholesky<Double>, columns: [Int])])
    case whole(Cholesky<Double>)
  }
  private let form: Form
  /// The order from which on columns with different priors share a factor.
  private static let sharedOrder = 512

  /// Factors a curvature.
  ///
  /// - Parameters:
  ///   - curvature: of the log-likelihood.
  ///   - prior: Λ₀ as a matrix of diagonals, D x C, positive.
  /// - Throws: `NumericsError.notPositiveDefinite` if rounding or a NaN made the sum indefinite.
  init(_ curvature: LikelihoodCurvature, prior: Matrix<Double>) throws(NumericsError) {
    let priors = (0..<prior.columnCount).map { prior.column($0) }
    switch curvature {
    case .whole(let hessian):
      form = .whole(try Self.factor(hessian, priors.flatMap { $0 }))
    case .common(let matrix, let scales):
      let isShared = priors.allSatisfy { $0 == priors[0] }
      let mean = priors[0].indices.map { j in
        exp(priors.reduce(0) { $0 + log($1[j]) } / Double(priors.count))
      }
      let ownPriors = !isShared && matrix.rowCount < Self.sharedOrder
      var groups: [(prior: [Double], columns: [Int])] = []
      var known: [Int: Int] = [:]
      for k in priors.indices {
        let octave = scales[k] > 0 ? Int(log2(scales[k]).rounded()) : Int.min
        if !ownPriors, let group = known[octave] {
          groups[group].columns.append(k)
        } else {
          known[octave] = groups.count
          groups.append((isShared || ownPriors ? priors[k] : mean, [k]))
        }
      }
      var factors: [(Cholesky<Double>, [Int])] = []
      for (prior, columns) in groups {
        var precision = matrix
        precision.scale(by: columns.reduce(0) { $0 + scales[$1] } / Double(columns.count))
        factors.append((try Self.factor(precision, prior), columns))
      }
      form = .common(factors)
    }
  }

  /// Factors a precision, if need be with more on its diagonal.
  ///
  /// A Gram matrix of rows in single precision has rounding errors of some 1e-7 of its largest element:
  /// where columns repeat one another and the prior is weaker than that, it need not be positive definite.
  private static func factor(
    _ curvature: Matrix<Double>, _ prior: [Double]
  ) throws(NumericsError) -> Cholesky<Double> {
    var precision = curvature
    precision.addToDiagonal(prior)
    let largest = precision.diagonal.reduce(0) { max($0, $1) }
    for addition in [0, 1e-7, 1e-6, 1e-5] {
      var precision = precision
      if addition > 0 {
        precision.addToDiagonal(
          [Double](repeating: addition * largest, count: precision.rowCount))
      }
      do throws(NumericsError) {
        return try Cholesky(precision)
      } catch {
        guard largest.isFinite, addition < 1e-5 else { throw error }
      }
    }
    return try Cholesky(precision)
  }

  /// V·G for a gradient G, D x C.
  func solve(_ right: Matrix<Double>) -> Matrix<Double> {
    switch form {
    case .common(let factors):
      if factors.count == 1 { return factors[0].factor.solve(right) }
      var result = Matrix<Double>.zeros(right.rowCount, right.columnCount)
      let rows = right.transposed()
      for (factor, columns) in factors {
        let solution = factor.solve(rows.gatheringRows(columns).transposed())
        for (place, k) in columns.enumerated() {
          result.replaceBlock(row: 0, column: k, with: solution.columns(place..<place + 1))
        }
      }
      return result
    case .whole(let factor):
      let solution = factor.solve((0..<right.columnCount).flatMap { right.column($0) })
      return Matrix(rows: right.columnCount, columns: right.rowCount, elements: solution)
        .transposed()
    }
  }
}
