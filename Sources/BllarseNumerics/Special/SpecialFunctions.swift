internal import Glibc

/// Special functions of probit and logistic models, correct in the tails.
///
/// Functions of one number are computed in `Double` by formulas of their own (the error function of
/// the C library, a continued fraction), independent of the vector kernels behind the functions of
/// arrays, which are tested against them. Relative errors are a few 1e-15 (in `Float` half a unit in
/// the last place), with gradual underflow where a value leaves the normal range. NaN gives NaN and
/// infinities give limits.
///
/// `φ` and `Φ` are the density and the distribution function of the standard normal distribution.
public enum SpecialFunctions {
  /// `log √(2π)`.
  static let logSqrtTwoPi = 0.918_938_533_204_672_74

  /// `1 / √(2π)`.
  static let inverseSqrtTwoPi = 0.398_942_280_401_432_68

  /// `φ(t)` for t ≥ 0; t² is taken to twice the digits, which its exponential needs.
  static func normalDensity(_ t: Double) -> Double {
    guard t <= 40 else { return t.isNaN ? t : 0 }
    let head = Double(Float(t))
    let low = (t - head) * (t + head)
    return inverseSqrtTwoPi * exp(-0.5 * head * head) * exp(-0.5 * low)
  }

  /// `E(t) = (1 - Φ(t)) / φ(t)` and `1/E(t) - t`, for t ≥ 0.
  ///
  /// From 2 on by Laplace's continued fraction `1/E = t + 1/(t + 2/(t + 3/(t + …)))`, whose tail is
  /// the difference itself; 120 terms leave a relative error of 1e-17 at 2 and less beyond.
  static func millsRatio(_ t: Double) -> (ratio: Double, excess: Double) {
    if t < 2 {
      let ratio = 0.5 * erfc(t / 2.0.squareRoot()) / normalDensity(t)
      return (ratio, 1 / ratio - t)
    }
    var tail = 0.0
    for k in stride(from: 120.0, through: 1.0, by: -1.0) { tail = k / (t + tail) }
    return (1 / (t + tail), tail)
  }

  // MARK: - The normal distribution

  /// The distribution function of the standard normal distribution, `Φ(x) = ∫₋∞ˣ φ`.
  ///
  /// - Parameter x: any number.
  /// - Returns: a probability; subnormal below -37.5 and 0 below -38.5.
  public static func normalCDF(_ x: Double) -> Double {
    let t = x.magnitude
    let upper = normalDensity(t) * millsRatio(t).ratio
    return x < 0 ? upper : 1 - upper
  }

  /// The logarithm of the normal distribution function, `log Φ(x)`.
  ///
  ///     log Φ(x) = -x²/2 - log √(2π) + log E(-x)   (x < 0)
  ///     log Φ(x) = log1p(-φ(x) E(x))               (x ≥ 0),   E(t) = (1 - Φ(t)) / φ(t)
  ///
  /// - Parameter x: any number.
  /// - Returns: a number at most 0, accurate in the relative sense in both tails.
  public static func logNormalCDF(_ x: Double) -> Double {
    let t = x.magnitude
    let ratio = millsRatio(t).ratio
    if x < 0 { return -0.5 * t * t - (logSqrtTwoPi - log(ratio)) }
    return log1p(-normalDensity(t) * ratio)
  }

  /// The inverse Mills ratio `r(x) = φ(x) / Φ(x)`, the derivative of `log Φ`.
  ///
  /// It is the mean shift of a truncated normal: `E[z | z > 0] = m + r(m)` for `z ~ N(m, 1)`.
  ///
  /// - Parameter x: any number.
  /// - Returns: a positive number; -x + O(1/|x|) on the left, 0 far on the right.
  public static func inverseMillsRatio(_ x: Double) -> Double {
    let t = x.magnitude
    let (ratio, excess) = millsRatio(t)
    if x < 0 { return t + excess }
    let density = normalDensity(t)
    return density / (1 - density * ratio)
  }

  /// The curvature of the probit log-likelihood, `h(x) = r(x) (r(x) + x) = -(log Φ)''(x)`.
  ///
  /// - Parameter x: any number.
  /// - Returns: a number in [0, 1], `1 - 1/x² + …` on the left, without cancellation.
  public static func probitCurvature(_ x: Double) -> Double {
    let t = x.magnitude
    if x < 0 {
      if t > 1e9 { return 1 }
      let excess = millsRatio(t).excess
      return excess * (t + excess)
    }
    let ratio = inverseMillsRatio(x)
    return ratio == 0 ? 0 : ratio * (ratio + t)
  }

  /// The Gaussian error linear unit, `x Φ(x)`.
  ///
  /// - Parameter x: any number.
  /// - Returns: the product; -0 at minus infinity.
  public static func gelu(_ x: Double) -> Double {
    guard x < 0 else { return x * normalCDF(x) }
    // t E(t) is near 1: below the normal range φ is rounded once, and not multiplied.
    let t = Swift.min(-x, 40)
    return -normalDensity(t) * (t * millsRatio(t).ratio)
  }
}

// MARK: - Float

extension SpecialFunctions {
  /// ``normalCDF(_:)-(Double)`` rounded to `Float`.
  public static func normalCDF(_ x: Float) -> Float { Float(normalCDF(Double(x))) }

  /// ``logNormalCDF(_:)-(Double)`` rounded to `Float`.
  public static func logNormalCDF(_ x: Float) -> Float { Float(logNormalCDF(Double(x))) }

  /// ``inverseMillsRatio(_:)-(Double)`` rounded to `Float`.
  public static func inverseMillsRatio(_ x: Float) -> Float { Float(inverseMillsRatio(Double(x))) }

  /// ``probitCurvature(_:)-(Double)`` rounded to `Float`.
  public static func probitCurvature(_ x: Float) -> Float { Float(probitCurvature(Double(x))) }

  /// ``gelu(_:)-(Double)`` rounded to `Float`.
  public static func gelu(_ x: Float) -> Float { Float(gelu(Double(x))) }
}
