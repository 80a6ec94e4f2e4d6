import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseModels

/// A line of `Fixtures/ordinal/intervals.csv`, which `Scripts/make-ordinal-fixture.py` wrote.
private struct IntervalReference {
  let lower, width, logProbability, upperPull, lowerPull, toUpper, fromLower: Double

  static let all: [IntervalReference] = {
    let text =
      (try? String(contentsOfFile: Fixtures.path("ordinal/intervals.csv"), encoding: .utf8)) ?? ""
    return text.split(separator: "\n").dropFirst().map { line in
      let n = line.split(separator: ",").map { Double($0) ?? .nan }
      return IntervalReference(
        lower: n[0], width: n[1], logProbability: n[2], upperPull: n[3], lowerPull: n[4],
        toUpper: n[5], fromLower: n[6])
    }
  }()
}

@Suite("Normal intervals")
struct NormalIntervalTests {
  @Test(
    "probabilities and derivatives agree with values at 60 digits, in the tails and for widths from 1e-12"
  )
  func reference() {
    #expect(IntervalReference.all.count == 352)
    var worst: [String: Double] = [:]
    for line in IntervalReference.all {
      let interval = NormalInterval(
        lower: line.lower, upper: line.lower + line.width, width: line.width)
      let comment: Comment = "lower \(line.lower), width \(line.width)"
      func check(_ name: String, _ value: Double, _ expected: Double, bound: Double) {
        // What is below the least normal number has fewer digits.
        let error = (value - expected).magnitude
        let relative = error / max(expected.magnitude, 1e-300)
        worst[name] = max(worst[name] ?? 0, relative)
        #expect(relative < bound, "\(comment): \(name) is \(value), not \(expected)")
      }
      check("log P", interval.logProbability, line.logProbability, bound: 4e-15)
      // A bound at 40 that is rounded moves its density by 40 ulps of it.
      check("lower pull", interval.lowerPull, line.lowerPull, bound: 2e-14)
      check("upper pull", interval.upperPull, line.upperPull, bound: 2e-14)
      check("to upper", interval.toUpper, line.toUpper, bound: 5e-15)
      check("from lower", interval.fromLower, line.fromLower, bound: 5e-15)
      #expect(interval.upperCurvature >= 0 && interval.lowerCurvature >= 0, comment)
    }
    print("normal intervals, worst relative errors: \(worst)")
  }

  @Test("an interval without one bound is a probit likelihood")
  func oneBound() {
    for bound in [-40, -8, -1.5, -1e-3, 0, 0.3, 1.9, 2.1, 7, 30, 41] as [Double] {
      let below = NormalInterval(lower: -.infinity, upper: bound)
      let above = NormalInterval(lower: -bound, upper: .infinity)
      #expect(below.upperPull == SpecialFunctions.inverseMillsRatio(bound))
      #expect(above.lowerPull == below.upperPull && above.mean == -below.mean)
      #expect(above.logProbability == below.logProbability)
      #expect(
        below.upperCurvature.isClose(
          to: SpecialFunctions.probitCurvature(bound), relative: 4e-15, absolute: 1e-300))
      // As an interval whose other bound is far away.
      let far = NormalInterval(lower: -100, upper: bound)
      #expect(far.logProbability.isClose(to: below.logProbability, relative: 4e-15))
      #expect(far.upperPull.isClose(to: below.upperPull, relative: 1e-12, absolute: 1e-300))
    }
    let all = NormalInterval(lower: -.infinity, upper: .infinity)
    #expect(all.logProbability == 0 && all.mean == 0 && all.upperCurvature == 0)
  }

  @Test("the ways to compute it meet where one gives way to another")
  func borders() {
    for (lower, width) in [(0.5, 1.0), (9.95, 0.1), (-0.5, 1.0), (-0.2, 1.0), (0, 1.0)] {
      let parts = [-1e-9, 1e-9].map { NormalInterval(lower: lower, upper: lower + width + $0) }
      let slope = parts[0].upperPull * 2e-9
      let step = parts[1].logProbability - parts[0].logProbability
      #expect((step - slope).magnitude < 1e-14 * max(1, parts[0].logProbability.magnitude))
      #expect(parts[0].fromLower.isClose(to: parts[1].fromLower, relative: 1e-7))
    }
  }
}
