extension BinaryFloatingPoint {
  /// Whether two numbers differ by at most a relative or an absolute bound.
  ///
  ///     |self - other| ≤ max(relative · max(|self|, |other|), absolute)
  ///
  /// Equal infinities are close; NaN is close to nothing.
  ///
  /// - Parameters:
  ///   - other: the number to compare with.
  ///   - relative: the relative bound.
  ///   - absolute: the absolute bound, 0 unless zero itself is among the values.
  /// - Returns: whether they are that close.
  public func isClose(to other: Self, relative: Self, absolute: Self = 0) -> Bool {
    if self == other { return true }
    guard isFinite, other.isFinite else { return false }
    return (self - other).magnitude
      <= Swift.max(relative * Swift.max(magnitude, other.magnitude), absolute)
  }

  /// Whether two numbers are at most `ulps` units in the last place of the larger apart.
  ///
  /// - Parameters:
  ///   - other: the number to compare with.
  ///   - ulps: how many units in the last place they may differ.
  /// - Returns: whether they are that close.
  public func isClose(to other: Self, ulps: Int) -> Bool {
    if self == other { return true }
    guard isFinite, other.isFinite else { return false }
    let unit = Swift.max(magnitude, other.magnitude).ulp
    return (self - other).magnitude <= Self(ulps) * unit
  }
}

/// The largest difference between two lists, relative to the largest entry of the second.
///
/// - Parameters:
///   - actual: the values to check.
///   - expected: the reference, as many values, not all zero.
/// - Returns: max |actual - expected| / max |expected|; NaN when any value is NaN.
public func relativeDifference<Scalar: BinaryFloatingPoint>(
  _ actual: some Sequence<Scalar>, _ expected: some Sequence<Scalar>
) -> Scalar {
  let (left, right) = (Array(actual), Array(expected))
  precondition(left.count == right.count, "\(left.count) values against \(right.count)")
  var (largest, difference): (Scalar, Scalar) = (0, 0)
  for (a, b) in zip(left, right) {
    // `max` may drop a NaN.
    if (a - b).isNaN { return .nan }
    difference = max(difference, (a - b).magnitude)
    largest = max(largest, b.magnitude)
  }
  return difference / largest
}
