import BllarseNumerics
import BllarseTestSupport
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Curvature of a log-likelihood, and what solvers make of it")
struct LikelihoodCurvatureTests {
  /// `Σ_i w_i (p_ik δ_kl - p_ik p_il) x_ia x_ib`, by loops, weights of one column after those of another.
  private static func hessian<Pass: LaplacePass>(
    _ pass: Pass, _ logits: Matrix<Double>
  ) -> Matrix<Double> {
    let x = Matrix<Double>(pass.design.matrix(rows: 0..<pass.design.rowCount))
    let (columns, classes) = (x.columnCount, logits.columnCount)
    var result = Matrix<Double>.zeros(columns * classes, columns * classes)
    for row in 0..<x.rowCount {
      let p = logits.rows(row..<row + 1).softmaxRows().row(0)
      for k in 0..<classes {
        for l in 0..<classes {
          let bend = (pass.weights?[row] ?? 1) * p[k] * ((k == l ? 1 : 0) - p[l])
          for a in 0..<columns {
            for b in 0..<columns {
              result[k * columns + a, l * columns + b] += bend * x[row, a] * x[row, b]
            }
          }
        }
      }
    }
    return result
  }

  private static func problem(
    classes: Int, weighted: Bool
  ) -> (problem: LaplaceProblem<SoftmaxPass<Double>>, logits: Matrix<Double>) {
    let (features, labels) = EvidenceFixture.sample(
      rows: 90, columns: 4, classes: classes, strength: 1, seed: 11)
    let design = DesignMatrix<Double>(
      FeatureMatrix(features), transform: .identity, hasBias: true)
    let weights = weighted ? (0..<90).map { Double($0 % 3) } : nil
    let pass = SoftmaxPass<Double>.make(
      design, labels: labels, classCount: classes, weights: weights, execution: .available)
    var generator = SplitMix64(seed: 3)
    let logits = Matrix<Double>(
      rows: 90, columns: classes, elements: (0..<90 * classes).map { _ in 2 * generator.normal() })
    return (
      LaplaceProblem(
        pass: pass, gram: design.gram(rowWeights: weights, execution: .available)), logits
    )
  }

  @Test("a part of the rows has the mean curvature of all, in whatever order classes come")
  func curvatureOfSomeRows() {
    // Classes take turns, and every tenth row counts for nothing.
    let (rows, classes) = (20_000, 10)
    let features = Matrix<Double>(rows: rows, columns: 1, repeating: 1)
    let pass = SoftmaxPass<Double>.make(
      DesignMatrix(FeatureMatrix(features), transform: .identity, hasBias: true),
      labels: (0..<rows).map { Int32($0 % classes) }, classCount: classes,
      weights: (0..<rows).map { $0 % 10 == 3 ? 0 : 1 }, execution: .available)
    var logits = Matrix<Double>.zeros(rows, classes)
    for row in 0..<rows { logits.withMutableRow(row) { $0[row % classes] = 3 } }
    let all = pass.outputCurvature(logits)
    let some = pass.outputCurvature(logits, rowLimit: 2000)
    for k in 0..<classes {
      #expect(abs(some[k, k] / all[k, k] - 1) < 0.05)
      for l in 0..<classes where l != k { #expect(abs(some[k, l] / all[k, l] - 1) < 0.05) }
    }
    #expect(pass.outputCurvature(logits, rowLimit: rows) == all)
  }

  @Test("the Hessian of a small problem is the Hessian", arguments: [false, true])
  func whole(weighted: Bool) throws {
    let (problem, logits) = Self.problem(classes: 3, weighted: weighted)
    guard case .whole(let found) = problem.curvature(logits, .little) else {
      Issue.record("a problem of 15 weights takes no more than its Hessian")
      return
    }
    let expected = Self.hessian(problem.pass, logits)
    for row in 0..<15 {
      for column in 0..<15 {
        #expect(found[row, column].isClose(to: expected[row, column], relative: 0, absolute: 1e-10))
      }
    }
  }

  @Test("with two classes one matrix for both columns is the Hessian, in the direction that counts")
  func common() throws {
    let (problem, logits) = Self.problem(classes: 2, weighted: true)
    guard case .common(let matrix, let scales) = problem.curvature(logits, .some) else {
      Issue.record("two classes need no matrix of both columns")
      return
    }
    let expected = Self.hessian(problem.pass, logits)
    // A step (v, -v) bends by 2·vᵀH₀₀v - 2·vᵀH₀₁v.
    for a in 0..<5 {
      for b in 0..<5 {
        let bend = 2 * expected[a, b] - 2 * expected[a, 5 + b]
        let found = (scales[0] + scales[1]) * matrix[a, b]
        #expect(found.isClose(to: bend, relative: 1e-10, absolute: 1e-10))
      }
    }
  }

  @Test("a preconditioner solves with curvature and prior, columns of unlike curvature apart")
  func preconditioner() throws {
    var matrix = Matrix<Double>.diagonal([4, 2, 1])
    (matrix[0, 1], matrix[1, 0]) = (1, 1)
    let scales = [1.0, 0.01, 1.1]
    let prior = Matrix<Double>(rows: 3, columns: 3, repeating: 0.5)
    let found = try Preconditioner(.common(matrix, scales), prior: prior)
      .solve(Matrix<Double>(rows: 3, columns: 3, repeating: 1))
    for k in 0..<3 {
      // The first and the last column share the mean of their scales.
      let scale = k == 1 ? 0.01 : 1.05
      for row in 0..<3 {
        var product = 0.5 * found[row, k]
        for other in 0..<3 { product += scale * matrix[row, other] * found[other, k] }
        #expect(product.isClose(to: 1, relative: 1e-12))
      }
    }
  }
}
