package struct ReplicateStatistics: Sendable, Equatable {
  package let count: Int
  package let mean: Double
  /// The sample's standard deviation (n − 1); nil for one value.
  package let deviation: Double?
  package let standardError: Double?
  /// Half the width of the 95 % interval of the mean under Student's t.
  package let halfWidth: Double?

  package init?(_ values: [Double]) {
    guard !values.isEmpty else { return nil }
    count = values.count
    let mean = values.reduce(0, +) / Double(values.count)
    self.mean = mean
    guard values.count > 1 else {
      (deviation, standardError, halfWidth) = (nil, nil, nil)
      return
    }
    let squares = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    let deviation = (squares / Double(values.count - 1)).squareRoot()
    self.deviation = deviation
    let error = deviation / Double(values.count).squareRoot()
    standardError = error
    halfWidth = error * StudentT.quantile975(degreesOfFreedom: values.count - 1)
  }

  /// A mean and half the width of its interval, both to the second digit that the width has:
  /// "0.9881 ± 0.0031"; a mean alone to six digits.
  static func text(mean: Double, halfWidth: Double?) -> String {
    guard let halfWidth, halfWidth.isFinite else { return ResultTable.display(.number(mean)) }
    guard halfWidth > 0 else { return ResultTable.display(.number(mean)) + " ± 0" }
    var decimals = 1
    var scaled = halfWidth
    while scaled < 1, decimals < 15 {
      scaled *= 10
      decimals += 1
    }
    if scaled >= 10 { decimals = 0 }
    return "\(fixed(mean, decimals: decimals)) ± \(fixed(halfWidth, decimals: decimals))"
  }

  private static func fixed(_ number: Double, decimals: Int) -> String {
    var scale = 1.0
    for _ in 0..<decimals { scale *= 10 }
    guard let digits = Int(exactly: (number.magnitude * scale).rounded()) else {
      return ResultTable.display(.number(number))
    }
    let padded = digits.digits(decimals + 1)
    let sign = number < 0 && digits > 0 ? "-" : ""
    guard decimals > 0 else { return sign + padded }
    return sign + padded.dropLast(decimals) + "." + padded.suffix(decimals)
  }
}

package enum StudentT {
  /// The 97.5 % quantile: solves P(|T| ≤ t) = 0.95 by bisection on the closed form for whole degrees
  /// of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4).
  package static func quantile975(degreesOfFreedom n: Int) -> Double {
    precondition(n > 0, "\(n) degrees of freedom")
    var low = 1.9
    var high = 12.8
    for _ in 0..<60 {
      let middle = (low + high) / 2
      if central(middle, n) < 0.95 { low = middle } else { high = middle }
    }
    return (low + high) / 2
  }

  /// P(|T| ≤ t).
  static func central(_ t: Double, _ n: Int) -> Double {
    let degrees = Double(n)
    let cosine2 = degrees / (degrees + t * t)
    let cosine = cosine2.squareRoot()
    let sine = (1 - cosine2).squareRoot()
    if n % 2 == 0 {
      var term = 1.0
      var sum = 1.0
      for k in stride(from: 1, through: n - 3, by: 2) {
        term *= cosine2 * Double(k) / Double(k + 1)
        sum += term
      }
      return sine * sum
    }
    let angle = PortableMath.arcTangent(t / degrees.squareRoot())
    guard n > 1 else { return 2 * angle / .pi }
    var term = cosine
    var sum = cosine
    for k in stride(from: 2, through: n - 3, by: 2) {
      term *= cosine2 * Double(k) / Double(k + 1)
      sum += term
    }
    return 2 / .pi * (angle + sine * sum)
  }
}
