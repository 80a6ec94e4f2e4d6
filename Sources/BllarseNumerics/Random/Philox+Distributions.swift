import Glibc

extension Philox {
  /// A number uniform in the open interval (0, 1), with 53 random bits.
  public mutating func uniform() -> Double {
    (Double(next() >> 11) + 0.5) * 0x1p-53
  }

  /// A number uniform among `0..<bound`, without bias.
  ///
  /// - Note: Source: Lemire, "Fast random integer generation in an interval", TOMACS 2019.
  public mutating func integer(below bound: Int) -> Int {
    precondition(bound > 0, "no integer lies below \(bound)")
    let bound = UInt64(bound)
    var product = next().multipliedFullWidth(by: bound)
    if product.low < bound {
      let threshold = (0 &- bound) % bound
      while product.low < threshold { product = next().multipliedFullWidth(by: bound) }
    }
    return Int(product.high)
  }

  /// A number uniform among `0..<bound`, without bias, from one word where ``integer(below:)`` takes two.
  ///
  /// - Note: Source: as there.
  package mutating func smallInteger(below bound: UInt32) -> UInt32 {
    precondition(bound > 0, "no integer lies below \(bound)")
    var product = nextWord().multipliedFullWidth(by: bound)
    if product.low < bound {
      let threshold = (0 &- bound) % bound
      while product.low < threshold { product = nextWord().multipliedFullWidth(by: bound) }
    }
    return product.high
  }

  /// Two independent standard normal numbers (Box and Muller's transform).
  public mutating func normalPair() -> (Double, Double) {
    let radius = (-2 * log(uniform())).squareRoot()
    let angle = 2 * Double.pi * uniform()
    return (radius * cos(angle), radius * sin(angle))
  }

  /// `count` independent standard normal numbers.
  public mutating func normals(count: Int) -> [Double] {
    var result: [Double] = []
    result.reserveCapacity(count + 1)
    while result.count < count {
      let (first, second) = normalPair()
      result.append(first)
      result.append(second)
    }
    if result.count > count { result.removeLast() }
    return result
  }

  /// A random order of `0..<count` (Fisher and Yates' shuffle).
  public mutating func permutation(count: Int) -> [Int] {
    var order = Array(0..<count)
    for last in stride(from: count - 1, to: 0, by: -1) {
      order.swapAt(last, integer(below: last + 1))
    }
    return order
  }
}
