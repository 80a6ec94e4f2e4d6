import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@Suite("Softmax solver")
struct SoftmaxSolverTests {
  /// The optimum of the three-class fixture, from a Newton iteration in NumPy.
  @Test("reaches the optimum of the fixture")
  func fixture() throws {
    let solver = SoftmaxSolver<Double>(
      design: EvidenceFixture.design(), labels: EvidenceFixture.threeClasses, classCount: 3,
      priorPrecisions: [0.5, 0.5, 0.01], parallelism: Parallelism(threadCount: 2))
    var exact = solver
    exact.tolerance = 1e-15
    let solution = try exact.solve()
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
    func solve<Scalar: BLASScalar>(_ type: Scalar.Type, _ tolerance: Double) throws
      -> SoftmaxSolver<Scalar>.Solution
    {
      let design = DesignMatrix<Scalar>(features, transform: .identity, hasBias: true)
      var solver = SoftmaxSolver<Scalar>(
        design: design, labels: problem.labels, classCount: problem.classCount,
        priorPrecisions: [Double](repeating: 1, count: design.columnCount))
      solver.tolerance = tolerance
      return try solver.solve()
    }
    let exact = try solve(Double.self, 1e-12)
    let quick = try solve(Float.self, 1e-3)
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
    var solver = SoftmaxSolver(
      design: design, labels: problem.labels, classCount: 3,
      priorPrecisions: [Double](repeating: 0.7, count: 5))
    solver.labelSmoothing = 0.2
    solver.tolerance = 1e-20
    let weights = try solver.solve().weights
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
