import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Kronecker covariance of Laplace's method")
struct KroneckerCovarianceTests {
  /// Features with a bias, as the covariance expects them.
  private static func rows(_ features: Matrix<Double>) -> Matrix<Double> {
    DesignMatrix<Double>(FeatureMatrix(features), transform: .identity, hasBias: true)
      .matrix(rows: 0..<features.rowCount)
  }

  /// The weight of a row's prior, of the bias for the last column.
  private static func priors(_ precision: Double, _ columns: Int) -> [Double] {
    [Double](repeating: precision, count: columns - 1) + [RecipeConstants.biasPrecision]
  }

  /// `xᵀM⁻¹x` by Gauss-Jordan elimination.
  private static func quadratics(_ matrix: Matrix<Double>, _ rows: Matrix<Double>) -> [Double] {
    let size = matrix.rowCount
    var a = (0..<size).map { matrix.row($0) }
    var b = (0..<size).map { j in (0..<rows.rowCount).map { rows[$0, j] } }  // (D + 1, n)
    for pivot in 0..<size {
      for row in 0..<size where row != pivot {
        let factor = a[row][pivot] / a[pivot][pivot]
        for j in 0..<size { a[row][j] -= factor * a[pivot][j] }
        for j in 0..<rows.rowCount { b[row][j] -= factor * b[pivot][j] }
      }
    }
    return (0..<rows.rowCount).map { row in
      (0..<size).reduce(0.0) { $0 + rows[row, $1] * b[$1][row] / a[$1][$1] }
    }
  }

  @Test("two classes: the inverse of the logistic Hessian itself", arguments: [0.3, 30])
  func exactForTwoClasses(precision: Double) throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 1000, columns: 4, classes: 2, strength: 1, seed: 5)
    let problem = EvidenceFixture.softmax(features, labels, classCount: 2)
    let solution = try problem.solve(
      problem.prior(precision), from: .zeros(5, 2), isFinal: true)
    let found = try problem.kronecker(solution.logits, precision: precision)
      .leverages(Self.rows(features))
    // The difference of the two logits: Σ p(1-p)·xxᵀ, and half the precision of either column's prior.
    let x = Self.rows(features)
    var hessian = Matrix<Double>.zeros(5, 5)
    for row in 0..<1000 {
      let p = 1 / (1 + exp(solution.logits[row, 0] - solution.logits[row, 1]))
      for i in 0..<5 { for j in 0..<5 { hessian[i, j] += p * (1 - p) * x[row, i] * x[row, j] } }
    }
    hessian.addToDiagonal(Self.priors(precision, 5).map { 0.5 * $0 })
    let exact = Self.quadratics(hessian, x)
    for row in 0..<1000 {
      // A difference of two logits has twice the variance that each is given.
      #expect((2 * found[row, 0]).isClose(to: exact[row], relative: 1e-4))
      #expect(found[row, 1].isClose(to: found[row, 0], relative: 1e-12))
    }
  }

  @Test("one probit column: the inverse of the probit Hessian itself")
  func exactForProbit() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 1000, columns: 3, classes: 2, strength: 1, seed: 6)
    let problem = EvidenceFixture.probit(features, labels)
    let solution = try problem.solve(problem.prior(2), from: .zeros(4, 1), isFinal: true)
    let found = try problem.kronecker(solution.logits, precision: 2).leverages(Self.rows(features))
    let x = Self.rows(features)
    var hessian = Matrix<Double>.zeros(4, 4)
    for row in 0..<1000 {
      // -d²/df² log Φ(s·f) by the definition: r(r + s·f), r = φ/Φ.
      let a = (labels[row] == 1 ? 1 : -1) * solution.logits[row, 0]
      let r = exp(-0.5 * a * a) / (2 * Double.pi).squareRoot() / SpecialFunctions.normalCDF(a)
      for i in 0..<4 {
        for j in 0..<4 { hessian[i, j] += r * (r + a) * x[row, i] * x[row, j] }
      }
    }
    hessian.addToDiagonal(Self.priors(2, 4))
    let exact = Self.quadratics(hessian, x)
    for row in 0..<1000 { #expect(found[row, 0].isClose(to: exact[row], relative: 1e-4)) }
  }

  @Test(
    "variances of a few rows by factorisations are those by an eigendecomposition",
    arguments: [2, 3, 5])
  func factorisations(classes: Int) throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 1000, columns: 6, classes: classes, strength: 1, seed: classes)
    let problem = EvidenceFixture.softmax(features, labels, classCount: classes)
    let solution = try problem.solve(
      problem.prior(3), from: .zeros(7, classes), isFinal: false)
    let gram = problem.inputGram(solution.logits)
    let curvature = problem.pass.outputCurvature(solution.logits)
    let some = Self.rows(features.gatheringRows(Array(0..<50)))
    let direct = try KroneckerCovariance.leverages(
      of: some, gram: gram, outputCurvature: curvature,
      directionCount: classes - 1, priorPrecision: 3,
      biasPrecision: RecipeConstants.biasPrecision, execution: problem.execution)
    let projected = KroneckerCovariance.ProjectedRows(
      some, on: try KroneckerCovariance.Inputs(gram: gram), execution: problem.execution)
    let eigen = try projected.leverages(
      outputCurvature: curvature, directionCount: classes - 1, priorPrecision: 3,
      biasPrecision: RecipeConstants.biasPrecision, execution: problem.execution)
    let whole = try problem.kronecker(solution.logits, precision: 3).leverages(some)
    for row in 0..<50 {
      for k in 0..<classes {
        #expect(direct[row, k].isClose(to: eigen[row, k], relative: 1e-3))
        #expect(whole[row, k].isClose(to: eigen[row, k], relative: 1e-10))
      }
    }
  }

  @Test("the variance far from all rows is that of the prior, and falls with every row")
  func limits() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 400, columns: 3, classes: 4, strength: 1, seed: 3)
    func variance(_ count: Int) throws -> Double {
      let problem = EvidenceFixture.softmax(
        features.gatheringRows(Array(0..<count)), Array(labels[0..<count]), classCount: 4)
      let solution = try problem.solve(
        problem.prior(1), from: .zeros(4, 4), isFinal: true)
      let new = Matrix<Double>(rows: 1, columns: 4, elements: [0.5, -0.5, 1, 1])
      return try problem.kronecker(solution.logits, precision: 1).leverages(new)[0, 2]
    }
    let variances = try [20, 60, 180, 400].map { try variance($0) }
    #expect(variances == variances.sorted(by: >), "\(variances)")
    // With a prior that outweighs the rows: |x|²/λ, the bias by the rows.
    let problem = EvidenceFixture.softmax(features, labels, classCount: 4)
    let solution = try problem.solve(
      problem.prior(1e7), from: .zeros(4, 4), isFinal: true)
    let covariance = try problem.kronecker(solution.logits, precision: 1e7)
    let far = Matrix<Double>(rows: 1, columns: 4, elements: [3e5, -4e5, 0, 1])
    let total = covariance.leverages(far).row(0).reduce(0, +) / 4
    #expect(total.isClose(to: 25e10 / 1e7, relative: 1e-3), "\(total)")
  }
}
