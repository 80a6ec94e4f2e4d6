import BllarseNumerics
import BllarseTestSupport
import Testing

/// Products by the definition, in double precision: the oracle of the BLAS wrappers.
private func product(_ a: Matrix<Double>, _ b: Matrix<Double>) -> Matrix<Double> {
  Matrix(
    rows: a.rowCount, columns: b.columnCount,
    elements: (0..<a.rowCount).flatMap { i in
      (0..<b.columnCount).map { j in
        (0..<a.columnCount).reduce(0.0) { $0 + a[i, $1] * b[$1, j] }
      }
    })
}

func randomMatrix<Scalar: BLASScalar>(
  _ rows: Int, _ columns: Int, seed: Int, of type: Scalar.Type = Double.self
) -> Matrix<Scalar> {
  var generator = SplitMix64(seed: seed)
  return Matrix(
    rows: rows, columns: columns,
    elements: (0..<rows * columns).map { _ in Scalar(generator.normal()) })
}

@Suite("BLAS")
struct BLASTests {
  @Test("gemm multiplies views and transposes as the definition says", arguments: 0..<20)
  func gemm(seed: Int) {
    var generator = SplitMix64(seed: seed)
    let (m, n, k) = (
      Int.random(in: 1...12, using: &generator), Int.random(in: 1...12, using: &generator),
      Int.random(in: 1...12, using: &generator)
    )
    let a: Matrix<Double> = randomMatrix(m + 2, k + 3, seed: seed).rows(1..<m + 1).columns(
      2..<k + 2)
    let b: Matrix<Double> = randomMatrix(k, n, seed: seed + 100)
    let expected = product(a, b)
    #expect(relativeDifference(a.multiplied(by: b).elements, expected.elements) < 1e-14)
    let crossed = a.transposed().multiplied(
      by: b.transposed(), transposing: true, transposingOther: true)
    #expect(relativeDifference(crossed.elements, expected.elements) < 1e-14)
    let single = Matrix<Float>(a).multiplied(by: Matrix<Float>(b))
    #expect(relativeDifference(Matrix<Double>(single).elements, expected.elements) < 2e-6)

    var sum: Matrix<Double> = randomMatrix(m, n, seed: seed + 200)
    let twice = sum.combined(with: expected) { 0.5 * $0 + 2 * $1 }
    Matrix.multiply(a, b, into: &sum, alpha: 2, beta: 0.5)
    #expect(relativeDifference(sum.elements, twice.elements) < 1e-14)
  }

  @Test("the Gram matrix is symmetric and right", arguments: [(1, 1), (3, 7), (40, 9), (70, 65)])
  func gram(rows: Int, columns: Int) {
    let a: Matrix<Double> = randomMatrix(rows, columns, seed: rows)
    let expected = product(a.transposed(), a)
    #expect(relativeDifference(a.gram().elements, expected.elements) < 1e-14)
    #expect(a.gram() == a.gram().transposed())
  }

  @Test("products with vectors agree with products of matrices")
  func vectors() {
    let a: Matrix<Double> = randomMatrix(9, 5, seed: 1)
    let x = randomMatrix(5, 1, seed: 2).elements
    let y = randomMatrix(9, 1, seed: 3).elements
    let ax = product(a, Matrix(rows: 5, columns: 1, elements: x)).elements
    #expect(relativeDifference(a.multiplied(by: x), ax) < 1e-14)
    let ay = product(a.transposed(), Matrix(rows: 9, columns: 1, elements: y)).elements
    #expect(relativeDifference(a.multiplied(by: y, transposing: true), ay) < 1e-14)
    let gram = a.gram()
    #expect(relativeDifference(gram.symmetricMultiplied(by: x), gram.multiplied(by: x)) < 1e-14)
  }
}

@Suite("Cholesky factorisation")
struct CholeskyTests {
  private func positiveDefinite(_ size: Int) -> Matrix<Double> {
    var matrix = randomMatrix(size + 3, size, seed: size, of: Double.self).gram()
    matrix.addToDiagonal([Double](repeating: 0.1, count: size))
    return matrix
  }

  @Test("factor, solve, inverse, its diagonal and the determinant fit together", arguments: 1...16)
  func consistency(size: Int) throws {
    let matrix = positiveDefinite(size)
    let cholesky = try Cholesky(matrix)
    let right: Matrix<Double> = randomMatrix(size, 3, seed: size + 50)
    let residual = matrix.multiplied(by: cholesky.solve(right))
    #expect(relativeDifference(residual.elements, right.elements) < 1e-11)
    let inverse = cholesky.inverse()
    let identity = Matrix<Double>.diagonal(size: size)
    #expect(relativeDifference(matrix.multiplied(by: inverse).elements, identity.elements) < 1e-11)
    #expect(relativeDifference(cholesky.inverseDiagonal(), inverse.diagonal) < 1e-12)
    // Against the product of eigenvalues, an independent routine.
    let eigen = try SymmetricEigen(matrix)
    let logDeterminant = eigen.values.reduce(0) { $0 + logarithm($1) }
    #expect(cholesky.logDeterminant.isClose(to: logDeterminant, relative: 1e-11, absolute: 1e-11))
    // Whitened rows have the squared norm xᵀA⁻¹x.
    var rows = right.transposed()
    cholesky.whiten(rows: &rows)
    let quadratic = right.transposed().multiplied(by: inverse).multiplied(by: right)
    for row in 0..<3 {
      #expect(
        rows.rows(row..<row + 1).squaredNorm.isClose(to: quadratic[row, row], relative: 1e-10))
    }
    let lower = cholesky.inverseFactor()
    #expect(
      relativeDifference(lower.transposed().multiplied(by: lower).elements, inverse.elements)
        < 1e-11)
  }

  @Test("a matrix that is not positive definite is an error that names the failing minor")
  func failingMinor() {
    let matrix = Matrix<Double>.diagonal([1, 2, -3, 4])
    #expect(throws: NumericsError.notPositiveDefinite(leadingMinor: 3, dimension: 4)) {
      try Cholesky(matrix)
    }
    #expect(throws: NumericsError.notPositiveDefinite(leadingMinor: 2, dimension: 2)) {
      try Cholesky(Matrix<Float>(rows: 2, columns: 2, elements: [1, 1, 1, 1]))
    }
    #expect(throws: NumericsError.self) { try Cholesky(Matrix<Double>.diagonal([1, .nan, 1])) }
  }
}

@Suite("Symmetric eigendecomposition")
struct SymmetricEigenTests {
  @Test("vectors times values give the matrix back", arguments: [1, 2, 5, 33])
  func reconstruction(size: Int) throws {
    let matrix = randomMatrix(size, size, seed: size, of: Double.self).gram()
    let eigen = try SymmetricEigen(matrix)
    #expect(eigen.values == eigen.values.sorted())
    let scaled = Matrix<Double>.diagonal(eigen.values).multiplied(by: eigen.rowVectors)
    let rebuilt = eigen.rowVectors.multiplied(by: scaled, transposing: true)
    #expect(relativeDifference(rebuilt.elements, matrix.elements) < 1e-12)
  }

  @Test("a NaN is an error that names its place")
  func notFinite() {
    var matrix = Matrix<Double>.diagonal(size: 3)
    matrix[2, 1] = .nan
    #expect(throws: NumericsError.notFinite(row: 2, column: 1)) { try SymmetricEigen(matrix) }
  }
}
