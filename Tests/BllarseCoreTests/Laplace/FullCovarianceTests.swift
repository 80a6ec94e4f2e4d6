import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("The full covariance")
struct FullCovarianceTests {
  /// The gradient of the log-likelihood, by its formula, the weights of one class after those of another.
  private static func gradient(
    _ weights: [Double], _ features: Matrix<Double>, _ labels: [Int32], _ rowWeights: [Double],
    classes: Int
  ) -> [Double] {
    let inputs = features.columnCount + 1
    var result = [Double](repeating: 0, count: weights.count)
    for (row, label) in labels.enumerated() {
      let x = features.row(row) + [1]
      let f = (0..<classes).map { k in
        (0..<inputs).reduce(0.0) { $0 + x[$1] * weights[k * inputs + $1] }
      }
      let logSum = SpecialFunctions.logSumExp(f)
      for k in 0..<classes {
        let residual = (k == Int(label) ? 1 : 0) - exp(f[k] - logSum)
        for j in 0..<inputs { result[k * inputs + j] += rowWeights[row] * residual * x[j] }
      }
    }
    return result
  }

  @Test("is the Hessian by finite differences", arguments: [2, 3, 4])
  func finiteDifferences(classes: Int) throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 30, columns: 3, classes: classes, strength: 1, seed: classes)
    let rowWeights = (0..<30).map { Double($0 % 4) }
    let problem = EvidenceFixture.softmax(
      features, labels, classCount: classes, weights: rowWeights)
    var generator = Philox(seed: 6, purpose: .sampling)
    let order = 4 * classes
    let weights = generator.normals(count: order)
    var logits = Matrix<Double>.zeros(30, classes)
    _ = problem.pass.restart(
      at: Matrix(rows: classes, columns: 4, elements: weights).transposed(), logits: &logits)
    let found = try #require(try problem.pass.exactHessian(logits))
    let step = 1e-5
    for column in 0..<order {
      var (above, below) = (weights, weights)
      above[column] += step
      below[column] -= step
      let difference = zip(
        Self.gradient(above, features, labels, rowWeights, classes: classes),
        Self.gradient(below, features, labels, rowWeights, classes: classes)
      ).map { -($0 - $1) / (2 * step) }
      #expect(relativeDifference(found.column(column), difference) < 1e-8)
    }
    // The inverse, its logarithm, and the shift of all logits, which nothing bends.
    let prior = problem.prior(0.3)
    let covariance = try FullCovariance(
      hessian: found, prior: prior, directionCount: classes - 1)
    var precision = found
    precision.addToDiagonal(prior.transposed().elements)
    let product = covariance.matrix.multiplied(by: precision)
    #expect(relativeDifference(product.elements, Matrix.diagonal(1, size: order).elements) < 1e-10)
    let values = try SymmetricEigen.values(of: precision)
    let expected =
      values.reduce(0) { $0 + log($1) } - prior.elements.reduce(0) { $0 + log($1) }
    #expect(try #require(covariance.logDeterminantRatio).isClose(to: expected, relative: 1e-10))
    for row in 0..<order {
      let shift = (0..<classes).reduce(0.0) { $0 + found[row, $1 * 4 + 1] }
      #expect(abs(shift) < 1e-12 * found[row, row])
    }
  }

  @Test("covariances of logits are those of the weights, row by row")
  func logitCovariances() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 40, columns: 3, classes: 3, strength: 1, seed: 1)
    let problem = EvidenceFixture.softmax(features, labels, classCount: 3)
    let solution = try problem.solve(problem.prior(1), from: .zeros(4, 3), isFinal: true)
    let full = try #require(
      try problem.covariance(.full, solution.logits, problem.prior(1)).full)
    let rows = problem.pass.design.matrix(rows: 0..<7)
    let found = full.logitCovariances(rows)
    for row in 0..<7 {
      for k in 0..<3 {
        for l in 0..<3 {
          var expected = 0.0
          for i in 0..<4 {
            for j in 0..<4 {
              expected += rows[row, i] * full.matrix[k * 4 + i, l * 4 + j] * rows[row, j]
            }
          }
          #expect(found[row, 3 * k + l].isClose(to: expected, relative: 1e-12))
        }
      }
    }
  }

  /// Rows that all have the same probabilities, and features of mean 0: the Hessian is a Kronecker product.
  @Test("is the Kronecker product where all rows have the same curvature")
  func kronecker() throws {
    var (features, labels) = EvidenceFixture.sample(
      rows: 50, columns: 4, classes: 3, strength: 1, seed: 5)
    let means = features.columnSums().map { $0 / 50 }
    features.addToRows(means, times: -1)
    // A feature that is the same in all rows.
    for row in 0..<50 { features[row, 2] = 0 }
    var weights = Matrix<Double>.zeros(5, 3)
    weights.replaceBlock(
      row: 4, column: 0, with: Matrix(rows: 1, columns: 3, elements: [0.3, -1, 0.2]))
    func given(_ structure: CovarianceStructure) throws -> GivenWeights {
      try GivenWeights(
        weights, FeatureMatrix(features), labels: labels, rowWeights: nil, structure,
        execution: Execution(threadCount: 1))
    }
    let (full, product) = (try given(.full), try given(.kronecker))
    let rows = DesignMatrix<Double>(FeatureMatrix(features), transform: .identity, hasBias: true)
      .matrix(rows: 0..<50)
    for precision in [0.1, 3] {
      #expect(
        full.logEvidence(precision, try full.spectrum()).isClose(
          to: product.logEvidence(precision, try product.spectrum()), relative: 1e-11))
      let (first, second) = (
        try full.covariance(precision), try product.covariance(precision)
      )
      #expect(
        relativeDifference(
          first.logitCovariance(rows).matrices(50), second.logitCovariance(rows).matrices(50))
          < 1e-11)
      #expect(
        relativeDifference(first.leverages(rows).elements, second.leverages(rows).elements) < 1e-11)
    }
  }

  @Test("is the Kronecker covariance of two classes, but for the prior of the bias")
  func twoClasses() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 300, columns: 4, classes: 2, strength: 1, seed: 2)
    let problem = EvidenceFixture.softmax(features, labels, classCount: 2)
    let prior = problem.prior(3)
    let solution = try problem.solve(prior, from: .zeros(5, 2), isFinal: true)
    let (full, product) = (
      try problem.covariance(.full, solution.logits, prior),
      try problem.covariance(.kronecker, solution.logits, prior)
    )
    let rows = problem.pass.design.matrix(rows: 0..<300)
    #expect(
      relativeDifference(full.leverages(rows).elements, product.leverages(rows).elements) < 2e-3)
    let (first, second) = (
      problem.logEvidence(solution, full), problem.logEvidence(solution, product)
    )
    #expect(try #require(first).isClose(to: #require(second), relative: 1e-4))
  }

  @Test("probit columns have no curvature between them: the blocks are the whole")
  func probit() throws {
    let problem = EvidenceFixture.probit(EvidenceFixture.features, EvidenceFixture.twoClasses)
    let solution = try problem.solve(problem.prior(1), from: .zeros(3, 1), isFinal: true)
    let covariance = try problem.covariance(.full, solution.logits, problem.prior(1))
    #expect(covariance.structure == .block)
  }

  @Test("one that does not fit into memory is refused, with its size and what to take")
  func memory() throws {
    let error = try #require(throws: NumericsError.self) {
      try FullCovariance.checkMemory(inputs: 100_001, columns: 100)
    }
    for part in ["100001 weights", "100 classes", "order 10000100", "MiB", "--posterior kron"] {
      #expect("\(error)".contains(part), "\(error)")
    }
    try FullCovariance.checkMemory(inputs: 129, columns: 10)
    // A fit says so before it searches for anything.
    let features = FeatureMatrix(Matrix<Float>(rows: 400, columns: 400, repeating: 0))
    var configuration = LaplaceConfiguration(classCount: 50_000)
    configuration.posterior = .full
    let labels = (0..<400).map { Int32($0) }
    #expect(throws: NumericsError.self) {
      try LaplaceHead(fitting: features, labels: labels, configuration)
    }
  }

  @Test("the evidence of every structure is there, and less for cruder ones near the optimum")
  func evidence() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 200, columns: 4, classes: 3, strength: 1, seed: 8)
    var found: [CovarianceStructure: Double] = [:]
    for structure in CovarianceStructure.allCases {
      var configuration = LaplaceConfiguration(classCount: 3)
      (configuration.posterior, configuration.prior) = (structure, .fixed(1))
      configuration.scaling = .columns
      let head = try LaplaceHead(
        fitting: FeatureMatrix(features), labels: labels, configuration)
      found[structure] = try #require(head.report?.logEvidence)
    }
    let whole = try #require(found[.full])
    for (structure, value) in found where structure != .meanField {
      #expect(abs(value - whole) < 6, "\(structure): \(value) against \(whole)")
    }
    #expect(abs(try #require(found[.kronecker]) - whole) < 1)
  }

  @Test("--prior evidence takes the evidence of the whole Hessian")
  func evidencePrior() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 150, columns: 5, classes: 3, strength: 1, seed: 4)
    func head(_ prior: LaplacePrior) throws -> LaplaceHead {
      var configuration = LaplaceConfiguration(classCount: 3)
      (configuration.posterior, configuration.prior) = (.full, prior)
      configuration.scaling = .columns
      return try LaplaceHead(fitting: FeatureMatrix(features), labels: labels, configuration)
    }
    let found = try head(.evidence)
    let best = try #require(found.report?.logEvidence)
    for factor in [0.3, 0.7, 1.4, 3] {
      let other = try head(.fixed(found.priorPrecision * factor))
      #expect(try #require(other.report?.logEvidence) < best + 0.01, "\(factor)")
    }
  }
}
