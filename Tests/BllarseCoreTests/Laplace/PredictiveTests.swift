import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Predictive distributions")
struct PredictiveTests {
  private func predict(
    _ likelihood: LaplaceLikelihood, _ m: [Double], _ v: [Double]?
  ) -> [Double] {
    var logs = Predictive(likelihood: likelihood).logits(
      means: Matrix(rows: 1, columns: m.count, elements: m),
      variances: v.map { Matrix(rows: 1, columns: $0.count, elements: $0) })
    logs.formLogSoftmaxRows()
    return logs.row(0).map { exp($0) }
  }

  @Test("one probit column is the Gaussian integral, exactly")
  func probit() {
    let p = predict(.probit, [0.7], [2.5])
    #expect(p[1].isClose(to: 0.6458594938546987, relative: 1e-13))
    // Against the integral on a grid, and against Monte Carlo.
    for (m, v) in [(0.7, 2.5), (-3, 0.2), (2, 30), (0, 1)] {
      let h = 0.01
      let sum = stride(from: -8.0, through: 8, by: h).reduce(0.0) {
        $0 + h * exp(-0.5 * $1 * $1) / (2 * Double.pi).squareRoot()
          * SpecialFunctions.normalCDF(m + v.squareRoot() * $1)
      }
      #expect(predict(.probit, [m], [v])[1].isClose(to: sum, relative: 1e-8))
    }
    var generator = Philox(seed: 4, purpose: .sampling)
    let draws = generator.normals(count: 400_000)
    let mean =
      draws.reduce(0) {
        $0 + SpecialFunctions.normalCDF(0.7 + 2.5.squareRoot() * $1)
      } / 400_000
    // Four standard errors of the mean of numbers in 0...1.
    #expect(abs(mean - p[1]) < 4 * 0.5 / 400_000.0.squareRoot())
  }

  @Test("the softmax approximation is near Monte Carlo for moderate variances")
  func softmax() {
    var generator = Philox(seed: 5, purpose: .sampling)
    let (m, v) = ([1.0, 0, -0.5], [0.8, 0.3, 0.5])
    var mean = [0.0, 0, 0]
    let count = 200_000
    for _ in 0..<count {
      let z = generator.normals(count: 3)
      let f = (0..<3).map { m[$0] + v[$0].squareRoot() * z[$0] }
      let logSum = SpecialFunctions.logSumExp(f)
      for k in 0..<3 { mean[k] += exp(f[k] - logSum) / Double(count) }
    }
    let p = predict(.softmax, m, v)
    let plugIn = predict(.softmax, m, nil)
    for k in 0..<3 { #expect(abs(p[k] - mean[k]) < 0.01, "\(p) against \(mean)") }
    #expect(abs(plugIn[0] - mean[0]) > 2 * abs(p[0] - mean[0]))
  }

  @Test("opposite logits of two classes are integrated over their difference")
  func logistic() {
    // Each logit's variance is 1/λ where that of the difference is 2/λ.
    for (m, v) in [(0.4, 0.6), (-1.5, 2.0), (1, 0.05)] {
      let h = 0.01
      let sum = stride(from: -8.0, through: 8, by: h).reduce(0.0) {
        $0 + h * exp(-0.5 * $1 * $1) / (2 * Double.pi).squareRoot()
          / (1 + exp(-(2 * m + (2 * v).squareRoot() * $1)))
      }
      // MacKay's formula is good to a hundredth.
      #expect(abs(predict(.softmax, [-m, m], [v, v])[1] - sum) < 0.012)
    }
  }

  @Test("one against the rest: the product of a class and no other, normalised")
  func oneAgainstRest() {
    let (m, v) = ([0.5, -1, -0.2], [0.1, 0.4, 2])
    let phi = (0..<3).map { SpecialFunctions.normalCDF(m[$0] / (1 + v[$0]).squareRoot()) }
    let odds = phi.map { $0 / (1 - $0) }
    let total = odds.reduce(0, +)
    let found = predict(.probit, m, v)
    for k in 0..<3 { #expect(found[k].isClose(to: odds[k] / total, relative: 1e-12)) }
  }

  @Test("a logit that nobody believes in gains nothing by its variance")
  func unlikelyClass() {
    let (m, v) = ([2.0, 0, -9], [0.2, 0.2, 60])
    let found = predict(.softmax, m, v)
    #expect(found[2] < 1e-3, "\(found)")
    #expect(abs(found[0] - predict(.softmax, [2, 0], [0.2, 0.2])[0]) < 0.01)
  }
}
