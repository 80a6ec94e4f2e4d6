import Foundation

/// log Φ(x), through the C library's erfc and, far out, a continued fraction: shares no code with the
/// package's kernels.
func referenceLogNormalCDF(_ x: Double) -> Double {
  if x > -5 { return log(0.5 * erfc(-x / 2.0.squareRoot())) }
  // Φ(x) = φ(x) / (t + 1/(t + 2/(t + 3/(t + ...)))), t = -x
  let t = -x
  var fraction = t
  for index in stride(from: 200, through: 1, by: -1) { fraction = t + Double(index) / fraction }
  return -0.5 * x * x - 0.918_938_533_204_672_8 - log(fraction)
}

/// exp(x), so that tests need no import of their own for it.
func exponential(_ x: Double) -> Double { exp(x) }

/// log(x), so that tests need no import of their own for it.
func naturalLogarithm(_ x: Double) -> Double { log(x) }
