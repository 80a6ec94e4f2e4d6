import BllarseNumerics
import Glibc

/// Statistics of rows in the eigenbasis of the inputs' scatter, in which ridge regression is a function of
/// one number for each target, whatever the number of rows.
///
/// With `S_xx = Uᵀ·diag(e)·U`, `q = U·S_xy` and `r₀ = S_yy - Σ q²/e`, the sum of squares that no weights
/// explain, and a prior of the relative precision λ,
///
///     w = Uᵀ q/(e + λ),      S_yy - wᵀ(S_xx + λ)w = r₀ + Σ λq² / (e(e + λ)),
///     ‖y - Xw‖² = r₀ + Σ λ²q² / (e(e + λ)²):
///
/// sums of what is not negative, so that a fit that explains nearly everything loses no digits but those
/// of r₀.
struct RegressionSpectrum {
  /// e, positive, R numbers; directions in which the inputs do not vary are left out.
  let eigenvalues: [Double]
  /// U, R x D.
  let vectors: Matrix<Double>
  /// q, R x T.
  let projections: Matrix<Double>
  /// r₀, T.
  let unexplained: [Double]
  /// The sum of the weights of the rows, W.
  let weight: Double

  var targetCount: Int { unexplained.count }

  /// Brings the targets' statistics into a basis.
  init(
    _ basis: RegressionBasis, cross: Matrix<Double>, targetScatter: [Double], weight: Double,
    execution: Execution
  ) {
    (eigenvalues, vectors, self.weight) = (basis.eigenvalues, basis.vectors, weight)
    var scaled = cross
    scaled.scaleRows(by: basis.scales)
    projections = execution.withBLAS { basis.vectors.multiplied(by: scaled) }
    var unexplained = targetScatter
    for (d, e) in eigenvalues.enumerated() {
      for t in unexplained.indices { unexplained[t] -= projections[d, t] * projections[d, t] / e }
    }
    self.unexplained = unexplained.map { max($0, 0) }
  }

  /// What one target makes of a relative precision.
  struct Sums {
    /// `S_yy - wᵀ(S_xx + λ)w`, `‖y - Xw‖²`, and `‖w‖²`.
    var energy, residual, norm: Double
    /// γ = Σ e/(e + λ), how many weights the rows determine, and Σ log(1 + e/λ).
    var effectiveCount, logDeterminant: Double
  }

  func sums(_ target: Int, _ precision: Double) -> Sums {
    var sums = Sums(
      energy: unexplained[target], residual: unexplained[target], norm: 0, effectiveCount: 0,
      logDeterminant: 0)
    for (d, e) in eigenvalues.enumerated() {
      let q = projections[d, target]
      let whole = e + precision
      let weight = q / whole
      sums.energy += precision / e * q * weight
      sums.residual += precision / e * precision * weight * weight
      sums.norm += weight * weight
      sums.effectiveCount += e / whole
      sums.logDeterminant += log1p(e / precision)
    }
    return sums
  }
}

// MARK: - The noise integrated out

/// A Gamma distribution of the noise's precision: `τ ~ Ga(shape, rate)`, mean shape/rate.
public struct GammaParameters: Sendable, Equatable {
  /// a, not negative.
  public let shape: Double
  /// b, not negative.
  public let rate: Double

  /// Describes a Gamma distribution; zeros are the limit `p(τ) ∝ 1/τ`.
  public init(shape: Double, rate: Double) { (self.shape, self.rate) = (shape, rate) }

  func check(_ name: String) throws(NumericsError) {
    for (part, value) in [("shape", shape), ("rate", rate)] {
      try NumericsError.require(
        value >= 0 && value.isFinite, "the \(part) of \(name)", value,
        "a finite number that is not negative")
    }
  }
}

extension RegressionSpectrum {
  /// The noise of a target after all rows: `a = a₀ + (W - 1)/2`, `b = b₀ + (S_yy - wᵀ(S_xx + λ)w)/2`.
  func noise(_ target: Int, _ precision: Double, prior: GammaParameters) -> GammaParameters {
    GammaParameters(
      shape: prior.shape + 0.5 * (weight - 1),
      rate: prior.rate + 0.5 * sums(target, precision).energy)
  }

  /// The log evidence of a target under the relative precision λ, with weights, noise and intercept
  /// integrated out.
  ///
  ///     -½(W-1) log 2π - ½ log W - ½ Σ log(1 + e/λ) + a₀ log b₀ - a log b + log Γ(a) - log Γ(a₀)
  ///
  /// The intercept has the improper density 1, so this is the density of the N - 1 contrasts of the
  /// targets over √N. Terms of a prior of the noise that is improper itself are left out.
  func logEvidence(_ target: Int, _ precision: Double, prior: GammaParameters) -> Double {
    let sums = sums(target, precision)
    let shape = prior.shape + 0.5 * (weight - 1)
    var value = -0.5 * (weight - 1) * log(2 * Double.pi) - 0.5 * log(weight)
    value -= 0.5 * sums.logDeterminant
    value += lgamma(shape) - shape * log(prior.rate + 0.5 * sums.energy)
    if prior.shape > 0, prior.rate > 0 {
      value += prior.shape * log(prior.rate) - lgamma(prior.shape)
    }
    return value
  }

  /// Twice the derivative of the log evidence by log λ: `γ - (a/b)·λ‖w‖²`.
  private func slope(_ target: Int, _ precision: Double, prior: GammaParameters) -> Double {
    let sums = sums(target, precision)
    let shape = prior.shape + 0.5 * (weight - 1)
    return sums.effectiveCount - shape / (prior.rate + 0.5 * sums.energy) * precision * sums.norm
  }

  /// The relative precision of a target with the largest evidence.
  ///
  /// The evidence may have several maxima in log λ, so a grid over all that can matter, from 1e-10 of the
  /// smallest to 1e10 of the largest eigenvalue, finds the highest, and bisection of the derivative its
  /// place. Where targets do not depend on the inputs the evidence has no maximum: it rises towards
  /// λ = ∞, and the end of the grid stands for it.
  func bestPrecision(
    _ target: Int, prior: GammaParameters
  ) -> (precision: Double, isAtBound: Bool) {
    guard let smallest = eigenvalues.first, let largest = eigenvalues.last else { return (1, true) }
    let (start, end) = (log(smallest) - 23, log(largest) + 23)
    let count = Int(((end - start) / 0.5).rounded(.up))
    let grid = (0...count).map { start + (end - start) * Double($0) / Double(count) }
    var (best, bestValue) = (count, -Double.infinity)
    for (index, u) in grid.enumerated() {
      let value = logEvidence(target, exp(u), prior: prior)
      if value > bestValue { (best, bestValue) = (index, value) }
    }
    var (low, high) = (grid[max(best - 1, 0)], grid[min(best + 1, count)])
    let rises = { (u: Double) in self.slope(target, exp(u), prior: prior) > 0 }
    guard rises(low), !rises(high) else {
      return (exp(grid[best]), best == 0 || best == count)
    }
    for _ in 0..<60 where high - low > 1e-15 * max(1, high.magnitude) {
      let middle = 0.5 * (low + high)
      if rises(middle) { low = middle } else { high = middle }
    }
    return (exp(0.5 * (low + high)), false)
  }
}

// MARK: - The noise estimated

/// Gamma hyperpriors of the precisions that evidence maximisation estimates.
public struct RegressionHyperpriors: Sendable, Equatable {
  /// Of the noise's precision (α₁, α₂ of scikit-learn).
  public let noise: GammaParameters
  /// Of the weights' precisions (λ₁, λ₂ of scikit-learn).
  public let weights: GammaParameters

  /// All but flat: 1e-6 throughout, as BayesianRidge and ARDRegression of scikit-learn have it.
  public static let flat = RegressionHyperpriors(
    noise: GammaParameters(shape: 1e-6, rate: 1e-6),
    weights: GammaParameters(shape: 1e-6, rate: 1e-6))

  /// Describes both.
  public init(noise: GammaParameters, weights: GammaParameters) {
    (self.noise, self.weights) = (noise, weights)
  }

  func check() throws(NumericsError) {
    try noise.check("the noise's hyperprior")
    try weights.check("the weights' hyperprior")
  }

  /// The log density of the noise's precision, without its constant.
  func logNoise(_ precision: Double) -> Double {
    (noise.shape == 0 ? 0 : noise.shape * log(precision)) - noise.rate * precision
  }

  func logWeights(_ precision: Double) -> Double {
    (weights.shape == 0 ? 0 : weights.shape * log(precision)) - weights.rate * precision
  }
}

/// What evidence maximisation came to, for one target.
struct EstimatedPrecisions {
  /// α, of the noise, and λ, of the weights, absolute both.
  var noise, weights: Double
  var logEvidence = 0.0
  var logHyperpriors = 0.0
  var iterationCount = 0
  var hasConverged = false
}

extension RegressionSpectrum {
  /// The log evidence under given precisions of noise and weights, the
  /// intercept at its best.
  ///
  ///     ½[W log α - Σ log(1 + eα/λ) - α‖y - Xw‖² - λ‖w‖² - W log 2π]
  func logEvidence(
    _ target: Int, noise: Double, weights: Double
  ) -> Double {
    let sums = sums(target, weights / noise)
    return 0.5
      * (weight * log(noise) - sums.logDeterminant - noise * sums.residual - weights * sums.norm
        - weight * log(2 * Double.pi))
  }

  /// Maximises it together with the hyperpriors' log densities, by MacKay's fixed point.
  ///
  ///     λ ← (γ + 2λ₁) / (‖w‖² + 2λ₂),      α ← (W - γ + 2α₁) / (‖y - Xw‖² + 2α₂)
  ///
  /// - Throws: `NumericsError.invalidParameter` where the weights reproduce the targets exactly and no
  ///   hyperprior bounds the noise's precision.
  /// - Note: Source: MacKay, "Bayesian interpolation", Neural Computation 1992; the order of updates,
  ///   start and hyperpriors are those of scikit-learn's BayesianRidge.
  func estimate(
    _ target: Int, _ hyperpriors: RegressionHyperpriors, iterationLimit: Int
  ) throws(NumericsError) -> EstimatedPrecisions {
    var result = EstimatedPrecisions(
      noise: 1 / (targetScatter(target) / weight + Double.ulpOfOne), weights: 1)
    while result.iterationCount < iterationLimit {
      result.iterationCount += 1
      let sums = sums(target, result.weights / result.noise)
      let weights =
        (sums.effectiveCount + 2 * hyperpriors.weights.shape)
        / (sums.norm + 2 * hyperpriors.weights.rate)
      let noise =
        (weight - sums.effectiveCount + 2 * hyperpriors.noise.shape)
        / (sums.residual + 2 * hyperpriors.noise.rate)
      try Self.check(noise: noise, weights: weights)
      let change = max(
        (log(weights / result.weights)).magnitude, log(noise / result.noise).magnitude)
      (result.weights, result.noise) = (weights, noise)
      if change < 1e-12 {
        result.hasConverged = true
        break
      }
    }
    result.logHyperpriors =
      hyperpriors.logNoise(result.noise) + hyperpriors.logWeights(result.weights)
    result.logEvidence =
      logEvidence(target, noise: result.noise, weights: result.weights) + result.logHyperpriors
    return result
  }

  /// `S_yy`, from its parts.
  private func targetScatter(_ target: Int) -> Double {
    var sum = unexplained[target]
    for (d, e) in eigenvalues.enumerated() {
      sum += projections[d, target] * projections[d, target] / e
    }
    return sum
  }

  /// Maximises the variational bound of a last layer whose weights have a given variance.
  ///
  /// Weights are N(0, s), and the noise has an estimated precision with the log density `ν log τ - ½ωτ`. Coordinate
  /// ascent takes the weights given τ, then τ given their distribution,
  ///
  ///     q(w) = N(m, (τS_xx + 1/s)⁻¹),      τ ← (W + 2ν) / (‖y - Xm‖² + tr(S_xx Σ) + ω)
  ///
  /// For the best q(w) the bound is `log p(y | τ) + ν log τ - ½ωτ`, so it never falls and is tight but for τ.
  func variational(
    _ target: Int, _ prior: VariationalRegressionPrior, iterationLimit: Int
  ) -> (result: EstimatedPrecisions, trace: [Double]) {
    let deviation = targetScatter(target) / weight
    let precision = 1 / prior.weightVariance
    var result = EstimatedPrecisions(
      noise: 1 / (deviation + prior.wishartScale / weight), weights: precision)
    let logHyperprior = { (noise: Double) in
      prior.wishartExponent * log(noise) - 0.5 * prior.wishartScale * noise
    }
    var trace: [Double] = []
    while true {
      result.logHyperpriors = logHyperprior(result.noise)
      result.logEvidence =
        logEvidence(target, noise: result.noise, weights: precision) + result.logHyperpriors
      trace.append(result.logEvidence)
      if result.hasConverged || result.iterationCount == iterationLimit { break }
      result.iterationCount += 1
      let sums = sums(target, precision / result.noise)
      // tr(S_xx Σ) = γ/τ.
      let noise =
        (weight + 2 * prior.wishartExponent)
        / (sums.residual + sums.effectiveCount / result.noise + prior.wishartScale)
      result.hasConverged = log(noise / result.noise).magnitude < 1e-13
      result.noise = noise
    }
    return (result, trace)
  }

  static func check(noise: Double, weights: Double) throws(NumericsError) {
    try NumericsError.require(
      noise > 0 && noise.isFinite, "the estimated precision of the noise", noise,
      "a positive number; give its hyperprior a shape and a rate above 0, as the targets are reproduced "
        + "exactly")
    try NumericsError.require(
      weights > 0 && weights.isFinite, "the estimated precision of the weights", weights,
      "a positive number; give its hyperprior a shape and a rate above 0, as the targets do not depend "
        + "on the features")
  }
}
