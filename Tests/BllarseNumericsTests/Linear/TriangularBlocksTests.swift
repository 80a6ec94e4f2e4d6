import BllarseNumerics
import BllarseTestSupport
import Testing

@Suite("Cholesky by halves")
struct TriangularBlocksTests {
  private func positive(_ order: Int) -> Matrix<Double> {
    var matrix = randomMatrix(order + 20, order, seed: order, of: Double.self).gram()
    matrix.addToDiagonal([Double](repeating: 1, count: order))
    return matrix
  }

  @Test(
    "the factor is potrf's, reading the lower triangle only",
    arguments: [1, 2, 63, 64, 65, 127, 128, 129, 200, 300])
  func factor(order: Int) throws {
    let matrix = positive(order)
    var lower = matrix
    for row in 0..<order {
      for column in row + 1..<max(order, row + 1) { lower[row, column] = .nan }
    }
    let (expected, found) = (try Cholesky(matrix), try Cholesky(byHalves: lower))
    #expect(lower[0, order - 1].isNaN || order == 1)  // the argument is not changed
    #expect(abs(found.logDeterminant - expected.logDeterminant) < 1e-10)
    for row in 0..<order {
      #expect(
        relativeDifference(
          Array(found.factor.row(row)[...row]), Array(expected.factor.row(row)[...row])) < 1e-11)
    }
    let single = try Cholesky<Float>(byHalves: Matrix<Float>(lowerTriangleOf: lower))
    #expect(abs(single.logDeterminant - expected.logDeterminant) < 1e-3 * Double(order))
    let features = FeatureMatrix(randomMatrix(30, order, seed: 5, of: Double.self))
    let design = DesignMatrix<Double>(features, transform: .identity, hasBias: false)
    #expect(
      relativeDifference(design.quadraticForms(found), design.quadraticForms(expected)) < 1e-11)
  }

  @Test("the first leading minor that fails is named", arguments: [1, 30, 64, 65, 130, 190])
  func indefinite(minor: Int) {
    var matrix = positive(190)
    matrix[minor - 1, minor - 1] = -1
    #expect(throws: NumericsError.notPositiveDefinite(leadingMinor: minor, dimension: 190)) {
      _ = try Cholesky(byHalves: matrix)
    }
    matrix[minor - 1, minor - 1] = .nan
    #expect(throws: NumericsError.self) { _ = try Cholesky(byHalves: matrix) }
  }

  @Test("a lower triangle is copied, and nothing else")
  func copy() {
    var target = Matrix<Double>(rows: 3, columns: 3, repeating: 7)
    target.copyLowerTriangle(of: Matrix(rows: 3, columns: 3, elements: (0..<9).map(Double.init)))
    #expect(target.elements == [0, 7, 7, 3, 4, 7, 6, 7, 8])
  }
}
