internal import Glibc

/// Student's t distribution with location 0 and scale 1; the standard normal one where the degrees of
/// freedom are infinite.
///
///     f(t) = Γ((ν+1)/2) / (Γ(ν/2) √(πν)) · (1 + t²/ν)^(-(ν+1)/2)
///
/// Every value is computed without cancellation in both tails and for any ν > 0: a ratio of Gamma
/// functions that are half apart comes from its own series, tails from a continued fraction, and where
/// ν is so large that no double tells the two apart the normal distribution takes over. Relative errors
/// are a few 1e-15, and in far tails 1e-16 times the logarithm of the value. NaN gives NaN.
package struct StudentDistribution: Sendable, Equatable {
  /// ν, positive; infinite for the normal distribution.
  package let degreesOfFreedom: Double

  /// Γ((ν+1)/2) / Γ(ν/2); not read where the distribution is normal.
  private let gammaRatio: Double

  /// From here on the density differs by less than rounding wherever it is a normal number:
  /// `t⁴ / 4ν < 1e-16` at t = 40.
  private static let normalFrom = 1e22

  private static let logSqrt2Pi = 0.918_938_533_204_672_74

  /// Describes the distribution with `degreesOfFreedom` ν > 0, which may be infinite.
  package init(degreesOfFreedom: Double) {
    precondition(
      degreesOfFreedom > 0, "\(degreesOfFreedom) degrees of freedom, expected a positive number")
    self.degreesOfFreedom = degreesOfFreedom
    gammaRatio =
      degreesOfFreedom < Self.normalFrom ? SpecialFunctions.halfGammaRatio(degreesOfFreedom / 2) : 0
  }

  private var isNormal: Bool { degreesOfFreedom >= Self.normalFrom }

  /// The variance: `ν / (ν - 2)`; infinite for ν ≤ 2.
  package var variance: Double {
    if isNormal { return 1 }
    return degreesOfFreedom > 2 ? degreesOfFreedom / (degreesOfFreedom - 2) : .infinity
  }

  // MARK: - Density

  /// The logarithm of the density at `t`.
  package func logDensity(_ t: Double) -> Double {
    if isNormal { return -0.5 * t * t - Self.logSqrt2Pi }
    return log(gammaRatio / (Double.pi * degreesOfFreedom).squareRoot())
      - 0.5 * (degreesOfFreedom + 1) * Ratio(t, degreesOfFreedom).logarithm
  }

  /// The density at `t`.
  package func density(_ t: Double) -> Double {
    isNormal ? SpecialFunctions.normalDensity(t.magnitude) : exp(logDensity(t))
  }

  // MARK: - Distribution

  /// `P(T ≤ t)`.
  package func cdf(_ t: Double) -> Double {
    if t.isNaN { return t }
    if t < 0 { return upperTail(-t) }
    return t * t < Self.tailFrom ? 0.5 + central(t) : 1 - upperTail(t)
  }

  /// `P(T > t)`, with its relative accuracy wherever it is small.
  package func upperTail(_ t: Double) -> Double {
    if t.isNaN { return t }
    if t < 0 { return 1 - upperTail(-t) }
    if t * t < Self.tailFrom { return 0.5 - central(t) }
    return exp(logFarTail(t))
  }

  /// `log P(T > t)`.
  package func logUpperTail(_ t: Double) -> Double {
    if t.isNaN { return t }
    if t < 0 { return log1p(-upperTail(-t)) }
    return t * t < Self.tailFrom ? log(0.5 - central(t)) : logFarTail(t)
  }

  /// The t² from which the tail comes from its continued fraction.
  private static let tailFrom = 3.0

  /// `P(0 < T < t)` for 0 ≤ t < √3, by a series of positive terms:
  /// `f(0)·t·(1 + t²/ν)^(-(ν+1)/2) · Σ_n (ν/2 + 1/2)_n / (3/2)_n · yⁿ`, y = t²/(ν + t²).
  private func central(_ t: Double) -> Double {
    if isNormal { return 0.5 * erf(t / 2.0.squareRoot()) }
    let ratio = Ratio(t, degreesOfFreedom)
    let half = 0.5 * degreesOfFreedom + 0.5
    var (term, sum, n) = (1.0, 1.0, 0.0)
    while term > 1e-17 * sum {
      term *= ratio.upper * (half + n) / (1.5 + n)
      sum += term
      n += 1
    }
    return t / (Double.pi * degreesOfFreedom).squareRoot() * gammaRatio
      * exp(-half * ratio.logarithm) * sum
  }

  /// `log P(T > t)` for t ≥ √3: `½ I_x(ν/2, 1/2)`, x = ν/(ν + t²), by the even part of the continued
  /// fraction of the incomplete beta function, whose terms do not cancel when ν is large.
  ///
  /// - Note: Source: DiDonato and Morris, "Algorithm 708", TOMS 1992, equation (9) (BFRAC); summed as
  ///   by Lentz.
  private func logFarTail(_ t: Double) -> Double {
    if t == .infinity { return -.infinity }
    if isNormal {
      return -0.5 * t * t - Self.logSqrt2Pi + log(SpecialFunctions.millsRatio(t).ratio)
    }
    let ratio = Ratio(t, degreesOfFreedom)
    let (a, x) = (0.5 * degreesOfFreedom, ratio.lower)
    let difference = a * ratio.upper - 0.5 * x + 1
    func numerator(_ m: Double) -> Double {
      let step = a + 2 * m - 1
      return (a + m - 1) / step * ((a + m - 0.5) / step) * m * (0.5 - m) * x * x
    }
    func denominator(_ m: Double) -> Double {
      (m > 0 ? m + m * (0.5 - m) * x / (a + 2 * m - 1) : 0)
        + (a + m) * (difference + m * (2 - x)) / (a + 2 * m + 1)
    }
    var value = denominator(0)
    var (upper, lower) = (value, 0.0)
    for step in 1...1000 {
      let m = Double(step)
      let (numerator, denominator) = (numerator(m), denominator(m))
      lower = 1 / (denominator + numerator * lower)
      upper = denominator + numerator / upper
      value *= upper * lower
      if (upper * lower - 1).magnitude < 2e-16 { break }
    }
    return -a * ratio.logarithm
      + log(ratio.upper.squareRoot() * gammaRatio / (2 * Double.pi.squareRoot()) / value)
  }

  // MARK: - Quantiles

  /// The t with `P(T ≤ t) = p`; infinite at 0 and 1, NaN outside of them.
  ///
  /// The equation is solved in s = log t, in which both `log P(T > t)` and `log P(0 < T < t)` are
  /// concave: Newton's iterates, from the second on, approach the solution from one side.
  package func quantile(_ p: Double) -> Double {
    guard p >= 0, p <= 1 else { return .nan }
    if p > 0.5 {
      return p > 0.75 ? upperQuantile(tail: 1 - p) : centralQuantile(p - 0.5)
    }
    return p < 0.25 ? -upperQuantile(tail: p) : -centralQuantile(0.5 - p)
  }

  /// The t with `P(T > t) = tail`, for tail in (0, 1/4), to which a small `tail` gives all its digits.
  package func upperQuantile(tail: Double) -> Double {
    guard tail > 0 else { return .infinity }
    let target = log(tail)
    // Abramowitz and Stegun 26.2.23, to 4.5e-4, and a scale that Student's tails roughly have.
    let w = (-2 * target).squareRoot()
    let normal =
      w - (2.515517 + w * (0.802853 + w * 0.010328))
      / (1 + w * (1.432788 + w * (0.189269 + w * 0.001308)))
    var s = log(normal)
    if !isNormal {
      let nu = degreesOfFreedom
      let grown = normal * normal / nu * (1 + 0.5 / nu)
      s = 0.5 * (log(nu) + (grown > 30 ? grown : log(expm1(grown))))
    }
    return exp(
      newton(from: s) { t in
        let value = logUpperTail(t)
        return (value - target, -exp(logDensity(t) - value + log(t)))
      })
  }

  /// The t with `P(0 < T < t) = mass`, for mass up to 1/4.
  private func centralQuantile(_ mass: Double) -> Double {
    guard mass > 0 else { return 0 }
    // Below the solution, as the density is largest at 0.
    let start = mass / density(0)
    let target = log(mass)
    // The quarter lies at √3 or below it for every ν ≥ 0.36; from there on the tail says the same.
    return exp(
      newton(from: log(start)) { t in
        let value = t * t < Self.tailFrom ? central(t) : 0.5 - upperTail(t)
        return (log(value) - target, exp(logDensity(t) + log(t)) / value)
      })
  }

  /// Solves for s where `equation` gives 0; it takes t = exp s, and returns a value with its
  /// derivative by s.
  private func newton(from start: Double, _ equation: (Double) -> (Double, Double)) -> Double {
    var s = start
    for _ in 0..<100 {
      let (value, slope) = equation(exp(s))
      // A step of two lengths of e is far beyond what a good start needs, and never overflows.
      let step = max(-10, min(10, value / slope))
      guard step.isFinite else { break }
      s -= step
      if step.magnitude <= 1e-15 * max(1, s.magnitude) { break }
    }
    return s
  }

  // MARK: - Scores

  /// The continuous ranked probability score of this distribution for an outcome z,
  /// `∫ (F(x) - 1[x ≥ z])² dx`; infinite for ν ≤ 1/2.
  ///
  ///     z (2F(z) - 1) + 2 f(z) (ν + z²)/(ν - 1) - 2√ν/(ν - 1) · B(1/2, ν - 1/2) / B(1/2, ν/2)²
  ///
  /// The normal limit is `z (2Φ(z) - 1) + 2φ(z) - 1/√π`. Although it is mostly given for ν > 1, the
  /// formula is analytic from 1/2 on, but for cancellation next to 1; there the polynomial through its
  /// values around 1 stands for it.
  ///
  /// - Note: Source: Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation",
  ///   JASA 2007, equation (21); Jordan, Krüger and Lerch, "Evaluating probabilistic forecasts with
  ///   scoringRules", JSS 2019, appendix A.
  package func crps(_ z: Double) -> Double {
    let nu = degreesOfFreedom
    let size = z.magnitude
    if !size.isFinite { return size }
    if isNormal {
      return size * (1 - 2 * upperTail(size)) + 2 * density(size) - 1 / Double.pi.squareRoot()
    }
    guard nu > 0.5 else { return .infinity }
    if (nu - 1).magnitude < 0.02 {
      // Lagrange's interpolation between 12 Chebyshev nodes of [0.9, 1.1]: the nearest singularity, at
      // 1/2, leaves 1e-10 (0.1 / 0.99)^12 < 1e-11, and no node is closer to 1 than 0.013.
      var (sum, weights) = (0.0, 0.0)
      for k in 0..<12 {
        let angle = (Double(k) + 0.5) * Double.pi / 12
        let node = 1 + 0.1 * cos(angle)
        if node == nu { return Self(degreesOfFreedom: node).crpsFormula(size) }
        let weight = (k % 2 == 0 ? 1 : -1) * sin(angle) / (nu - node)
        sum += weight * Self(degreesOfFreedom: node).crpsFormula(size)
        weights += weight
      }
      return sum / weights
    }
    return crpsFormula(size)
  }

  private func crpsFormula(_ z: Double) -> Double {
    let nu = degreesOfFreedom
    // B(1/2, m) = √π / (Γ(m + 1/2) / Γ(m)).
    let spread =
      nu.squareRoot() * gammaRatio * gammaRatio
      / (SpecialFunctions.halfGammaRatio(nu - 0.5) * Double.pi.squareRoot())
    // f(z)·(ν + z²), whose square overflows before it does.
    let edge =
      nu * exp(logDensity(z) + Ratio(z, nu).logarithm)
    return z * (1 - 2 * upperTail(z)) + 2 * (edge - spread) / (nu - 1)
  }

  /// `t²/ν` in the forms that formulas take, without overflow.
  private struct Ratio {
    /// `log(1 + t²/ν)`.
    let logarithm: Double
    /// `ν / (ν + t²)` and `t² / (ν + t²)`.
    let lower, upper: Double

    init(_ t: Double, _ nu: Double) {
      let root = t.magnitude / nu.squareRoot()
      let square = root * root
      // Beyond 1e8 the 1 is below rounding, and the square might overflow.
      logarithm = root < 1e8 ? log1p(square) : 2 * log(root)
      lower = 1 / (1 + square)
      upper = square > 0 ? 1 / (1 + 1 / square) : 0
    }
  }
}

extension SpecialFunctions {
  /// `Γ(a + 1/2) / Γ(a)` for a > 0, to a few units in the last place.
  ///
  /// From 20 on by the asymptotic series of its logarithm; below, `Γ(a + 1) = a Γ(a)` leads there.
  ///
  /// - Note: Source: Tricomi and Erdélyi, "The asymptotic expansion of a ratio of gamma functions",
  ///   Pacific J. Math. 1951; the coefficients are those of the digamma function's.
  package static func halfGammaRatio(_ a: Double) -> Double {
    var (factor, a) = (1.0, a)
    while a < 20 {
      factor *= a / (a + 0.5)
      a += 1
    }
    let inverse = 1 / a
    let square = inverse * inverse
    let series =
      -1.0 / 8 + square
      * (1.0 / 192 + square
        * (-1.0 / 640 + square
          * (17.0 / 14_336 + square * (-31.0 / 18_432 + square * (691.0 / 180_224)))))
    return factor * a.squareRoot() * exp(series * inverse)
  }
}

extension Philox {
  /// A number with Student's t distribution: a normal one over the root of a mean of squares.
  package mutating func student(degreesOfFreedom: Double) -> Double {
    let normal = normalPair().0
    guard degreesOfFreedom.isFinite else { return normal }
    return normal / (gamma(shape: 0.5 * degreesOfFreedom) / (0.5 * degreesOfFreedom)).squareRoot()
  }

  /// A number with the Gamma distribution of rate 1.
  ///
  /// - Note: Source: Marsaglia and Tsang, "A simple method for generating gamma variables", TOMS 2000.
  package mutating func gamma(shape: Double) -> Double {
    if shape < 1 {
      // Logarithms: a power of a uniform number underflows for small shapes.
      let boost = log(uniform()) / shape
      return max(.leastNormalMagnitude, exp(log(gamma(shape: shape + 1)) + boost))
    }
    let d = shape - 1.0 / 3
    let c = 1 / (9 * d).squareRoot()
    while true {
      let x = normalPair().0
      let root = 1 + c * x
      guard root > 0 else { continue }
      let v = root * root * root
      // log(u) < x²/2 + d (1 - v + log v).
      if log(uniform()) < 0.5 * x * x + d * (1 - v + 3 * log1p(c * x)) { return d * v }
    }
  }
}
