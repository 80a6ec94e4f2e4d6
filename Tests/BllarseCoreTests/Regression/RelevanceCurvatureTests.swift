import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseModels

@Suite("Curvature of relevance determination's evidence")
struct RelevanceCurvatureTests {
  private static let hyperpriors = RegressionHyperpriors(
    noise: GammaParameters(shape: 0.3, rate: 0.2), weights: GammaParameters(shape: 0.1, rate: 0.05))
  private static let rowCount = 15

  /// Inputs in columns, and targets.
  private let inputs: Matrix<Double>
  private let targets: [Double]

  init() {
    let (features, targets) = RegressionFixture.random(rows: Self.rowCount, columns: 4, seed: 3)
    inputs = features.converted(to: Double.self)
    self.targets = targets.column(0)
  }

  /// What follows from the model `y ~ N(Xw, 1/α)`, `w ~ N(0, Λ⁻¹)`: the density of the targets by their covariance.
  private func logEvidence(_ logs: [Double]) throws -> Double {
    let precisions = logs.dropLast().map { exp($0) }
    let noise = exp(logs[logs.count - 1])
    let scaled = inputs.scalingColumns(by: precisions.map { 1 / $0.squareRoot() })
    var covariance = scaled.multiplied(by: scaled, transposingOther: true)
    covariance.addToDiagonal([Double](repeating: 1 / noise, count: targets.count))
    let factor = try Cholesky(covariance)
    let energy = zip(targets, factor.solve(targets)).reduce(0) { $0 + $1.0 * $1.1 }
    let density = -0.5 * (energy + factor.logDeterminant + Double(targets.count) * log(2 * .pi))
    let prior = Self.hyperpriors
    return precisions.reduce(density + prior.logNoise(noise)) { $0 + prior.logWeights($1) }
  }

  private func curvature(_ logs: [Double]) throws -> RelevanceCurvature {
    let precisions = logs.dropLast().map { exp($0) }
    let noise = exp(logs[logs.count - 1])
    let roots = precisions.map { $0.squareRoot() }
    // A = Λ^-½XᵀαXΛ^-½ = LLᵀ, and P = A(1 + A)⁻¹ = A^½(1 + A)⁻¹A^½: any root of it will do.
    let scaled = inputs.scalingColumns(by: roots.map { noise.squareRoot() / $0 })
    var capacitance = scaled.multiplied(by: scaled, transposingOther: true)
    capacitance.addToDiagonal([Double](repeating: 1, count: targets.count))
    let factor = try Cholesky(capacitance)
    let solution = factor.solve(targets)
    var whitened = scaled.transposed()
    factor.whiten(rows: &whitened)
    return RelevanceCurvature(
      whitened: whitened,
      scaledWeights: scaled.multiplied(by: solution, transposing: true).map {
        $0 * noise.squareRoot()
      },
      precisions: precisions, noise: noise,
      residual: solution.reduce(0) { $0 + $1 * $1 }, weight: Double(targets.count),
      Self.hyperpriors)
  }

  @Test("gradient and Hessian are the differences of the density of the targets")
  func derivatives() throws {
    let logs = [0.7, -1.2, 3, 0.1, 0.9]
    let found = try curvature(logs)
    let step = 1e-4
    for j in logs.indices {
      var (above, below) = (logs, logs)
      above[j] += step
      below[j] -= step
      let slope = try (logEvidence(above) - logEvidence(below)) / (2 * step)
      #expect((found.gradient[j] - slope).magnitude < 1e-7 * max(1, slope.magnitude))
      let (after, before) = try (curvature(above).gradient, curvature(below).gradient)
      for k in 0...j {
        let bend = (after[k] - before[k]) / (2 * step)
        #expect((found.negativeHessian[j, k] + bend).magnitude < 1e-7 * max(1, bend.magnitude))
      }
    }
  }

  @Test(
    "a step is Newton's, goes the fixed point's way for a large shift, and is refused where it is long"
  )
  func steps() throws {
    var logs = [0.7, -1.2, 3, 0.1, 0.9]
    for _ in 0..<300 {
      let gradient = try curvature(logs).gradient
      for j in logs.indices { logs[j] += 0.05 * gradient[j] }
    }
    for _ in 0..<6 {
      let step = try #require(try curvature(logs).step(shift: 0))
      for j in logs.indices { logs[j] += step[j] }
    }
    let rest = try curvature(logs).gradient
    #expect(rest.allSatisfy { $0.magnitude < 1e-12 })
    // Where the rows determine a weight whatever its precision, the maximum is far beyond one step.
    logs[0] -= 8
    #expect(try curvature(logs).step(shift: 0) == nil)
    let shifted = try curvature(logs)
    let short = try #require(shifted.step(shift: 1e6))
    #expect(zip(short, shifted.gradient).allSatisfy { $0 * $1 >= 0 })
  }
}
