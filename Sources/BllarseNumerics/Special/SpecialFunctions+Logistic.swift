internal import Glibc

extension SpecialFunctions {
  // MARK: - The logistic distribution

  /// The softplus function, `log(1 + exp x)`.
  ///
  /// - Parameter x: any number.
  /// - Returns: a number at least `max(x, 0)`.
  public static func softplus(_ x: Double) -> Double {
    Swift.max(x, 0) + log1p(exp(-x.magnitude))
  }

  /// The logistic function, `1 / (1 + exp(-x))`.
  ///
  /// - Parameter x: any number.
  /// - Returns: a probability.
  public static func sigmoid(_ x: Double) -> Double {
    let e = exp(-x.magnitude)
    return (x < 0 ? e : 1) / (1 + e)
  }

  /// The logarithm of a sum of exponentials, `log Σ exp xₖ`.
  ///
  /// The largest term is taken out, and its own 1 kept apart: `m + log1p(Σ' exp(xₖ - m))`, so that
  /// the result keeps its relative accuracy when one term dominates. Where `m` and the logarithm
  /// cancel, the error is a few units in the last place of `m`.
  ///
  /// - Parameter values: any numbers.
  /// - Returns: the logarithm; -∞ for no values, or for values all -∞.
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

  // MARK: - The logistic approximation of the normal distribution function

  /// `z = 2 √(2/π) (x + 0.044715 x³)` as an unevaluated sum, its exponential needing more digits
  /// than a `Double` of its size has.
  static func cubicArgument(_ x: Double) -> (high: Double, low: Double) {
    // Factors to twice the digits: 2√(2/π) and 0.044715 · 2√(2/π).
    let (linear, linearLow) = (1.595_769_121_605_730_8, -9.969_308_809_110_92e-17)
    let (cubic, cubicLow) = (0.071_354_816_272_600_25, -6.175_149_918_155_315e-19)
    let square = x * x
    let squareLow = (-square).addingProduct(x, x)
    let scaled = cubic * square
    let scaledLow =
      (-scaled).addingProduct(cubic, square) + (cubic * squareLow + cubicLow * square)
    let factor = linear + scaled
    let part = factor - linear
    let factorLow = (linear - (factor - part)) + (scaled - part) + (scaledLow + linearLow)
    let high = x * factor
    return (high, (-high).addingProduct(x, factor) + x * factorLow)
  }

  /// `exp(-|z|)` for the argument of the approximation.
  static func approximateTail(_ x: Double) -> Double {
    guard x.magnitude < 30 else { return x.isNaN ? x : 0 }
    let (high, low) = cubicArgument(x.magnitude)
    return exp(-high) * (1 - low)
  }

  /// The approximation `sigmoid(2 √(2/π) (x + 0.044715 x³))` of the normal distribution function.
  ///
  /// The approximation behind the "tanh" form of GELU; at most 2e-4 from `Φ`.
  ///
  /// - Parameter x: any number.
  /// - Returns: a probability.
  public static func approximateNormalCDF(_ x: Double) -> Double {
    let e = approximateTail(x)
    return (x < 0 ? e : 1) / (1 + e)
  }

  /// The logarithm of ``approximateNormalCDF(_:)-(Double)``.
  ///
  /// - Parameter x: any number; the complement's logarithm is the value at `-x`.
  /// - Returns: a number at most 0.
  public static func logApproximateNormalCDF(_ x: Double) -> Double {
    let right = -log1p(approximateTail(x))
    guard x < 0 else { return right }
    return right + x * (1.595_769_121_605_730_8 + 0.071_354_816_272_600_25 * (x * x))
  }
}

// MARK: - Float

extension SpecialFunctions {
  /// ``softplus(_:)-(Double)`` rounded to `Float`.
  public static func softplus(_ x: Float) -> Float { Float(softplus(Double(x))) }

  /// ``sigmoid(_:)-(Double)`` rounded to `Float`.
  public static func sigmoid(_ x: Float) -> Float { Float(sigmoid(Double(x))) }

  /// ``logSumExp(_:)-(Collection<Double>)`` rounded to `Float`.
  public static func logSumExp(_ values: some Collection<Float>) -> Float {
    Float(logSumExp(values.map(Double.init)))
  }

  /// ``approximateNormalCDF(_:)-(Double)`` rounded to `Float`.
  public static func approximateNormalCDF(_ x: Float) -> Float {
    Float(approximateNormalCDF(Double(x)))
  }

  /// ``logApproximateNormalCDF(_:)-(Double)`` rounded to `Float`.
  public static func logApproximateNormalCDF(_ x: Float) -> Float {
    Float(logApproximateNormalCDF(Double(x)))
  }
}
