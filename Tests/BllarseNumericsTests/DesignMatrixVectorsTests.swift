import BllarseNumerics
import BllarseTestSupport
import Testing

@Suite("Products of a design matrix with vectors")
struct DesignMatrixVectorsTests {
  private struct Problem {
    let design: DesignMatrix<Double>
    let rows: [[Double]]
    var generator: SplitMix64

    init(rows count: Int, columns: Int, seed: Int) {
      var generator = SplitMix64(seed: seed)
      let features = Matrix<Double>(
        rows: count, columns: columns,
        elements: (0..<count * columns).map { _ in generator.normal() })
      design = DesignMatrix(FeatureMatrix(features), transform: .identity, hasBias: true)
      rows = (0..<count).map { features.row($0) + [1] }
      self.generator = generator
    }

    mutating func vector(_ count: Int) -> [Double] {
      (0..<count).map { _ in generator.normal() }
    }
  }

  /// Shapes on both sides of the blocks' borders, N x D without the bias.
  static let shapes = [(1, 1), (5, 3), (511, 20), (512, 127), (513, 128), (700, 300)]

  @Test("X·w and Xᵀ·r equal plain sums", arguments: shapes, [1, 2])
  func products(shape: (Int, Int), threads: Int) {
    var problem = Problem(rows: shape.0, columns: shape.1, seed: 1)
    let execution = Execution(threadCount: threads)
    let weights = problem.vector(shape.1 + 1)
    let expected = problem.rows.map { x in zip(x, weights).reduce(0) { $0 + $1.0 * $1.1 } }
    #expect(
      relativeDifference(
        problem.design.multiplied(by: weights, execution: execution), expected) < 1e-12)
    let values = problem.vector(shape.0)
    let transposed = (0...shape.1).map { column in
      zip(problem.rows, values).reduce(0) { $0 + $1.0[column] * $1.1 }
    }
    #expect(
      relativeDifference(
        problem.design.transposeMultiplied(by: values, execution: execution), transposed)
        < 1e-12)
  }

  @Test("quadratic forms equal those of the inverse", arguments: shapes, [1, 2])
  func quadraticForms(shape: (Int, Int), threads: Int) throws {
    let problem = Problem(rows: shape.0, columns: shape.1, seed: 2)
    var precision = problem.design.gram()
    precision.addToDiagonal([Double](repeating: 3, count: shape.1 + 1))
    let cholesky = try Cholesky(precision)
    let inverse = cholesky.inverse()
    let result = problem.design.quadraticForms(
      cholesky, execution: Execution(threadCount: threads))
    let expected = problem.rows.map { x in
      zip(x, inverse.multiplied(by: x)).reduce(0) { $0 + $1.0 * $1.1 }
    }
    #expect(relativeDifference(result, expected) < 1e-11)
    let single = DesignMatrix<Float>(problem.design.features, transform: .identity, hasBias: true)
      .quadraticForms(cholesky)
    #expect(relativeDifference(single, expected) < 1e-4)
  }

  @Test("a weighted Gram matrix is added to what is given")
  func addedGram() {
    var problem = Problem(rows: 40, columns: 6, seed: 3)
    let weights = problem.vector(40).map { $0 * $0 }
    var expected = Matrix<Double>.diagonal(2, size: 7)
    var sum = expected
    problem.design.addLowerGram(
      weights: weights, to: &sum, .init(problem.design), execution: .available)
    for (x, weight) in zip(problem.rows, weights) {
      for i in 0..<7 { for j in 0...i { expected[i, j] += weight * x[i] * x[j] } }
    }
    #expect(relativeDifference(sum.elements, expected.elements) < 1e-14)
  }
}
