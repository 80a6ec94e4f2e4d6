public import BllarseNumerics
import Foundation

// Functions of one number that nothing but tests needs: what the vector kernels are compared with.
extension SpecialFunctions {
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
    // log √(2π).
    if x < 0 { return -0.5 * t * t - (0.918_938_533_204_672_74 - log(ratio)) }
    return log1p(-normalDensity(t) * ratio)
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

  /// The logistic function, `1 / (1 + exp(-x))`.
  ///
  /// - Parameter x: any number.
  /// - Returns: a probability.
  public static func sigmoid(_ x: Double) -> Double {
    let e = exp(-x.magnitude)
    return (x < 0 ? e : 1) / (1 + e)
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

  /// The logarithm of ``approximateNormalCDF(_:)``.
  ///
  /// - Parameter x: any number; the complement's logarithm is the value at `-x`.
  /// - Returns: a number at most 0.
  public static func logApproximateNormalCDF(_ x: Double) -> Double {
    let right = -log1p(approximateTail(x))
    guard x < 0 else { return right }
    return right + x * (1.595_769_121_605_730_8 + 0.071_354_816_272_600_25 * (x * x))
  }
}

extension Matrix where Element: BLASScalar {
  /// The largest absolute element; 0 for an empty matrix.
  public var largestMagnitude: Element { elements.map(\.magnitude).max() ?? 0 }
}
