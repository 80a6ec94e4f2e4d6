package enum Distribution: Sendable, Equatable {
  case choice([JSON])
  case uniform(low: Double, high: Double)
  case logUniform(low: Double, high: Double)
  /// Both ends included.
  case integer(low: Int, high: Int)
  case normal(mean: Double, deviation: Double)

  /// The value for a number drawn uniformly from the 2⁵³ multiples of 2⁻⁵³ in [0, 1).
  package func value(at unit: Double) -> JSON {
    switch self {
    case .choice(let values): values[Int(unit * Double(values.count))]
    case .uniform(let low, let high): .number(low + (high - low) * unit)
    case .logUniform(let low, let high):
      .number(min(high, max(low, PortableMath.interpolated(low, high, at: unit))))
    case .integer(let low, let high):
      .int(low + min(high - low, Int(unit * (Double(high - low) + 1))))
    case .normal(let mean, let deviation):
      .number(mean + deviation * PortableMath.normalQuantile(max(unit, 0x1p-54)))
    }
  }
}

/// Independent random values for several keys: `count` points that are a function of the seed,
/// the key and the point's number, so any point is drawn alone and a new key disturbs no other.
package struct RandomPoints: Sendable, Equatable {
  package let count: Int
  package let seed: UInt64
  package var parameters: [Parameter]

  package struct Parameter: Sendable, Equatable {
    let key: String
    let distribution: Distribution
    /// FNV-1a of the key's name: the stream's number.
    var stream: UInt64 {
      key.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }
  }

  package func value(_ parameter: Parameter, at point: Int) -> JSON {
    let bits = mix(mix(mix(seed) ^ parameter.stream) &+ UInt64(point) &* 0x9e37_79b9_7f4a_7c15)
    return parameter.distribution.value(at: Double(bits >> 11) * 0x1p-53)
  }

  /// SplitMix64's finaliser (Steele, Lea and Flood, 2014; Stafford's variant 13).
  private func mix(_ bits: UInt64) -> UInt64 {
    var z = bits &+ 0x9e37_79b9_7f4a_7c15
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}

/// Elementary functions from IEEE additions, multiplications, divisions and square roots alone.
///
/// Those four are rounded identically everywhere; a system's `exp` and `log` are not, and a value
/// that differs in its last bit would give a configuration another hash on another machine.
/// Relative errors are below 4 ulp, which is all that drawing random numbers needs.
enum PortableMath {
  private static let ln2High = 0x1.62e42fee00000p-1
  private static let ln2Low = 0x1.a39ef35793c76p-33

  /// The natural logarithm of a positive normal number.
  static func log(_ x: Double) -> Double {
    precondition(x > 0 && x.isFinite, "log of \(x)")
    var exponent = Double(x.exponent)
    var mantissa = x.significand
    if mantissa > 0x1.6a09e667f3bcdp0 {
      mantissa /= 2
      exponent += 1
    }
    // log m = 2 artanh s, s = (m − 1)/(m + 1), |s| < 0.172: 12 terms reach 1e-19.
    let s = (mantissa - 1) / (mantissa + 1)
    let square = s * s
    var series = 0.0
    for term in stride(from: 25, through: 3, by: -2) {
      series = square * (series + 1 / Double(term))
    }
    return exponent * ln2High + (2 * s + (2 * s * series + exponent * ln2Low))
  }

  /// The exponential, for results that are normal numbers.
  static func exp(_ x: Double) -> Double {
    precondition(abs(x) < 700, "exp of \(x)")
    let count = (x / (ln2High + ln2Low)).rounded()
    let remainder = (x - count * ln2High) - count * ln2Low
    var series = 1.0
    for term in stride(from: 18, through: 1, by: -1) {
      series = 1 + remainder / Double(term) * series
    }
    return Double(sign: .plus, exponent: Int(count), significand: series)
  }

  /// A point between two positive numbers, evenly in their logarithms.
  static func interpolated(_ low: Double, _ high: Double, at unit: Double) -> Double {
    exp(log(low) + (log(high) - log(low)) * unit)
  }

  /// The quantile function of the standard normal distribution, for 0 < p < 1.
  ///
  /// Acklam's rational approximation, relative error below 1.2e-9: far below what a random draw
  /// resolves.
  static func normalQuantile(_ p: Double) -> Double {
    precondition(p > 0 && p < 1, "quantile at \(p)")
    func polynomial(_ x: Double, _ coefficients: [Double]) -> Double {
      coefficients.reduce(0) { $0 * x + $1 }
    }
    let a = [
      -3.969683028665376e+01, 2.209460984245205e+02, -2.759285104469687e+02,
      1.383577518672690e+02, -3.066479806614716e+01, 2.506628277459239e+00,
    ]
    let b = [
      -5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02,
      6.680131188771972e+01, -1.328068155288572e+01, 1,
    ]
    let c = [
      -7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
      -2.549732539343734e+00, 4.374664141464968e+00, 2.938163982698783e+00,
    ]
    let d = [
      7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00, 1,
    ]
    let tail = min(p, 1 - p)
    if tail < 0.02425 {
      let q = (-2 * log(tail)).squareRoot()
      let x = polynomial(q, c) / polynomial(q, d)
      return p < 0.5 ? x : -x
    }
    let q = p - 0.5
    return polynomial(q * q, a) * q / polynomial(q * q, b)
  }

  /// The inverse tangent of a positive number, by halving the angle three times and the series.
  static func arcTangent(_ x: Double) -> Double {
    var value = x
    for _ in 0..<3 { value /= 1 + (1 + value * value).squareRoot() }
    let square = value * value
    var series = 0.0
    for k in stride(from: 27, through: 1, by: -2) { series = 1 / Double(k) - square * series }
    return 8 * value * series
  }
}
