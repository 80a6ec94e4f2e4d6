import Glibc

/// A counter-based random number generator: Philox4x32 with ten rounds.
///
/// Its output is a pure function of a key and a counter, so a stream is addressed, not advanced to:
/// `Philox(seed:purpose:index:)` gives the same numbers whatever was drawn before, on every machine.
///
/// - Note: Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
///   SC 2011, section 3.3; checked against the test vectors published with it.
public struct Philox: RandomNumberGenerator, Sendable, Equatable {
  private let key: SIMD2<UInt32>
  private var counter: SIMD4<UInt32>
  private var block: SIMD4<UInt32> = .zero
  /// Words of `block` already handed out; 4 when the next block is due.
  private var used = 4

  /// What a stream of random numbers is for, so that no two uses share numbers.
  public struct Purpose: RawRepresentable, Sendable, Equatable {
    /// The number that names the purpose.
    public let rawValue: UInt32
    /// Names a purpose by a number of the caller's choice.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The starting point of an iterative fit.
    public static let initialisation = Purpose(rawValue: 1)
    /// The order of rows in an epoch.
    public static let permutation = Purpose(rawValue: 2)
    /// Random crops and flips of images.
    public static let augmentation = Purpose(rawValue: 3)
    /// Features dropped at random.
    public static let dropout = Purpose(rawValue: 4)
    /// Samples from a posterior.
    public static let sampling = Purpose(rawValue: 5)
    /// Resampled rows of a bootstrap.
    public static let bootstrap = Purpose(rawValue: 6)
    /// The weights of a network that nothing was taught.
    public static let weights = Purpose(rawValue: 7)
    /// Rows that a run takes of all there are.
    public static let subset = Purpose(rawValue: 8)
    /// The rows that a temperature is fitted to, of those that are there.
    public static let temperatureRows = Purpose(rawValue: 9)
  }

  /// Starts a stream of 2³⁴ words: which one of its purpose (an epoch, a row, a step) the index says.
  public init(seed: UInt64, purpose: Purpose, index: UInt64 = 0) {
    key = SIMD2(UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
    counter = SIMD4(
      0, UInt32(truncatingIfNeeded: index), UInt32(truncatingIfNeeded: index >> 32),
      purpose.rawValue)
  }

  /// The next 32 random bits.
  public mutating func nextWord() -> UInt32 {
    if used == 4 {
      block = Philox.block(counter: counter, key: key)
      counter[0] &+= 1
      used = 0
    }
    defer { used += 1 }
    return block[used]
  }

  /// The next 64 random bits.
  public mutating func next() -> UInt64 {
    let low = UInt64(nextWord())
    return UInt64(nextWord()) << 32 | low
  }

  /// One block of the generator: ten rounds of two multiplications each.
  public static func block(counter: SIMD4<UInt32>, key: SIMD2<UInt32>) -> SIMD4<UInt32> {
    var state = counter
    var key = key
    for _ in 0..<10 {
      let first = (0xD251_1F53 as UInt32).multipliedFullWidth(by: state[0])
      let second = (0xCD9E_8D57 as UInt32).multipliedFullWidth(by: state[2])
      state = SIMD4(
        second.high ^ state[1] ^ key[0], second.low, first.high ^ state[3] ^ key[1], first.low)
      key = key &+ SIMD2(0x9E37_79B9, 0xBB67_AE85)
    }
    return state
  }
}

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
    return Int(Self.integer(below: UInt64(bound)) { next() })
  }

  /// A number uniform among `0..<bound`, without bias, from one word where ``integer(below:)`` takes two.
  package mutating func smallInteger(below bound: UInt32) -> UInt32 {
    precondition(bound > 0, "no integer lies below \(bound)")
    return Self.integer(below: bound) { nextWord() }
  }

  @inline(__always)
  private static func integer<Word: FixedWidthInteger & UnsignedInteger>(
    below bound: Word, _ draw: () -> Word
  ) -> Word where Word.Magnitude == Word {
    var product = draw().multipliedFullWidth(by: bound)
    if product.low < bound {
      let threshold = (0 &- bound) % bound
      while product.low < threshold { product = draw().multipliedFullWidth(by: bound) }
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
    return Array(result.prefix(count))
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
