import Glibc

/// The factorisation `A = L·Lᵀ` of a symmetric positive definite matrix.
///
/// ``factor`` is lower triangular; what stands above its diagonal is unspecified.
public struct Cholesky<Scalar: BLASScalar>: Sendable {
  /// `L`, size x size; only the lower triangle has a meaning.
  public let factor: Matrix<Scalar>
  /// The inverses of the factor's leaves (see ``TriangularBlocks``), where they are at hand.
  let leafInverses: Matrix<Scalar>?

  /// The order of the matrix.
  public var size: Int { factor.rowCount }

  /// Factors a symmetric matrix, of which only the lower triangle is read (potrf).
  ///
  /// - Parameter matrix: size x size, symmetric, positive definite.
  /// - Throws: `NumericsError.notPositiveDefinite` with the first leading minor that fails; a NaN in
  ///   the matrix fails too.
  /// - Complexity: size³ / 3 floating-point operations.
  public init(_ matrix: Matrix<Scalar>) throws(NumericsError) {
    precondition(matrix.rowCount == matrix.columnCount, "\(matrix) is not square")
    var factor = matrix
    let size = matrix.rowCount
    guard size > 0 else {
      self.factor = matrix
      leafInverses = nil
      return
    }
    let failed = unsafe factor.withUnsafeMutablePointer { pointer, stride in
      BLASThreads.shared.call(operations: cube(size) / 3) {
        unsafe Scalar.potrf(size, pointer, stride)
      }
    }
    if failed > 0 {
      throw .notPositiveDefinite(leadingMinor: failed, dimension: size)
    }
    // LAPACK compares pivots with `<= 0`, which a NaN passes.
    for index in 0..<size where !(factor[index, index] > 0 && factor[index, index].isFinite) {
      throw .notPositiveDefinite(leadingMinor: index + 1, dimension: size)
    }
    self.factor = factor
    leafInverses = nil
  }

  /// Takes a factor that was computed before.
  ///
  /// - Parameter factor: `L`, size x size, with a positive diagonal; only the lower triangle is read.
  package init(factor: Matrix<Scalar>) { self.init(factor: factor, leafInverses: nil) }

  init(factor: Matrix<Scalar>, leafInverses: Matrix<Scalar>?) {
    precondition(factor.rowCount == factor.columnCount, "\(factor) is not square")
    self.factor = factor
    self.leafInverses = leafInverses
  }

  /// The factor in another precision.
  package func converted<Other: BLASScalar>(to type: Other.Type = Other.self) -> Cholesky<Other> {
    Cholesky<Other>(factor: (factor as? Matrix<Other>) ?? Matrix<Other>(factor))
  }

  /// The natural logarithm of the determinant of `A`, summed in double precision.
  public var logDeterminant: Double {
    2 * (0..<size).reduce(0) { $0 + log(Double(factor[$1, $1])) }
  }

  /// Solves `A·X = B`.
  ///
  /// - Parameter right: `B`, size x any.
  /// - Returns: `X`, of the shape of `B`.
  public func solve(_ right: Matrix<Scalar>) -> Matrix<Scalar> {
    var solution = right
    solve(inPlace: &solution)
    return solution
  }

  /// Solves `A·X = B` for many columns, each thread for columns of its own.
  ///
  /// - Parameters:
  ///   - right: `B`, size x any.
  ///   - parallelism: the threads to work with.
  /// - Returns: `X`, of the shape of `B`.
  package func solve(_ right: Matrix<Scalar>, parallelism: Parallelism) -> Matrix<Scalar> {
    var solution = right
    let (rows, columns) = (right.rowCount, right.columnCount)
    guard rows > 0, columns > 0 else { return solution }
    unsafe solution.withUnsafeMutablePointer { base, stride in
      unsafe factor.withUnsafePointer { lower, lowerStride in
        let target = unsafe SharedAddress(base)
        let source = unsafe SharedAddress(UnsafeMutablePointer(mutating: lower))
        parallelism.forEachBlock(of: columns, blockSize: 16) { _, range in
          for transposed in [false, true] {
            unsafe Scalar.trsm(
              false, transposed, rows, range.count, UnsafePointer(source.pointer), lowerStride,
              target.pointer + range.lowerBound, stride)
          }
        }
      }
    }
    return solution
  }

  /// Replaces `B` by the solution of `A·X = B`.
  public func solve(inPlace right: inout Matrix<Scalar>) {
    solveTriangular(inPlace: &right)
    solveTriangular(inPlace: &right, transposed: true)
  }

  /// Solves `A·x = b` for a vector of `size` elements.
  public func solve(_ right: [Scalar]) -> [Scalar] {
    solve(Matrix(rows: right.count, columns: 1, elements: right)).elements
  }

  /// Replaces `B` by the solution of `L·X = B`, or of `Lᵀ·X = B` (trsm).
  ///
  /// - Parameters:
  ///   - right: `B`, size x any.
  ///   - transposed: whether the factor enters as its transpose.
  public func solveTriangular(inPlace right: inout Matrix<Scalar>, transposed: Bool = false) {
    precondition(right.rowCount == size, "\(right) has not the \(size) rows of the factor")
    solveTriangular(&right, fromRight: false, transposed: transposed)
  }

  private func solveTriangular(_ other: inout Matrix<Scalar>, fromRight: Bool, transposed: Bool) {
    let (rows, columns) = (other.rowCount, other.columnCount)
    guard rows > 0, columns > 0 else { return }
    unsafe other.withUnsafeMutablePointer { pb, ldb in
      unsafe factor.withUnsafePointer { pl, ldl in
        BLASThreads.shared.call(operations: Double(rows) * Double(columns) * Double(size)) {
          unsafe Scalar.trsm(fromRight, transposed, rows, columns, pl, ldl, pb, ldb)
        }
      }
    }
  }

  /// Replaces the rows `xᵢᵀ` of `B` by `(L⁻¹xᵢ)ᵀ`, which solves `X·Lᵀ = B` (trsm from the right).
  ///
  /// The squared norm of a resulting row is `xᵢᵀA⁻¹xᵢ`.
  ///
  /// - Parameter rows: `B`, any x size.
  public func whiten(rows: inout Matrix<Scalar>) {
    precondition(rows.columnCount == size, "\(rows) has not the \(size) columns of the factor")
    solveTriangular(&rows, fromRight: true, transposed: true)
  }

  /// The inverse `A⁻¹`, both triangles filled (potri).
  ///
  /// - Complexity: 2·size³ / 3 floating-point operations.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func inverse() -> Matrix<Scalar> {
    var result = factor
    let size = size
    guard size > 0 else { return result }
    let failed = unsafe result.withUnsafeMutablePointer { pointer, stride in
      BLASThreads.shared.call(operations: 2 * cube(size) / 3) {
        unsafe Scalar.potri(size, pointer, stride)
      }
    }
    // The diagonal of the factor is positive, so the triangle is not singular.
    precondition(failed == 0, "the factor of order \(size) is singular at \(failed)")
    result.mirrorLowerTriangle()
    return result
  }

  /// `L⁻¹`, lower triangular, with zeros above the diagonal (trtri).
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func inverseFactor() -> Matrix<Scalar> {
    var result = factor
    let size = size
    guard size > 0 else { return result }
    let failed = unsafe result.withUnsafeMutablePointer { pointer, stride in
      let failed = BLASThreads.shared.call(operations: cube(size) / 3) {
        unsafe Scalar.trtri(size, pointer, stride)
      }
      for row in 0..<size {
        for column in row + 1..<size { unsafe pointer[row * stride + column] = 0 }
      }
      return failed
    }
    precondition(failed == 0, "the factor of order \(size) is singular at \(failed)")
    return result
  }

  /// The diagonal of `A⁻¹`: column sums of squares of `L⁻¹`, in double precision.
  ///
  /// - Complexity: size³ / 3 floating-point operations.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func inverseDiagonal() -> [Scalar] {
    let inverse = inverseFactor()
    var sums = [Double](repeating: 0, count: size)
    for row in 0..<size {
      inverse.withRow(row) { values in
        for column in 0...row {
          let value = Double(values[column])
          sums[column] += value * value
        }
      }
    }
    return sums.map { Scalar($0) }
  }
}

/// The third power of the order of a matrix, in which its factorisations are counted.
func cube(_ size: Int) -> Double { Double(size) * Double(size) * Double(size) }

/// The eigendecomposition `A = Uᵀ·diag(values)·U` of a symmetric matrix, with eigenvectors as rows.
public struct SymmetricEigen<Scalar: BLASScalar>: Sendable {
  /// The eigenvalues in ascending order.
  public let values: [Scalar]
  /// The eigenvectors, size x size: row `i` belongs to `values[i]` and has norm 1.
  public let rowVectors: Matrix<Scalar>

  /// Decomposes a symmetric matrix, of which only the lower triangle is read (syevd).
  ///
  /// - Parameter matrix: size x size, symmetric, finite.
  /// - Throws: `NumericsError.notFinite` for a NaN or an infinity, `NumericsError.notConverged` if the
  ///   iteration fails.
  /// - Complexity: about 9·size³ floating-point operations.
  public init(_ matrix: Matrix<Scalar>) throws(NumericsError) {
    var vectors = matrix
    values = try Self.decompose(&vectors, withVectors: true)
    rowVectors = vectors
  }

  /// The eigenvalues of a symmetric matrix alone, in ascending order.
  ///
  /// - Parameter matrix: size x size, symmetric, finite; only the lower triangle is read.
  /// - Returns: size eigenvalues.
  /// - Throws: as ``init(_:)``.
  /// - Complexity: about 4/3·size³ floating-point operations.
  public static func values(of matrix: Matrix<Scalar>) throws(NumericsError) -> [Scalar] {
    var scratch = matrix
    return try decompose(&scratch, withVectors: false)
  }

  private static func decompose(
    _ matrix: inout Matrix<Scalar>, withVectors: Bool
  ) throws(NumericsError) -> [Scalar] {
    precondition(matrix.rowCount == matrix.columnCount, "\(matrix) is not square")
    let size = matrix.rowCount
    if let place = matrix.firstNonFinite {
      throw .notFinite(row: place.row, column: place.column)
    }
    guard size > 0 else { return [] }
    var values = [Scalar](repeating: 0, count: size)
    let failed = unsafe values.withUnsafeMutableBufferPointer { buffer in
      unsafe matrix.withUnsafeMutablePointer { pointer, stride in
        guard let target = buffer.baseAddress else { return 0 }
        return BLASThreads.shared.call(operations: 4 * cube(size) / 3) {
          unsafe Scalar.syevd(size, pointer, stride, target, withVectors: withVectors)
        }
      }
    }
    if failed > 0 { throw .notConverged(routine: "the eigendecomposition", dimension: size) }
    return values
  }
}
