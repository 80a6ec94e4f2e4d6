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
    let failed = unsafe factor.withUnsafeMutablePointer { pointer, stride in
      guard size > 0 else { return 0 }
      return BLASThreads.shared.call(operations: cube(size) / 3) {
        unsafe Scalar.potrf(size, pointer, stride)
      }
    }
    try self.init(checking: factor, failed: failed, leafInverses: nil)
  }

  /// Takes what a factorisation left behind, unless a leading minor failed, whose order is given, or
  /// 0.
  private init(
    checking factor: Matrix<Scalar>, failed: Int, leafInverses: Matrix<Scalar>?
  ) throws(NumericsError) {
    let size = factor.rowCount
    if failed > 0 { throw .notPositiveDefinite(leadingMinor: failed, dimension: size) }
    // LAPACK compares pivots with `<= 0`, which a NaN passes.
    for index in 0..<size where !(factor[index, index] > 0 && factor[index, index].isFinite) {
      throw .notPositiveDefinite(leadingMinor: index + 1, dimension: size)
    }
    (self.factor, self.leafInverses) = (factor, leafInverses)
  }

  /// Takes a factor that was computed before, with a positive diagonal; only the lower triangle is
  /// read.
  package init(factor: Matrix<Scalar>) {
    precondition(factor.rowCount == factor.columnCount, "\(factor) is not square")
    (self.factor, leafInverses) = (factor, nil)
  }

  /// The factor in another precision.
  package func converted<Other: BLASScalar>(to type: Other.Type = Other.self) -> Cholesky<Other> {
    Cholesky<Other>(factor: (factor as? Matrix<Other>) ?? Matrix<Other>(factor))
  }

  /// The natural logarithm of the determinant of `A`, summed in double precision.
  public var logDeterminant: Double {
    2 * (0..<size).reduce(0) { $0 + log(Double(factor[$1, $1])) }
  }

  /// Solves `A·X = B`, size x any.
  public func solve(_ right: Matrix<Scalar>) -> Matrix<Scalar> {
    var solution = right
    solve(inPlace: &solution)
    return solution
  }

  /// Solves `A·X = B` for many columns, each thread for columns of its own.
  package func solve(_ right: Matrix<Scalar>, execution: Execution) -> Matrix<Scalar> {
    var solution = right
    let (rows, columns) = (right.rowCount, right.columnCount)
    guard rows > 0, columns > 0 else { return solution }
    unsafe solution.withUnsafeMutablePointer { base, stride in
      unsafe factor.withUnsafePointer { lower, lowerStride in
        let target = unsafe SharedAddress(base)
        let source = unsafe SharedAddress(UnsafeMutablePointer(mutating: lower))
        execution.forEachBlock(of: columns, blockSize: 16) { _, range in
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

  /// Replaces `B`, size x any, by the solution of `L·X = B`, or of `Lᵀ·X = B` (trsm).
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
  /// `B` is any x size. The squared norm of a resulting row is `xᵢᵀA⁻¹xᵢ`.
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
    var result = unsafe overwritten(operations: 2 * cube(size) / 3) {
      unsafe Scalar.potri($0, $1, $2)
    }
    result.mirrorLowerTriangle()
    return result
  }

  /// What a routine that returns 0, or a singular position, makes of the factor.
  private func overwritten(
    operations: Double, _ routine: (Int, UnsafeMutablePointer<Scalar>, Int) -> Int
  ) -> Matrix<Scalar> {
    var result = factor
    guard size > 0 else { return result }
    let failed = unsafe result.withUnsafeMutablePointer { pointer, stride in
      BLASThreads.shared.call(operations: operations) { unsafe routine(size, pointer, stride) }
    }
    // The diagonal of the factor is positive, so the triangle is not singular.
    precondition(failed == 0, "the factor of order \(size) is singular at \(failed)")
    return result
  }

  /// `L⁻¹`, lower triangular, with zeros above the diagonal (trtri).
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func inverseFactor() -> Matrix<Scalar> {
    var result = unsafe overwritten(operations: cube(size) / 3) { unsafe Scalar.trtri($0, $1, $2) }
    for row in 0..<size {
      result.withMutableRow(row) { values in
        for column in row + 1..<size { values[column] = 0 }
      }
    }
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

/// A lower triangle whose small blocks on the diagonal are inverted, so that solving with it consists of
/// products only: they run several times as fast as trsm and trtri do on matrices of some hundred rows.
///
/// The triangle is split in halves until a block is a leaf of at most ``leafSize`` rows:
///
///     Y·Lᵀ = X:    Y₁ = X₁·L₁₁⁻ᵀ,    Y₂ = (X₂ - Y₁·L₂₁ᵀ)·L₂₂⁻ᵀ.
@unsafe
struct TriangularBlocks<Scalar: BLASScalar> {
  /// L, of which only the lower triangle is read; rows are `ldl` apart.
  let l: UnsafePointer<Scalar>
  let ldl: Int
  /// The inverses of the leaves, one below the other, rows `leafSize` apart, zeros above the diagonal.
  let inverses: UnsafePointer<Scalar>

  @safe static var leafSize: Int { Cholesky<Scalar>.leafSize }

  /// Where an order is split: a whole number of leaves.
  @safe private static func half(_ order: Range<Int>) -> Int {
    let leaves = (order.count + leafSize - 1) / leafSize
    return order.lowerBound + leaves / 2 * leafSize
  }

  /// Replaces rows `X`, `stride` apart, by the solution of `Y·Lᵀ = X`; column `j` belongs to row `j`
  /// of L.
  ///
  /// `order` are the rows and columns of L to solve with, from a multiple of the leaf size on;
  /// `scratch` has room for `rows · leafSize` elements.
  func solve(
    _ x: UnsafeMutablePointer<Scalar>, stride: Int, rows: Int, order: Range<Int>,
    scratch: UnsafeMutablePointer<Scalar>
  ) {
    let (start, count) = (order.lowerBound, order.count)
    let size = Self.leafSize
    guard count > size else {
      for row in 0..<rows {
        unsafe (scratch + row * size).update(from: x + row * stride + start, count: count)
      }
      unsafe Scalar.gemm(
        false, true, rows, count, count, 1, scratch, size, inverses + start * size, size, 0,
        x + start, stride)
      return
    }
    let middle = Self.half(order)
    unsafe solve(x, stride: stride, rows: rows, order: start..<middle, scratch: scratch)
    unsafe Scalar.gemm(
      false, true, rows, order.upperBound - middle, middle - start, -1, x + start, stride,
      l + middle * ldl + start, ldl, 1, x + middle, stride)
    unsafe solve(x, stride: stride, rows: rows, order: middle..<order.upperBound, scratch: scratch)
  }

  /// Writes the inverse of a leaf, which holds zeros: `W_i = (e_i - Σ_{j<i} L_ij·W_j) / L_ii`, row by row.
  fileprivate static func invert(
    _ l: UnsafePointer<Scalar>, _ ldl: Int, into target: UnsafeMutablePointer<Scalar>, _ order: Int
  ) {
    for i in 0..<order {
      let row = unsafe target + i * leafSize
      for j in 0..<i {
        let factor = unsafe l[i * ldl + j]
        let other = unsafe target + j * leafSize
        for k in 0...j { unsafe row[k] -= factor * other[k] }
      }
      let scale = unsafe 1 / l[i * ldl + i]
      for k in 0..<i { unsafe row[k] *= scale }
      unsafe row[i] = scale
    }
  }

  /// Factors rows and columns of the lower triangle of a symmetric matrix in place, from a multiple
  /// of the leaf size on, and inverts the leaves into zeros, a row of `leafSize` elements for each
  /// row of the matrix.
  ///
  /// `scratch` has room for half as many such rows, rounded up to leaves. What is returned is the
  /// first leading minor that is not positive definite, or 0.
  static func factor(
    _ a: UnsafeMutablePointer<Scalar>, _ lda: Int, order: Range<Int>,
    inverses: UnsafeMutablePointer<Scalar>, scratch: UnsafeMutablePointer<Scalar>
  ) -> Int {
    let (start, end) = (order.lowerBound, order.upperBound)
    guard order.count > leafSize else {
      let failed = unsafe Scalar.potrf(order.count, a + start * lda + start, lda)
      guard failed == 0 else { return start + failed }
      unsafe invert(
        a + start * lda + start, lda, into: inverses + start * leafSize, order.count)
      return 0
    }
    let middle = half(order)
    let failed = unsafe factor(
      a, lda, order: start..<middle, inverses: inverses, scratch: scratch)
    guard failed == 0 else { return failed }
    unsafe TriangularBlocks(l: a, ldl: lda, inverses: inverses).solve(
      a + middle * lda, stride: lda, rows: end - middle, order: start..<middle, scratch: scratch)
    unsafe Scalar.syrk(
      false, end - middle, middle - start, -1, a + middle * lda + start, lda, 1,
      a + middle * lda + middle, lda)
    return unsafe factor(a, lda, order: middle..<end, inverses: inverses, scratch: scratch)
  }
}

extension Matrix where Element: BLASScalar {
  /// The inverses of the leaves of a factor, one below the other, rowCount x leafSize.
  func leafInverses() -> Matrix {
    let (order, leaf) = (rowCount, Cholesky<Element>.leafSize)
    var result = Matrix.zeros(order, leaf)
    unsafe result.withUnsafeMutablePointer { target, _ in
      unsafe withUnsafePointer { l, ldl in
        for start in Swift.stride(from: 0, to: order, by: leaf) {
          unsafe TriangularBlocks<Element>.invert(
            l + start * ldl + start, ldl, into: target + start * leaf,
            Swift.min(leaf, order - start))
        }
      }
    }
    return result
  }
}

extension Cholesky {
  /// The order of the blocks on the diagonal that are inverted.
  static var leafSize: Int { 64 }

  /// Factors a symmetric positive definite matrix by halves, of which only the lower triangle is
  /// read, in place when nobody else refers to it; on one thread it is quicker than potrf, and
  /// ``DesignMatrix/quadraticForms(_:execution:)`` need not invert leaves.
  ///
  /// - Throws: `NumericsError.notPositiveDefinite` with the first leading minor that fails.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package init(byHalves matrix: consuming Matrix<Scalar>) throws(NumericsError) {
    let size = matrix.rowCount
    precondition(matrix.columnCount == size, "\(matrix) is not square")
    var factor = matrix
    let leaf = Self.leafSize
    var inverses = Matrix<Scalar>.zeros(size, leaf)
    let scratch = Scratch<Scalar>(count: (size / 2 + leaf) * leaf)
    let failed = unsafe factor.withUnsafeMutablePointer { a, lda in
      unsafe inverses.withUnsafeMutablePointer { target, _ in
        unsafe TriangularBlocks<Scalar>.factor(
          a, lda, order: 0..<size, inverses: target, scratch: scratch.pointer)
      }
    }
    try self.init(checking: factor, failed: failed, leafInverses: inverses)
  }
}

extension Matrix where Element: BLASScalar {
  /// The lower triangle of a square matrix in another precision; what is above is unspecified.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package init(lowerTriangleOf other: Matrix<Double>) {
    precondition(other.rowCount == other.columnCount, "\(other) is not square")
    let size = other.rowCount
    unsafe self.init(rows: size, columns: size) { target in
      guard let base = target.baseAddress else { return }
      unsafe other.withUnsafePointer { source, stride in
        for row in 0..<size {
          unsafe Element.convertRows(
            1, row + 1, .double(source + row * stride, stride), base + row * size, size)
        }
      }
    }
  }
}

extension Matrix<Double> {
  /// Takes over the lower triangle of a matrix of the same order; what is above stays.
  package mutating func copyLowerTriangle(of other: Matrix<Double>) {
    precondition(
      rowCount == columnCount && other.rowCount == rowCount && other.columnCount == columnCount,
      "\(self) and \(other) are not square of one order")
    let size = rowCount
    unsafe withUnsafeMutablePointer { target, targetStride in
      unsafe other.withUnsafePointer { source, sourceStride in
        for row in 0..<size {
          unsafe (target + row * targetStride).update(
            from: source + row * sourceStride, count: row + 1)
        }
      }
    }
  }
}
