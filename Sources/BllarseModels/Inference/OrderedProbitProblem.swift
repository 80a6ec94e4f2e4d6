import BllarseNumerics
import Glibc

/// The posterior of an ordered probit regression over given rows, up to its constant.
///
/// In the weights w and the cutpoints b it is
///
///     F(w, b) = Σᵢ uᵢ log[Φ(b_{yᵢ+1} - fᵢ) - Φ(b_{yᵢ} - fᵢ)] + Σ_k s_k log[Φ(b_{k+1}) - Φ(b_k)] - ½ λ‖w‖²,   fᵢ = xᵢᵀw,
///
/// with `b_0 = -∞ < b_1 < … < b_K = ∞`. Cutpoints have a flat prior where every class has rows (s = 0): F has one
/// maximum then, for w is bounded by its prior, the outer classes keep the outer cutpoints, and a width of 0 costs without
/// limit. A class without rows would have the width 0, or no outer cutpoint: it has `s_k = 1/K` rows at the origin, the
/// mean of the features (Perks' prior of K shares, one row for all classes: Journal of the Institute of Actuaries 1947).
///
/// Each row adds the Laplacian of a graph with positive edges to the negative Hessian (``NormalInterval``), so that it is
/// assembled without differences, and is positive definite.
struct OrderedProbitProblem {
  /// X, N x P.
  let design: DesignMatrix<Double>
  let labels: [Int32]
  /// u, how often each row counts; `nil` for once.
  let rowWeights: [Double]?
  /// s, K numbers.
  let priorRows: [Double]
  let execution: Execution

  /// K - 1.
  var cutpointCount: Int { priorRows.count - 1 }
  /// P.
  var weightCount: Int { design.columnCount }

  /// Prepares the rows.
  ///
  /// - Parameters:
  ///   - design: N x P.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - classCount: K.
  ///   - rowWeights: how often each row counts; `nil` for once.
  ///   - execution: the threads to work with.
  init(
    _ design: DesignMatrix<Double>, labels: [Int32], classCount: Int, rowWeights: [Double]?,
    execution: Execution
  ) {
    (self.design, self.labels, self.rowWeights) = (design, labels, rowWeights)
    var totals = [Double](repeating: 0, count: classCount)
    for (row, label) in labels.enumerated() { totals[Int(label)] += rowWeights?[row] ?? 1 }
    priorRows = totals.map { $0 > 0 ? 0 : 1 / Double(classCount) }
    self.execution = execution
    // The optimum for w = 0, but for the inverse of Φ, which a logistic curve comes near.
    let shares = zip(totals, priorRows).map { $0 + $1 }
    // Sums from either end: a share that is lost in the sum of all is not lost in its own.
    var (below, above) = ([Double](), [Double]())
    for share in shares.dropLast() { below.append((below.last ?? 0) + share) }
    for share in shares.dropFirst().reversed() { above.append((above.last ?? 0) + share) }
    var start = zip(below, above.reversed()).map { (log($0) - log($1)) / 1.702 }
    // Shares that differ in magnitude can round to one cutpoint.
    for k in start.indices.dropFirst() where !(start[k] > start[k - 1]) {
      start[k] = max(start[k - 1] + 1e-3, start[k - 1].nextUp)
    }
    self.start = Point(cutpoints: start, weights: [Double](repeating: 0, count: design.columnCount))
  }

  /// Cutpoints and weights.
  struct Point: Sendable {
    /// b_1 to b_{K-1}, ascending.
    var cutpoints: [Double]
    /// P numbers.
    var weights: [Double]

    /// The point at a step along a direction, cutpoints first; `nil` where the cutpoints lose their order.
    func moved(_ direction: [Double], times step: Double) -> Point? {
      var point = self
      let count = cutpoints.count
      for k in cutpoints.indices { point.cutpoints[k] += step * direction[k] }
      for k in cutpoints.indices.dropFirst()
      where !(point.cutpoints[k] > point.cutpoints[k - 1]) { return nil }
      for j in weights.indices { point.weights[j] += step * direction[count + j] }
      return point
    }
  }

  /// Where climbs begin.
  let start: Point

  // MARK: - The likelihood

  /// What rows add up to at a point.
  struct Sums {
    /// Of the rows, and of what stands for rows of empty classes.
    var logLikelihood = 0.0
    /// Derivatives by the cutpoints, K - 1.
    var cutpointGradient: [Double]
    /// The negative second derivatives among cutpoints: diagonal, K - 1, and beside it, K - 2.
    var diagonal, beside: [Double]

    init(cutpointCount: Int) {
      cutpointGradient = [Double](repeating: 0, count: cutpointCount)
      diagonal = cutpointGradient
      beside = [Double](repeating: 0, count: max(cutpointCount - 1, 0))
    }

    mutating func add(_ interval: NormalInterval, class k: Int, times weight: Double) {
      logLikelihood += weight * interval.logProbability
      let (upper, lower) = (k, k - 1)  // the cutpoints at its bounds
      let hasBoth = upper < cutpointGradient.count && lower >= 0
      let coupling = hasBoth ? weight * interval.coupling : 0
      if upper < cutpointGradient.count {
        cutpointGradient[upper] += weight * interval.upperPull
        diagonal[upper] += weight * interval.upperCurvature + coupling
      }
      if lower >= 0 {
        cutpointGradient[lower] -= weight * interval.lowerPull
        diagonal[lower] += weight * interval.lowerCurvature + coupling
      }
      if hasBoth { beside[lower] -= coupling }
    }

    static func += (left: inout Sums, right: Sums) {
      left.logLikelihood += right.logLikelihood
      for k in left.diagonal.indices {
        left.cutpointGradient[k] += right.cutpointGradient[k]
        left.diagonal[k] += right.diagonal[k]
      }
      for k in left.beside.indices { left.beside[k] += right.beside[k] }
    }
  }

  /// The likelihood at a point.
  struct Evaluation {
    var sums: Sums
    /// Of each row, with its weight: the derivative by f, and the weights of the edges between f and the bounds.
    var slopes, upperCurvatures, lowerCurvatures: [Double]
  }

  /// Rows of a block: sums of a block are added in the order of the blocks, whatever threads there are.
  private static let blockSize = 512

  /// The interval of a class around a latent value.
  static func interval(_ k: Int, _ cutpoints: [Double], _ latent: Double) -> NormalInterval {
    let hasBoth = k > 0 && k < cutpoints.count
    return NormalInterval(
      lower: k > 0 ? cutpoints[k - 1] - latent : -.infinity,
      upper: k < cutpoints.count ? cutpoints[k] - latent : .infinity,
      width: hasBoth ? cutpoints[k] - cutpoints[k - 1] : nil)
  }

  func evaluate(_ point: Point) -> Evaluation {
    let latent = design.multiplied(by: point.weights, execution: execution)
    let (labels, rowWeights, count) = (labels, rowWeights, cutpointCount)
    let blocks = execution.map(labels.count, blockSize: Self.blockSize) { range -> [Evaluation] in
      var block = Evaluation(
        sums: Sums(cutpointCount: count), slopes: [], upperCurvatures: [], lowerCurvatures: [])
      block.slopes.reserveCapacity(range.count)
      block.upperCurvatures.reserveCapacity(range.count)
      block.lowerCurvatures.reserveCapacity(range.count)
      for row in range {
        let (k, weight) = (Int(labels[row]), rowWeights?[row] ?? 1)
        guard weight > 0 else {
          block.slopes.append(0)
          block.upperCurvatures.append(0)
          block.lowerCurvatures.append(0)
          continue
        }
        let interval = Self.interval(k, point.cutpoints, latent[row])
        block.sums.add(interval, class: k, times: weight)
        block.slopes.append(weight * interval.mean)
        block.upperCurvatures.append(weight * interval.upperCurvature)
        block.lowerCurvatures.append(weight * interval.lowerCurvature)
      }
      return [block]
    }
    var all = Evaluation(
      sums: Sums(cutpointCount: count), slopes: [], upperCurvatures: [], lowerCurvatures: [])
    for block in blocks {
      all.sums += block.sums
      all.slopes += block.slopes
      all.upperCurvatures += block.upperCurvatures
      all.lowerCurvatures += block.lowerCurvatures
    }
    for (k, rows) in priorRows.enumerated() where rows > 0 {
      all.sums.add(Self.interval(k, point.cutpoints, 0), class: k, times: rows)
    }
    return all
  }

  func objective(_ evaluation: Evaluation, _ point: Point, _ precision: Double) -> Double {
    evaluation.sums.logLikelihood
      - 0.5 * precision * point.weights.reduce(0) { $0 + $1 * $1 }
  }

  /// The gradient of F, cutpoints first.
  func gradient(_ evaluation: Evaluation, _ point: Point, _ precision: Double) -> [Double] {
    let products = design.transposeMultiplied(by: evaluation.slopes, execution: execution)
    return evaluation.sums.cutpointGradient
      + zip(products, point.weights).map { $0 - precision * $1 }
  }

  /// The negative Hessian of F, cutpoints first; only the lower triangle has a meaning.
  func negativeHessian(_ evaluation: Evaluation, _ precision: Double) -> Matrix<Double> {
    let (count, size) = (cutpointCount, cutpointCount + weightCount)
    var matrix = Matrix<Double>.zeros(size, size)
    let curvatures = zip(evaluation.upperCurvatures, evaluation.lowerCurvatures).map { $0 + $1 }
    matrix.replaceBlock(
      row: count, column: count, with: design.gram(rowWeights: curvatures, execution: execution))
    for j in count..<size { matrix[j, j] += precision }
    for k in 0..<count {
      matrix[k, k] = evaluation.sums.diagonal[k]
      if k > 0 { matrix[k, k - 1] = evaluation.sums.beside[k - 1] }
      let column = design.transposeMultiplied(
        by: labels.indices.map { row in
          Int(labels[row]) == k
            ? -evaluation.upperCurvatures[row]
            : Int(labels[row]) == k + 1 ? -evaluation.lowerCurvatures[row] : 0
        }, execution: execution)
      for (j, value) in column.enumerated() { matrix[count + j, k] = value }
    }
    return matrix
  }

  // MARK: - The maximum

  /// The maximum for a prior precision, and Laplace's approximation there.
  struct Optimum: Sendable {
    var point: Point
    /// λ.
    var precision: Double
    /// F before each step, and at the end.
    var history: [Double]
    /// ½ gᵀH⁻¹g at the end, in nats: the estimated distance to the maximum.
    var gap: Double
    /// The factor of the negative Hessian there, cutpoints first.
    var factor: Cholesky<Double>
    /// `log ∫ exp F`, by Laplace's method.
    var logEvidence: Double
    /// Whether the climb ended at the tolerance, or at the floor of the precision.
    var converged: Bool
  }

  private static let stepLimit = 100

  /// Climbs by Newton's method; F never falls, and cutpoints keep their order.
  ///
  /// - Parameters:
  ///   - start: where to begin.
  ///   - precision: λ.
  ///   - tolerance: the estimated distance to the maximum at which the climb ends, in nats.
  /// - Returns: where it ended.
  /// - Throws: `NumericsError.notPositiveDefinite` where rounding makes the Hessian indefinite; `cancelled`.
  func maximize(
    from start: Point, precision: Double, tolerance: Double
  ) throws(NumericsError) -> Optimum {
    var point = start
    var evaluation = evaluate(point)
    var history = [objective(evaluation, point, precision)]
    while true {
      try execution.checkCancellation()
      let gradient = gradient(evaluation, point, precision)
      let hessian = negativeHessian(evaluation, precision)
      let factor = try execution.withBLAS { () throws(NumericsError) in
        try Cholesky(hessian)
      }
      let direction = factor.solve(gradient)
      let slope = zip(gradient, direction).reduce(0) { $0 + $1.0 * $1.1 }
      let here = history[history.count - 1]
      func optimum(_ converged: Bool) -> Optimum {
        Optimum(
          point: point, precision: precision, history: history, gap: 0.5 * slope, factor: factor,
          logEvidence: here + 0.5 * Double(weightCount) * log(precision)
            + 0.5 * Double(cutpointCount) * log(2 * Double.pi) - 0.5 * factor.logDeterminant,
          converged: converged)
      }
      // Below the rounding of F no step can be seen to gain.
      let floor = 1e-15 * (1 + here.magnitude)
      if 0.5 * slope <= max(tolerance, floor) { return optimum(true) }
      guard history.count <= Self.stepLimit else { return optimum(false) }
      var (step, accepted) = (1.0, false)
      while step > 1e-10, !accepted {
        if let next = point.moved(direction, times: step) {
          let there = evaluate(next)
          let value = objective(there, next, precision)
          if value > here + 1e-4 * step * slope {
            (point, evaluation, accepted) = (next, there, true)
            history.append(value)
          }
        }
        step *= 0.5
      }
      if !accepted { return optimum(0.5 * slope <= 1e3 * floor) }
    }
  }
}
