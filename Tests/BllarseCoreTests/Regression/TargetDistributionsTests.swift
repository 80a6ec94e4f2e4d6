import BllarseCore
import BllarseNumerics
import Foundation
import Testing

@Suite("Target distributions")
struct TargetDistributionsTests {
  private static func example() throws -> TargetDistributions {
    try TargetDistributions(
      locations: Matrix(rows: 2, columns: 2, elements: [1, -2, 3, 4]),
      scales: Matrix(rows: 2, columns: 2, elements: [0.5, 2, 1, 3]),
      degreesOfFreedom: [5, .infinity])
  }

  @Test("agree with values of scipy")
  func reference() throws {
    let predictions = try Self.example()
    let targets = Matrix(rows: 2, columns: 2, elements: [1.3, 0.5, 1, 4])
    // scipy 1.17: t(5, 1, 0.5) at 1.3, norm(-2, 2) at 0.5, t(5, 3, 1) at 1, norm(4, 3) at 4.
    let logDensities = try predictions.logDensities(targets).elements
    for (value, expected) in zip(
      logDensities,
      [-0.48405059644060977, -2.39333571376462, -2.731979583761081, -2.0175508218727822])
    {
      #expect((value - expected).magnitude < 1e-13)
    }
    let cdf = try predictions.cdf(targets).elements
    for (value, expected) in zip(
      cdf, [0.7126698563095969, 0.8943502263331446, 0.05096973941492917, 0.5])
    {
      #expect((value - expected).magnitude < 1e-13)
    }
    let variances = predictions.variances
    #expect((variances[0, 0] - 0.25 * 5 / 3).magnitude < 1e-15)
    #expect(variances[1, 1] == 9)
    // The score is the integral of (F - 1[x ≥ y])², by the trapezoidal rule between ±400.
    let crps = try predictions.crps(targets)
    for row in 0..<2 {
      for target in 0..<2 {
        let (m, s, y) = (
          predictions.locations[row, target], predictions.scales[row, target], targets[row, target]
        )
        let standard = StudentDistribution(
          degreesOfFreedom: predictions.degreesOfFreedom[target])
        var sum = 0.0
        for (step, start, end) in [(0.005, y - 400, y), (0.005, y, y + 400)] {
          let count = Int(((end - start) / step).rounded())
          for k in 0...count {
            let x = start + Double(k) * step
            let f = start == y ? standard.upperTail((x - m) / s) : standard.cdf((x - m) / s)
            sum += (k == 0 || k == count ? 0.5 : 1) * step * f * f
          }
        }
        #expect((crps[row, target] - sum).magnitude < 1e-5)
      }
    }
  }

  @Test("intervals hold their probability")
  func intervals() throws {
    let predictions = try Self.example()
    for level in [0.001, 0.5, 0.95, 0.9999] {
      let (lower, upper) = try predictions.centralIntervals(level)
      let (below, above) = (try predictions.cdf(lower), try predictions.cdf(upper))
      for (a, b) in zip(below.elements, above.elements) {
        #expect((b - a - level).magnitude < 1e-14)
        #expect((a + b - 1).magnitude < 1e-14)
      }
    }
    #expect(try predictions.quantiles(0.5) == predictions.locations)
  }

  @Test("draws of a row do not depend on other rows")
  func draws() throws {
    let predictions = try Self.example()
    let draws = predictions.samples(3, seed: 4)
    let first = predictions.gatheringRows([0]).samples(2, seed: 4)
    #expect(draws[1].row(0) == first[1].row(0))
    #expect(draws[0] != draws[1])
    #expect(predictions.samples(3, seed: 5)[0] != draws[0])
  }

  @Test("refuse what is no distribution")
  func errors() throws {
    let one = Matrix(rows: 1, columns: 1, elements: [1.0])
    #expect(throws: NumericsError.self) {
      try TargetDistributions(locations: one, scales: one, degreesOfFreedom: [])
    }
    for scale in [0, -1, .nan, .infinity] {
      #expect(throws: NumericsError.self) {
        try TargetDistributions(
          locations: one, scales: Matrix(rows: 1, columns: 1, elements: [scale]),
          degreesOfFreedom: [3])
      }
    }
    #expect(throws: NumericsError.self) {
      try TargetDistributions(locations: one, scales: one, degreesOfFreedom: [0])
    }
    let predictions = try Self.example()
    #expect(throws: NumericsError.self) { try predictions.logDensities(one) }
    #expect(throws: NumericsError.notFinite(row: 1, column: 0)) {
      try predictions.cdf(Matrix(rows: 2, columns: 2, elements: [1, 2, .nan, 4]))
    }
    #expect(throws: NumericsError.self) { try predictions.quantiles(0) }
    #expect(throws: NumericsError.self) { try predictions.centralIntervals(1) }
  }
}
