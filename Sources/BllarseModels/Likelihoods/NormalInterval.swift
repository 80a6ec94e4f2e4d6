import BllarseNumerics
import Glibc

/// A standard normal variable z that lies between two bounds, `l < z <= u`: its probability P and what the
/// derivatives of `log P` are made of, without cancellation, in the tails and for narrow intervals alike.
///
///     g_u = φ(u)/P,   g_l = φ(l)/P,   E = E[z | l < z <= u] = g_l - g_u
///
///     ∂ log P/∂u = g_u,   ∂ log P/∂l = -g_l,   and for a common shift of both bounds by -f:   ∂ log P/∂f = E
///
/// The negative second derivatives in (f, u, l) are the Laplacian of a graph of three nodes whose edges have weights that
/// are not negative,
///
///     f–u: g_u·(u - E),   f–l: g_l·(E - l),   u–l: g_u·g_l,
///
/// so that `log P` is concave in all three together, and no entry is a difference (Pratt, JASA 1981; Burridge, JRSS B
/// 1981). The two distances `u - E` and `E - l` are computed as they are, not as differences.
///
/// Which way depends on the interval [l, u], mirrored so that its middle m is not negative, of width d:
/// where `d·m` and d are below 1, eight points of Gauss-Legendre quadrature of `e^{-t²/2} cosh(mt)` on the half interval
/// (its terms are positive, its error is below rounding); beyond, Mills ratios in a tail, the error function across 0.
package struct NormalInterval: Sendable, Equatable {
  /// `log P`.
  package let logProbability: Double
  /// g_u and g_l.
  package let upperPull, lowerPull: Double
  /// `u - E` and `E - l`; infinite where the bound is.
  package let toUpper, fromLower: Double
  /// E.
  package let mean: Double

  /// The weight of the edge f–u, 0 where there is no upper bound.
  package var upperCurvature: Double { upperPull > 0 ? upperPull * toUpper : 0 }
  /// The weight of the edge f–l, 0 where there is no lower bound.
  package var lowerCurvature: Double { lowerPull > 0 ? lowerPull * fromLower : 0 }
  /// The weight of the edge u–l.
  package var coupling: Double { upperPull * lowerPull }

  /// Describes the interval.
  ///
  /// - Parameters:
  ///   - lower: l, `-infinity` for none.
  ///   - upper: u, above l; `infinity` for none.
  ///   - width: `u - l`, positive, which the caller may know better than by subtraction; `nil` for the difference.
  package init(lower: Double, upper: Double, width: Double? = nil) {
    if lower == -.infinity {
      self.init(below: upper)
    } else if upper == .infinity {
      self = NormalInterval(below: -lower).mirrored
    } else {
      let width = width ?? upper - lower
      if lower + upper < 0 {
        self = NormalInterval(right: (-upper, -lower), width: width).mirrored
      } else {
        self.init(right: (lower, upper), width: width)
      }
    }
  }

  private init(
    _ logProbability: Double, pulls: (lower: Double, upper: Double),
    distances: (lower: Double, upper: Double), mean: Double
  ) {
    self.logProbability = logProbability
    (lowerPull, upperPull) = pulls
    (fromLower, toUpper) = distances
    self.mean = mean
  }

  private var mirrored: NormalInterval {
    NormalInterval(
      logProbability, pulls: (upperPull, lowerPull), distances: (toUpper, fromLower), mean: -mean)
  }

  /// `½ log 2π`.
  private static let halfLogTwoPi = 0.918_938_533_204_672_74

  /// `z <= u`.
  private init(below upper: Double) {
    guard upper < .infinity else {
      self.init(0, pulls: (0, 0), distances: (.infinity, .infinity), mean: 0)
      return
    }
    let t = upper.magnitude
    let (ratio, excess) = SpecialFunctions.millsRatio(t)
    if upper < 0 {
      self.init(
        log(ratio) - 0.5 * t * t - Self.halfLogTwoPi, pulls: (0, t + excess),
        distances: (.infinity, excess), mean: -(t + excess))
    } else {
      let density = SpecialFunctions.normalDensity(t)
      let pull = density / (1 - density * ratio)
      self.init(
        log1p(-density * ratio), pulls: (0, pull), distances: (.infinity, t + pull), mean: -pull)
    }
  }

  /// An interval whose middle is not negative.
  private init(right bounds: (lower: Double, upper: Double), width: Double) {
    let (lower, upper) = bounds
    let middle = 0.5 * lower + 0.5 * upper
    if width * middle < 1, width < 1 {
      self.init(narrow: middle, width: width)
    } else if lower < 0 {
      // Across 0: both parts of the probability are positive.
      let densities = (
        SpecialFunctions.normalDensity(-lower), SpecialFunctions.normalDensity(upper)
      )
      let logProbability: Double
      if min(upper, -lower) > 1 {
        // By what is missing from 1, whose relative accuracy erfc would lose to the rounding of its argument.
        let missing =
          densities.0 * SpecialFunctions.millsRatio(-lower).ratio
          + densities.1 * SpecialFunctions.millsRatio(upper).ratio
        logProbability = log1p(-missing)
      } else {
        let root = 2.0.squareRoot()
        logProbability = log(0.5 * (erf(upper / root) + erf(-lower / root)))
      }
      let probability = exp(logProbability)
      let mean = -densities.0 * expm1(-width * middle) / probability
      self.init(
        logProbability, pulls: (densities.0 / probability, densities.1 / probability),
        distances: (mean - lower, upper - mean), mean: mean)
    } else {
      // In the right tail: P = φ(l)·(M(l) - φ(u)/φ(l)·M(u)) for Mills ratios M.
      let (near, far) = (SpecialFunctions.millsRatio(lower), SpecialFunctions.millsRatio(upper))
      let decay = exp(-width * middle)
      let scaled = near.ratio - decay * far.ratio
      let distance =
        (near.ratio * near.excess
          - (decay > 0 ? decay * far.ratio * (far.excess + width) : 0)) / scaled
      self.init(
        log(scaled) - 0.5 * lower * lower - Self.halfLogTwoPi, pulls: (1 / scaled, decay / scaled),
        distances: (distance, width - distance), mean: lower + distance)
    }
  }

  /// An interval over which the density varies by less than a factor e.
  private init(narrow middle: Double, width: Double) {
    let half = 0.5 * width
    var (mass, moment) = (0.0, 0.0)
    for (node, weight) in Self.quadrature {
      let t = half * node
      let density = weight * exp(-0.5 * t * t)
      mass += density * cosh(middle * t)
      moment += density * t * sinh(middle * t)
    }
    let shift = moment / mass  // m - E
    let scale = exp(-0.5 * half * half) / (width * mass)
    self.init(
      log(width) + log(mass) - 0.5 * middle * middle - Self.halfLogTwoPi,
      pulls: (scale * exp(middle * half), scale * exp(-middle * half)),
      distances: (half - shift, half + shift), mean: middle - shift)
  }

  /// Nodes and weights of Gauss-Legendre quadrature of order 8 on [0, 1] (Abramowitz and Stegun, table 25.4).
  private static let quadrature: [(node: Double, weight: Double)] = {
    let positive: [(node: Double, weight: Double)] = [
      (0.183_434_642_495_649_805, 0.362_683_783_378_361_983),
      (0.525_532_409_916_328_986, 0.313_706_645_877_887_287),
      (0.796_666_477_413_626_740, 0.222_381_034_453_374_471),
      (0.960_289_856_497_536_232, 0.101_228_536_290_376_259),
    ]
    var both: [(node: Double, weight: Double)] = []
    for (node, weight) in positive {
      both.append((0.5 * (1 - node), 0.5 * weight))
      both.append((0.5 * (1 + node), 0.5 * weight))
    }
    return both
  }()
}
