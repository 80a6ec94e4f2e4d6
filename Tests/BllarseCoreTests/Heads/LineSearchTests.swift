import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Line search")
struct LineSearchTests {
  /// A concave objective by its first two derivatives.
  struct Objective: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let maximum: Double
    let derivatives: @Sendable (Double) -> (slope: Double, curvature: Double)
  }

  static let objectives = [
    Objective(testDescription: "quadratic", maximum: 3) { (6 - 2 * $0, -2) },
    // The slope is convex: Newton's steps approach the maximum from beyond, and never pass it.
    Objective(testDescription: "from beyond", maximum: 0.5) {
      (exp(-$0) - exp(-0.5), -exp(-$0))
    },
    // The slope is concave: they approach from before.
    Objective(testDescription: "from before", maximum: 0.5) { (exp(0.5) - exp($0), -exp($0)) },
    Objective(testDescription: "far out", maximum: 1e6) { (1 - $0 / 1e6, -1e-6) },
    Objective(testDescription: "near", maximum: 1e-6) { (1 - $0 * 1e6, -1e6) },
  ]

  @Test(
    "finds the maximum of a concave function, whatever the first step", arguments: objectives,
    [1e-8, 0.1, 0.49, 1, 10])
  func maximum(objective: Objective, firstStep: Double) {
    let slope = objective.derivatives(0).slope
    var search = LineSearch(slopeAtZero: slope, firstStep: firstStep, slopeFraction: 1e-3)
    var evaluations = 0
    while !search.isDone && evaluations < LineSearch.evaluationLimit {
      let there = objective.derivatives(search.step)
      search.observe(slope: there.slope, curvature: there.curvature)
      evaluations += 1
    }
    #expect(search.isDone)
    #expect(abs(objective.derivatives(search.acceptedStep).slope) <= 1e-3 * slope)
    #expect(abs(search.acceptedStep - objective.maximum) < 0.01 * objective.maximum)
  }

  @Test("a direction that does not rise is not taken")
  func descent() {
    let search = LineSearch(slopeAtZero: -1, firstStep: 1, slopeFraction: 1e-3)
    #expect(search.isDone && search.acceptedStep == 0)
  }
}
