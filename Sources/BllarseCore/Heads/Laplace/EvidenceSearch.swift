/// Climbs a function of `log10 λ` on a grid of half steps, and ends with the vertex of a parabola.
///
/// The evidence is smooth and has one maximum in all but odd cases; a warm start makes a step of the
/// climb cost a few passes over the data.
struct EvidenceSearch {
  /// The range of `log10 λ`.
  static let range = -2.0...6.0
  static let step = 0.5
  static let evaluationLimit = 14

  /// Values found so far, by `log10 λ`.
  private(set) var values: [Double: Double] = [:]

  /// Finds the maximum.
  ///
  /// - Parameters:
  ///   - start: where to begin.
  ///   - evaluate: the function; it may keep a state from call to call.
  /// - Returns: `log10 λ`.
  /// - Throws: what `evaluate` throws.
  mutating func maximize<Failure: Error>(
    from start: Double, _ evaluate: (Double) throws(Failure) -> Double
  ) throws(Failure) -> Double {
    func value(_ t: Double) throws(Failure) -> Double {
      let key = Self.clamp(t)
      if let known = values[key] { return known }
      let result = try evaluate(key)
      values[key] = result
      return result
    }
    var t = Self.clamp(start)
    var here = try value(t)
    let up = try value(t + Self.step)
    let direction = up > here ? Self.step : -Self.step
    while values.count < Self.evaluationLimit {
      let next = Self.clamp(t + direction)
      guard next != t else { break }
      let there = try value(next)
      guard there > here else { break }
      (t, here) = (next, there)
    }
    if Self.range.lowerBound < t && t < Self.range.upperBound {
      let (low, high) = (try value(t - Self.step), try value(t + Self.step))
      let bend = low - 2 * here + high
      if bend < 0 {
        let vertex = Self.clamp(t + Self.step * min(max(0.5 * (low - high) / bend, -0.5), 0.5))
        if abs(vertex - t) > 0.02, try value(vertex) > here { t = vertex }
      }
    }
    return t
  }

  private static func clamp(_ t: Double) -> Double {
    let rounded = (t * 1e6).rounded() / 1e6
    return min(max(rounded, range.lowerBound), range.upperBound)
  }
}
