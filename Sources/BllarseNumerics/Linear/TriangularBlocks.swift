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

  /// Replaces rows `X` by the solution of `Y·Lᵀ = X`.
  ///
  /// - Parameters:
  ///   - x: the rows; column `j` belongs to row `j` of L.
  ///   - stride: elements between the starts of two rows.
  ///   - rows: how many.
  ///   - order: the rows and columns of L to solve with, from a multiple of the leaf size on.
  ///   - scratch: room for `rows · leafSize` elements.
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

  /// Factors the lower triangle of a symmetric matrix in place, and inverts the leaves.
  ///
  /// - Parameters:
  ///   - a: the matrix.
  ///   - lda: elements between the starts of two rows.
  ///   - order: the rows and columns to factor, from a multiple of the leaf size on.
  ///   - inverses: zeros, a row of `leafSize` elements for each row of the matrix.
  ///   - scratch: room for half as many such rows, rounded up to leaves.
  /// - Returns: the first leading minor that is not positive definite, or 0.
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

  /// Factors a symmetric matrix by halves, of which only the lower triangle is read; on one thread it is
  /// quicker than potrf, and ``DesignMatrix/quadraticForms(_:parallelism:)`` need not invert leaves.
  ///
  /// - Parameter matrix: size x size, symmetric, positive definite; it is factored in place when nobody
  ///   else refers to it.
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
    var failed = unsafe factor.withUnsafeMutablePointer { a, lda in
      unsafe inverses.withUnsafeMutablePointer { target, _ in
        unsafe TriangularBlocks<Scalar>.factor(
          a, lda, order: 0..<size, inverses: target, scratch: scratch.pointer)
      }
    }
    // LAPACK compares pivots with `<= 0`, which a NaN passes.
    if failed == 0 {
      failed =
        (0..<size).first { !(factor[$0, $0] > 0 && factor[$0, $0].isFinite) }.map { $0 + 1 } ?? 0
    }
    if failed > 0 { throw .notPositiveDefinite(leadingMinor: failed, dimension: size) }
    self.init(factor: factor, leafInverses: inverses)
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
