package import BllarseNumerics
import Glibc

/// The coordinate ascent of one Bayesian logistic regression, by Polya-Gamma augmentation.
///
/// With q(ω_i) = PG(b_i, c_i) and q(w) = N(m, P⁻¹), one step is
///
///     f = X·m,   q_i = x_iᵀP⁻¹x_i,   c_i = sqrt(f_i² + q_i),   ρ_i = b_i·tanh(c_i/2)/(2c_i)
///     P ← Λ₀ + Xᵀdiag(ρ)X,   m ← P⁻¹(η₀ + Xᵀκ).
///
/// The natural mean η₀ + Xᵀκ does not change from step to step, only the precision does.
///
/// - Note: Sources: Polson, Scott and Windle (2013), section 2; Durante and Rigon (2019) for the bound,
///   which is that of Jaakkola and Jordan (2000).
package struct LogisticAscent<Scalar: BLASScalar> {
  /// N x D.
  let design: DesignMatrix<Scalar>
  /// b_i: 1 for a row that takes part, 0 for one that does not, and for class probabilities the share that does.
  let counts: [Double]
  /// κ_i = y_i - b_i/2 for y_i in {0, 1}, or in 0...b_i.
  let responses: [Double]
  /// Λ₀, D x D.
  let priorPrecision: Matrix<Double>
  /// η₀ = Λ₀·m₀, D numbers.
  let priorNaturalMean: [Double]
  let execution: Execution

  /// When to stop.
  struct Limit {
    var iterations: Int
    /// Stop when the bound gains less than this fraction of its magnitude, twice in a row; `nil` never.
    var tolerance: Double?
    /// Whether to evaluate the bound after the last iteration, for one more pass.
    var reportsLastBound: Bool
  }

  struct Solution {
    /// P, D x D.
    var precision: Matrix<Double>
    /// η, D numbers.
    var naturalMean: [Double]
    /// The evidence lower bound at the start of each iteration, and at the end if asked for.
    var bounds: [Double]
    var iterations: Int
  }

  /// What keeps c from zero in the denominator of E[ω]; the reference has it, and the golden numbers
  /// show it.
  private static var offset: Double { 1e-8 }

  /// Steps from the prior, or from another mean under the prior's covariance.
  ///
  /// - Throws: `NumericsError.notPositiveDefinite` if rounding or a NaN made P indefinite.
  func run(from start: [Double]? = nil, _ limit: Limit) throws(NumericsError) -> Solution {
    var factor = try PrecisionFactor<Scalar>(prior: priorPrecision, solving: priorNaturalMean)
    let priorLogDeterminant = factor.logDeterminant
    let priorMean = factor.solution
    let naturalMean = zip(
      priorNaturalMean, design.transposeMultiplied(by: responses, execution: execution)
    ).map(+)
    var precision = priorPrecision
    var mean = start ?? priorMean
    let workspace = DesignMatrix<Scalar>.GramWorkspace(design)
    var weights = [Double](repeating: 0, count: counts.count)  // ρ
    var bounds: [Double] = []
    var iterations = 0
    var quiet = 0

    func moments() -> (logits: [Double], variances: [Double]) {
      (
        design.multiplied(by: mean, execution: execution),
        factor.variances(design, execution: execution)
      )
    }
    func bound(_ logits: [Double], _ variances: [Double]) -> Double {
      // tr(Λ₀P⁻¹) - D = -Σ ρ_i q_i, because P = Λ₀ + Xᵀdiag(ρ)X.
      let deviation = zip(mean, priorMean).map(-)
      let divergence =
        0.5
        * (dot(deviation, priorPrecision.symmetricMultiplied(by: deviation))
          - dot(weights, variances) - priorLogDeterminant + factor.logDeterminant)
      return expectedLogLikelihood(logits, variances) - divergence
    }

    while iterations < limit.iterations {
      try execution.checkCancellation()
      let (logits, variances) = moments()
      bounds.append(bound(logits, variances))
      if let tolerance = limit.tolerance, bounds.count >= 2 {
        let gain = bounds[bounds.count - 1] - bounds[bounds.count - 2]
        quiet = gain < tolerance * abs(bounds[bounds.count - 1]) ? quiet + 1 : 0
        if quiet >= 2 { break }
      }
      for row in weights.indices {
        let tilt = (logits[row] * logits[row] + variances[row]).squareRoot()
        weights[row] = counts[row] * tanh(0.5 * tilt) / (2 * (tilt + Self.offset))
      }
      // Only the lower triangle is read until the end.
      precision.copyLowerTriangle(of: priorPrecision)
      design.addLowerGram(weights: weights, to: &precision, workspace, execution: execution)
      factor = try PrecisionFactor(precision, solving: naturalMean)
      mean = factor.solution
      iterations += 1
    }
    if limit.reportsLastBound && quiet < 2 {
      let (logits, variances) = moments()
      bounds.append(bound(logits, variances))
    }
    precision.mirrorLowerTriangle()
    return Solution(
      precision: precision, naturalMean: naturalMean, bounds: bounds, iterations: iterations)
  }

  /// Σ κ_i f_i - b_i·(c_i/2 + log(1 + e^-c_i)): what q(ω) at its optimum leaves of the likelihood.
  private func expectedLogLikelihood(_ logits: [Double], _ variances: [Double]) -> Double {
    var sum = 0.0
    for row in counts.indices where counts[row] != 0 {
      let tilt = (logits[row] * logits[row] + variances[row]).squareRoot()
      sum += responses[row] * logits[row] - counts[row] * (0.5 * tilt + log1p(exp(-tilt)))
    }
    return sum
  }
}

private func dot(_ a: [Double], _ b: [Double]) -> Double {
  var sum = 0.0
  for index in a.indices { sum += a[index] * b[index] }
  return sum
}

/// A precision matrix factored for one iteration.
///
/// The variances of the logits have the precision of the data anyway, so single precision is enough for
/// them; the mean is refined to double precision. Where that does not succeed, the factor is a double one.
/// It halves the price of the factorisation.
package struct PrecisionFactor<Scalar: BLASScalar> {
  private enum Kind {
    /// `λI` of an order.
    case scaled(Double, Int)
    /// In the precision of the data, with the refined solution.
    case fast(Cholesky<Scalar>, solution: [Double])
    case exact(Cholesky<Double>)
  }
  private let kind: Kind
  private let vector: [Double]

  /// Factors a prior, for which there is nothing to do where it is the same in every direction.
  ///
  /// - Parameters:
  ///   - prior: D x D, symmetric.
  ///   - vector: what it is going to be solved for.
  /// - Throws: `NumericsError.notPositiveDefinite`.
  init(prior: Matrix<Double>, solving vector: [Double]) throws(NumericsError) {
    if let value = Self.scale(of: prior) {
      kind = .scaled(value, prior.rowCount)
    } else {
      kind = .exact(try Cholesky(prior))
    }
    self.vector = vector
  }

  /// Factors a posterior precision.
  ///
  /// - Parameters:
  ///   - precision: D x D, symmetric.
  ///   - vector: what it is going to be solved for.
  /// - Throws: `NumericsError.notPositiveDefinite`.
  init(_ precision: Matrix<Double>, solving vector: [Double]) throws(NumericsError) {
    if Scalar.self != Double.self,
      let factor = try? Cholesky(byHalves: Matrix<Scalar>(lowerTriangleOf: precision)),
      let solution = Self.refine(factor, precision, vector)
    {
      kind = .fast(factor, solution: solution)
    } else {
      kind = .exact(try Cholesky(precision))
    }
    self.vector = vector
  }

  /// log|P|.
  var logDeterminant: Double {
    switch kind {
    case .scaled(let value, let size): Double(size) * log(value)
    case .fast(let factor, _): factor.logDeterminant
    case .exact(let factor): factor.logDeterminant
    }
  }

  /// `P⁻¹·vector`, in double precision.
  var solution: [Double] {
    switch kind {
    case .scaled(let value, _): vector.map { $0 / value }
    case .fast(_, let solution): solution
    case .exact(let factor): factor.solve(vector)
    }
  }

  /// `xᵀP⁻¹x` of every row.
  func variances(_ design: DesignMatrix<Scalar>, execution: Execution) -> [Double] {
    switch kind {
    case .scaled(let value, _):
      design.squaredNorms(execution: execution).map { $0 / value }
    case .fast(let factor, _): design.quadraticForms(factor, execution: execution)
    case .exact(let factor): design.quadraticForms(factor, execution: execution)
    }
  }

  /// Iterative refinement: each round solves for what the last one left; `nil` when it does not settle.
  private static func refine(
    _ factor: Cholesky<Scalar>, _ precision: Matrix<Double>, _ vector: [Double]
  ) -> [Double]? {
    let size = vector.reduce(0) { max($0, abs($1)) }
    guard size > 0 else { return vector }
    var solution = [Double](repeating: 0, count: vector.count)
    var rest = vector
    var remainder = size
    for _ in 0..<6 {
      // In units of the remainder, so that single precision does not underflow.
      let step = factor.solve(rest.map { Scalar($0 / remainder) })
      for index in solution.indices { solution[index] += remainder * Double(step[index]) }
      let product = precision.symmetricMultiplied(by: solution)
      for index in rest.indices { rest[index] = vector[index] - product[index] }
      remainder = rest.reduce(0) { max($0, abs($1)) }
      guard remainder.isFinite else { return nil }
      if remainder <= 1e-12 * size { return solution }
    }
    return remainder <= 1e-9 * size ? solution : nil
  }

  /// λ, if a matrix is `λI`.
  private static func scale(of matrix: Matrix<Double>) -> Double? {
    let value = matrix[0, 0]
    guard value > 0 else { return nil }
    for row in 0..<matrix.rowCount {
      let isScaled = matrix.withRow(row) { values in
        for column in values.indices where values[column] != (column == row ? value : 0) {
          return false
        }
        return true
      }
      guard isScaled else { return nil }
    }
    return value
  }
}
