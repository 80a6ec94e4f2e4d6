import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Softmax regression to its optimum")
struct SoftmaxOptimumTests {
  private func solve<Scalar: BLASScalar>(
    _ design: DesignMatrix<Scalar>, _ labels: [Int32], classCount: Int, precisions: [Double],
    smoothing: Double = 0, tolerance: Double
  ) throws -> ConcaveSolver<SoftmaxPass<Scalar>>.Solution {
    let execution = Execution(threadCount: 2)
    let pass = SoftmaxPass(
      design: design, labels: labels, classCount: classCount, execution: execution)
    return try ConcaveSolver(
      pass: pass, gram: design.gram(rowWeights: nil, execution: execution),
      prior: .columns(precisions, count: classCount),
      linearTerm: pass.linearTerm(smoothing: smoothing), tolerance: .nats(tolerance)
    ).solve(from: .zeros(design.columnCount, classCount))
  }

  /// The optimum of the three-class fixture, from a Newton iteration in NumPy.
  @Test("reaches the optimum of the fixture")
  func fixture() throws {
    let solution = try solve(
      EvidenceFixture.design(Double.self), EvidenceFixture.threeClasses, classCount: 3,
      precisions: [0.5, 0.5, 0.01], tolerance: 1e-15)
    #expect(solution.converged)
    #expect(solution.objective.isClose(to: -9.3172120595111, relative: 1e-12))
    let expected = [
      0.006929597, 1.102073492, -1.10900309, -1.052889227, 0.370275687, 0.68261354, 0.092367641,
      0.267672239, -0.36003988,
    ]
    #expect(relativeDifference(solution.weights.elements, expected) < 1e-8)
  }

  @Test("single precision comes within its tolerance of double precision", arguments: 0..<6)
  func precisions(seed: Int) throws {
    let problem = ProbitProblem.random(
      "", rows: 200 + 100 * seed, columns: 3 + 7 * seed, classes: 2 + 3 * seed, seed: seed)
    let features = FeatureMatrix(problem.features)
    func optimum<Scalar: BLASScalar>(_ type: Scalar.Type, _ tolerance: Double) throws
      -> ConcaveSolver<SoftmaxPass<Scalar>>.Solution
    {
      let design = DesignMatrix<Scalar>(features, transform: .identity, hasBias: true)
      return try solve(
        design, problem.labels, classCount: problem.classCount,
        precisions: [Double](repeating: 1, count: design.columnCount), tolerance: tolerance)
    }
    let exact = try optimum(Double.self, 1e-12)
    let quick = try optimum(Float.self, 1e-3)
    #expect(exact.converged && quick.converged)
    #expect(exact.gap <= exact.gapBound)
    // The gap is an estimate from the mean curvature, right to an order of magnitude.
    #expect(exact.objective - quick.objective < 1e-2)
    #expect(exact.objective - quick.objective > -1e-6 * abs(exact.objective))
  }

  @Test("the gradient vanishes at the optimum with smoothed labels")
  func smoothing() throws {
    let problem = ProbitProblem.random("", rows: 80, columns: 4, classes: 3, seed: 5)
    let design = DesignMatrix<Double>(
      FeatureMatrix(problem.features), transform: .identity, hasBias: true)
    let weights = try solve(
      design, problem.labels, classCount: 3, precisions: [Double](repeating: 0.7, count: 5),
      smoothing: 0.2, tolerance: 1e-20
    ).weights
    let x = design.matrix(rows: 0..<80)
    let logits = x.multiplied(by: weights)
    var residual = Matrix<Double>.zeros(80, 3)
    for row in 0..<80 {
      let values = logits.row(row)
      let sum = values.reduce(0) { $0 + exp($1) }
      for k in 0..<3 {
        let target = (problem.labels[row] == k ? 0.8 : 0) + 0.2 / 3
        residual[row, k] = target - exp(values[k]) / sum
      }
    }
    var gradient = x.multiplied(by: residual, transposing: true)
    gradient.add(weights, times: -0.7)
    #expect(gradient.largestMagnitude < 1e-8)
  }
}
