internal import Glibc

/// Special functions of probit and logistic models, correct in the tails.
///
/// They are computed by formulas of their own (the error function of the C library, a continued
/// fraction), independent of the vector kernels, which are tested against them. Relative errors are a
/// few 1e-15, with gradual underflow where a value leaves the normal range. NaN gives NaN and
/// infinities give limits.
///
/// `φ` and `Φ` are the density and the distribution function of the standard normal distribution.
public enum SpecialFunctions {
  /// `φ(t)` for t ≥ 0; t² is taken to twice the digits, which its exponential needs.
  package static func normalDensity(_ t: Double) -> Double {
    guard t <= 40 else { return t.isNaN ? t : 0 }
    let head = Double(Float(t))
    let low = (t - head) * (t + head)
    // 1 / √(2π).
    return 0.398_942_280_401_432_68 * exp(-0.5 * head * head) * exp(-0.5 * low)
  }

  /// `E(t) = (1 - Φ(t)) / φ(t)` and `1/E(t) - t`, for t ≥ 0.
  ///
  /// From 2 on by Laplace's continued fraction `1/E = t + 1/(t + 2/(t + 3/(t + …)))`, whose tail is
  /// the difference itself; 120 terms leave a relative error of 1e-17 at 2 and less beyond.
  package static func millsRatio(_ t: Double) -> (ratio: Double, excess: Double) {
    if t < 2 {
      let ratio = 0.5 * erfc(t / 2.0.squareRoot()) / normalDensity(t)
      return (ratio, 1 / ratio - t)
    }
    var tail = 0.0
    for k in stride(from: 120.0, through: 1.0, by: -1.0) { tail = k / (t + tail) }
    return (1 / (t + tail), tail)
  }

  /// The inverse Mills ratio `r(x) = φ(x) / Φ(x)`, the derivative of `log Φ`.
  ///
  /// It is the mean shift of a truncated normal: `E[z | z > 0] = m + r(m)` for `z ~ N(m, 1)`; -x +
  /// O(1/|x|) on the left, 0 far on the right.
  public static func inverseMillsRatio(_ x: Double) -> Double {
    let t = x.magnitude
    let (ratio, excess) = millsRatio(t)
    if x < 0 { return t + excess }
    let density = normalDensity(t)
    return density / (1 - density * ratio)
  }

  /// The curvature of the probit log-likelihood, `h(x) = r(x) (r(x) + x) = -(log Φ)''(x)`, in [0, 1];
  /// `1 - 1/x² + …` on the left, without cancellation.
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

  /// The softplus function, `log(1 + exp x)`.
  public static func softplus(_ x: Double) -> Double {
    Swift.max(x, 0) + log1p(exp(-x.magnitude))
  }

  /// The logarithm of a sum of exponentials, `log Σ exp xₖ`; -∞ for no values, or for values all -∞.
  ///
  /// The largest term is taken out, and its own 1 kept apart: `m + log1p(Σ' exp(xₖ - m))`, so that
  /// the result keeps its relative accuracy when one term dominates. Where `m` and the logarithm
  /// cancel, the error is a few units in the last place of `m`.
  public static func logSumExp(_ values: some Collection<Double>) -> Double {
    guard let first = values.first else { return -.infinity }
    var largest = first
    for value in values where value > largest { largest = value }
    guard largest.isFinite else {
      return values.contains { $0.isNaN } ? .nan : largest
    }
    var (sum, atLargest) = (0.0, 0)
    for value in values {
      if value == largest { atLargest += 1 } else { sum += exp(value - largest) }
    }
    return largest + log1p(sum + Double(atLargest - 1))
  }
}
