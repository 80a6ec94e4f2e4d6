import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore

@Suite("Comparisons of heads on the same rows")
struct HeadComparisonTests {
  /// Losses of two heads that share most of their noise.
  private static func losses(_ count: Int, difference: Double, seed: Int) -> [[Double]] {
    var generator = SplitMix64(seed: seed)
    let shared = (0..<count).map { _ in 2 + generator.normal() }
    return [
      shared.map { $0 + difference + 0.1 * generator.normal() },
      shared.map { $0 + 0.1 * generator.normal() },
    ]
  }

  @Test("the interval is that of the mean of the differences")
  func interval() {
    let losses = Self.losses(500, difference: 0.05, seed: 4)
    let comparison = HeadComparison(losses: losses, seed: 1)
    #expect(comparison.best == 1)
    let differences = zip(losses[0], losses[1]).map { $0 - $1 }
    let mean = differences.reduce(0, +) / 500
    let variance = differences.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 500
    let excess = comparison.excesses[0]
    #expect(excess.mean.isClose(to: mean, relative: 1e-12))
    // A mean of 500 rows is all but normal; 2000 replicates tell a quantile to 4 %.
    let error = (variance / 500).squareRoot()
    #expect(abs(excess.lower - (mean - 1.96 * error)) < 0.2 * error)
    #expect(abs(excess.upper - (mean + 1.96 * error)) < 0.2 * error)
    #expect(excess.isBeyondNoise)
    let own = comparison.excesses[1]
    #expect(own.mean == 0 && own.lower == 0 && own.upper == 0 && !own.isBeyondNoise)
  }

  @Test("heads that are equally good are found worse as seldom as the level says")
  func level() {
    // One of two is the best by chance: the other's interval lies above 0 in 5 % of the sets.
    let found = (0..<300).count { seed in
      let losses = Self.losses(100, difference: 0, seed: seed)
      return HeadComparison(losses: losses, seed: UInt64(seed)).excesses.contains {
        $0.isBeyondNoise
      }
    }
    // Within four standard deviations of 15.
    #expect(found < 31, "\(found)")
  }

  @Test("draws are those of the seed, whatever the threads")
  func draws() {
    let losses = Self.losses(50, difference: 0.01, seed: 2)
    let one = HeadComparison(losses: losses, seed: 5, execution: Execution(threadCount: 1))
    #expect(one == HeadComparison(losses: losses, seed: 5, execution: Execution(threadCount: 2)))
    #expect(one != HeadComparison(losses: losses, seed: 6))
  }

  @Test("a loss that is not a number, and one that is infinite, are the worst there is")
  func notFinite() {
    let comparison = HeadComparison(losses: [[1, .nan], [1, 2], [.infinity, 1]])
    #expect(comparison.best == 1 && comparison.excesses[0].mean == .infinity)
    #expect(comparison.excesses.allSatisfy { !$0.mean.isNaN && !$0.lower.isNaN })
  }
}
