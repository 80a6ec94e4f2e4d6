import Glibc

/// Finds a local minimum of a smooth function by the limited-memory method of Broyden, Fletcher, Goldfarb and Shanno.
///
/// The value never rises: a step is taken only where it lowers the value by a share of what the slope promises
/// (Armijo's condition), and halved, or shortened to the minimum of a parabola, until it does. Pairs of steps and
/// changes of the gradient that show no positive curvature are left out, so that every direction descends.
///
/// - Note: Source: Nocedal and Wright, "Numerical Optimization" (2006), algorithms 7.4 and 7.5.
struct LimitedMemoryBFGS {
  /// The pairs that are remembered.
  var memory = 10
  /// Stop where two steps in a row lower the value by less than this.
  var tolerance: Double
  var iterationLimit: Int

  /// Where the search stopped.
  struct Solution {
    var point: [Double]
    var value: Double
    var gradient: [Double]
    /// The value at the start, and after each step; it never rises.
    var history: [Double]
    /// Whether the tolerance was reached, or no step lowers the value any more.
    var converged: Bool
  }

  /// Descends from a point.
  ///
  /// - Parameters:
  ///   - start: where the value is finite.
  ///   - evaluate: the value and the gradient at a point.
  /// - Returns: where it stopped.
  /// - Throws: what `evaluate` throws.
  func minimize<Failure: Error>(
    from start: [Double], _ evaluate: ([Double]) throws(Failure) -> (Double, [Double])
  ) throws(Failure) -> Solution {
    var point = start
    var (value, gradient) = try evaluate(point)
    var history = [value]
    var pairs: [(step: [Double], change: [Double], product: Double)] = []
    var quiet = 0
    while history.count <= iterationLimit {
      var direction = self.direction(gradient, pairs)
      var slope = dot(direction, gradient)
      if !(slope < 0) {
        pairs = []
        direction = gradient.map { -$0 }
        slope = dot(direction, gradient)
      }
      guard slope < 0 else { break }
      // Without pairs nothing says how long a step is.
      var length = pairs.isEmpty ? min(1, 1 / (-slope).squareRoot()) : 1
      var next: (point: [Double], value: Double, gradient: [Double])?
      for _ in 0..<Self.trialLimit {
        let trial = zip(point, direction).map { $0 + length * $1 }
        let (trialValue, trialGradient) = try evaluate(trial)
        if trialValue <= value + Self.descentShare * length * slope {
          next = (trial, trialValue, trialGradient)
          break
        }
        let bend = trialValue - value - length * slope
        let best = bend.isFinite && bend > 0 ? -0.5 * slope * length / bend : 0.1
        length *= min(max(best, 0.1), 0.5)
      }
      guard let next else {
        if pairs.isEmpty { break }
        pairs = []
        continue
      }
      let step = zip(next.point, point).map(-)
      let change = zip(next.gradient, gradient).map(-)
      let product = dot(step, change)
      if product > 1e-12 * dot(change, change) {
        pairs.append((step, change, product))
        if pairs.count > memory { pairs.removeFirst() }
      }
      quiet = value - next.value < tolerance ? quiet + 1 : 0
      (point, value, gradient) = next
      history.append(value)
      if quiet >= 2 { break }
    }
    return Solution(
      point: point, value: value, gradient: gradient, history: history,
      converged: history.count <= iterationLimit)
  }

  private static var descentShare: Double { 1e-4 }
  private static var trialLimit: Int { 40 }

  /// The direction of the next step: minus the gradient, times the inverse of what the pairs say of the curvature.
  private func direction(
    _ gradient: [Double], _ pairs: [(step: [Double], change: [Double], product: Double)]
  ) -> [Double] {
    var result = gradient.map { -$0 }
    var factors: [Double] = []
    for pair in pairs.reversed() {
      let factor = dot(pair.step, result) / pair.product
      factors.append(factor)
      for index in result.indices { result[index] -= factor * pair.change[index] }
    }
    if let last = pairs.last {
      let scale = last.product / dot(last.change, last.change)
      for index in result.indices { result[index] *= scale }
    }
    for (pair, factor) in zip(pairs, factors.reversed()) {
      let other = dot(pair.change, result) / pair.product
      for index in result.indices { result[index] += (factor - other) * pair.step[index] }
    }
    return result
  }
}

private func dot(_ a: [Double], _ b: [Double]) -> Double {
  var sum = 0.0
  for index in a.indices { sum += a[index] * b[index] }
  return sum
}
