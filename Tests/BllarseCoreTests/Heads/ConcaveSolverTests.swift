import BllarseNumerics
import BllarseTestSupport
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Concave solver")
struct ConcaveSolverTests {
  private func solver<Pass: LaplacePass>(
    _ type: Pass.Type, _ problem: ProbitProblem, prior: Double = 0.5
  ) -> ConcaveSolver<Pass> {
    let design = DesignMatrix<Pass.Scalar>(
      FeatureMatrix(problem.features), transform: .identity, hasBias: true)
    let execution = Execution(threadCount: 2)
    let pass = Pass.make(
      design, labels: problem.labels, classCount: problem.classCount, weights: nil,
      execution: execution)
    return ConcaveSolver(
      pass: pass, gram: design.gram(rowWeights: nil, execution: execution),
      prior: Matrix(rows: design.columnCount, columns: pass.classCount, repeating: prior))
  }

  private func climb<Pass: LaplacePass>(
    _ type: Pass.Type, _ problem: ProbitProblem, _ tolerance: Double
  ) throws -> ConcaveSolver<Pass>.Solution {
    var solver = solver(type, problem)
    solver.tolerance = .nats(tolerance)
    return try solver.solve(
      from: .zeros(solver.gram.rowCount, solver.pass.classCount))
  }

  @Test("the objective never falls, for either likelihood", arguments: ProbitProblem.all)
  func isMonotone(problem: ProbitProblem) throws {
    for history in [
      try climb(SoftmaxPass<Double>.self, problem, 1e-9).history,
      try climb(ProbitPass<Double>.self, problem, 1e-9).history,
    ] {
      for (before, after) in zip(history, history.dropFirst()) {
        #expect(after >= before - 1e-12 * abs(before))
      }
    }
  }

  /// A tolerance that no precision reaches: what is left is a few roundings of the objective.
  @Test(
    "a climb without end in sight ends at the floor of the precision",
    arguments: ProbitProblem.all)
  func floor(problem: ProbitProblem) throws {
    func check<Pass: LaplacePass>(_ type: Pass.Type, _ bound: Double) throws {
      let found = try climb(type, problem, 0)
      #expect(!found.converged)
      #expect(found.iterations < 150, "\(found.iterations) iterations")
      #expect(found.gap <= bound * abs(found.objective), "\(found.gap) nats")
    }
    try check(SoftmaxPass<Double>.self, 1e-14)
    try check(ProbitPass<Double>.self, 1e-14)
    try check(SoftmaxPass<Float>.self, 1e-6)
    try check(ProbitPass<Float>.self, 1e-6)
  }

  @Test("an estimate below the tolerance is no end until it is confirmed")
  func confirmation() throws {
    var solver = solver(ProbitPass<Double>.self, ProbitProblem.all[0])
    solver.tolerance = .nats(1)
    let start = Matrix<Double>.zeros(solver.gram.rowCount, solver.pass.classCount)
    let plain = try solver.solve(from: start)
    var asked = 0
    let confirmed = try solver.solve(from: start) { point in
      asked += 1
      return point.gap < 1e-6
    }
    #expect(plain.gap < 1 && plain.gap > 1e-6)
    #expect(confirmed.gap < 1e-6 && confirmed.converged)
    #expect(asked == confirmed.iterations + 1)
  }

  @Test("a tolerance is a distance in nats, or a fraction of a bound")
  func tolerances() {
    #expect(GapTolerance.nats(0.25).nats(objective: -70) == 0.25)
    #expect(GapTolerance.fraction(0.5, boundConstant: 30).nats(objective: -70) == 50)
  }
}
