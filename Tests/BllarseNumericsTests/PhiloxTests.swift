import BllarseNumerics
import BllarseTestSupport
import Testing

@Suite("Philox")
struct PhiloxTests {
  /// The known answers for philox4x32-10 that Random123 publishes (kat_vectors).
  static let knownAnswers: [(SIMD4<UInt32>, SIMD2<UInt32>, SIMD4<UInt32>)] = [
    (
      .init(0, 0, 0, 0), .init(0, 0),
      .init(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8)
    ),
    (
      .init(repeating: .max), .init(repeating: .max),
      .init(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd)
    ),
    (
      .init(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344), .init(0xa409_3822, 0x299f_31d0),
      .init(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1)
    ),
  ]

  @Test("blocks equal the published test vectors", arguments: knownAnswers.indices)
  func vectors(index: Int) {
    let (counter, key, expected) = Self.knownAnswers[index]
    #expect(Philox.block(counter: counter, key: key) == expected)
  }

  @Test("a stream is a function of seed, purpose and index alone")
  func streams() {
    func first(_ seed: UInt64, _ purpose: Philox.Purpose, _ index: UInt64) -> [UInt64] {
      var stream = Philox(seed: seed, purpose: purpose, index: index)
      return (0..<5).map { _ in stream.next() }
    }
    #expect(first(7, .permutation, 3) == first(7, .permutation, 3))
    #expect(first(7, .permutation, 3) != first(7, .permutation, 4))
    #expect(first(7, .permutation, 3) != first(7, .dropout, 3))
    #expect(first(7, .permutation, 3) != first(8, .permutation, 3))
  }

  @Test("uniform, normal and integer draws have the moments they should")
  func moments() {
    var stream = Philox(seed: 1, purpose: .sampling)
    let count = 200_000
    let normals = stream.normals(count: count)
    let mean = normals.reduce(0, +) / Double(count)
    let variance = normals.reduce(0) { $0 + $1 * $1 } / Double(count)
    let kurtosis = normals.reduce(0) { $0 + $1 * $1 * $1 * $1 } / Double(count)
    // Five standard errors of each moment.
    #expect(abs(mean) < 5 / Double(count).squareRoot())
    #expect(abs(variance - 1) < 5 * (2 / Double(count)).squareRoot())
    #expect(abs(kurtosis - 3) < 5 * (96 / Double(count)).squareRoot())
    for isSmall in [false, true] {
      var counts = [Int](repeating: 0, count: 7)
      for _ in 0..<70_000 {
        counts[isSmall ? Int(stream.smallInteger(below: 7)) : stream.integer(below: 7)] += 1
      }
      let chiSquared = counts.reduce(0.0) {
        $0 + (Double($1) - 10_000) * (Double($1) - 10_000) / 10_000
      }
      #expect(chiSquared < 30)
    }
    let uniform = (0..<count).reduce(0.0) { sum, _ in sum + stream.uniform() } / Double(count)
    #expect(abs(uniform - 0.5) < 5 / (12 * Double(count)).squareRoot())
  }

  @Test("a permutation holds every index once", arguments: [0, 1, 2, 100])
  func permutation(count: Int) {
    var stream = Philox(seed: 3, purpose: .permutation)
    let order = stream.permutation(count: count)
    #expect(order.sorted() == Array(0..<count))
    if count == 100 { #expect(order != Array(0..<count)) }
  }
}
