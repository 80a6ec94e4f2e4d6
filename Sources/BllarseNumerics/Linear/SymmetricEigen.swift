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
