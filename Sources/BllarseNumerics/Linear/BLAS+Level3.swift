extension Matrix where Element: BLASScalar {
  /// Forms `c = alpha · op(a) · op(b) + beta · c` (gemm).
  ///
  /// - Parameters:
  ///   - a: op(a) is m x k.
  ///   - transposingA: whether op(a) is the transpose of `a`.
  ///   - b: op(b) is k x n.
  ///   - transposingB: whether op(b) is the transpose of `b`.
  ///   - c: m x n; it is not read when `beta` is 0.
  ///   - alpha: the factor of the product.
  ///   - beta: the factor of what `c` held.
  /// - Complexity: 2·m·n·k floating-point operations.
  public static func multiply(
    _ a: Matrix, transposingA: Bool = false, _ b: Matrix, transposingB: Bool = false,
    into c: inout Matrix, alpha: Element = 1, beta: Element = 0
  ) {
    let (m, k) = transposingA ? (a.columnCount, a.rowCount) : (a.rowCount, a.columnCount)
    let (kOfB, n) = transposingB ? (b.columnCount, b.rowCount) : (b.rowCount, b.columnCount)
    precondition(
      k == kOfB && c.rowCount == m && c.columnCount == n,
      "cannot multiply \(m) x \(k) by \(kOfB) x \(n) into \(c.rowCount) x \(c.columnCount)")
    guard m > 0, n > 0 else { return }
    unsafe c.withUnsafeMutablePointer { pc, ldc in
      unsafe a.withUnsafePointer { pa, lda in
        unsafe b.withUnsafePointer { pb, ldb in
          BLASThreads.shared.call(operations: 2 * Double(m) * Double(n) * Double(k)) {
            unsafe Element.gemm(
              transposingA, transposingB, m, n, k, alpha, pa, Swift.max(lda, 1), pb,
              Swift.max(ldb, 1), beta, pc, ldc)
          }
        }
      }
    }
  }

  /// The product `op(self) · op(other)` (gemm).
  ///
  /// - Parameters:
  ///   - other: the right factor.
  ///   - transposing: whether this matrix enters as its transpose.
  ///   - transposingOther: whether `other` enters as its transpose.
  /// - Returns: the product, a matrix of its own.
  public func multiplied(
    by other: Matrix, transposing: Bool = false, transposingOther: Bool = false
  ) -> Matrix {
    var result = Matrix.zeros(
      transposing ? columnCount : rowCount,
      transposingOther ? other.rowCount : other.columnCount)
    Matrix.multiply(
      self, transposingA: transposing, other, transposingB: transposingOther, into: &result)
    return result
  }

  /// The Gram matrix `selfᵀ · self`, both triangles filled (syrk).
  ///
  /// - Returns: columnCount x columnCount.
  /// - Complexity: rowCount · columnCount² floating-point operations.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  public func gram() -> Matrix {
    var result = Matrix.zeros(columnCount, columnCount)
    guard rowCount > 0, columnCount > 0 else { return result }
    unsafe result.withUnsafeMutablePointer { target, ldc in
      unsafe withUnsafePointer { source, lda in
        BLASThreads.shared.call(
          operations: Double(rowCount) * Double(columnCount) * Double(columnCount)
        ) {
          unsafe Element.syrk(true, columnCount, rowCount, 1, source, lda, 0, target, ldc)
        }
      }
    }
    result.mirrorLowerTriangle()
    return result
  }

  /// Forms `self = keep · self + rowsᵀ · rows` in the lower triangle (syrk); what is above the diagonal
  /// has no meaning afterwards.
  ///
  /// - Parameters:
  ///   - rows: any x columnCount.
  ///   - keep: the factor of what the matrix held.
  /// - Complexity: rows · columnCount² floating-point operations.
  package mutating func addLowerGram(of rows: Matrix, keeping keep: Element) {
    precondition(
      rowCount == columnCount && rows.columnCount == columnCount, "\(rows) added to \(self)")
    let size = rowCount
    unsafe withUnsafeMutablePointer { target, ldc in
      unsafe rows.withUnsafePointer { source, lda in
        BLASThreads.shared.call(
          operations: Double(rows.rowCount) * Double(size) * Double(size)
        ) {
          unsafe Element.syrk(true, size, rows.rowCount, 1, source, lda, keep, target, ldc)
        }
      }
    }
  }

  /// Copies the lower triangle of a square matrix to the upper one.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  public mutating func mirrorLowerTriangle() {
    precondition(rowCount == columnCount, "\(self) is not square")
    let size = rowCount
    unsafe withUnsafeMutablePointer { pointer, stride in
      let tile = 32
      for rowStart in Swift.stride(from: 0, to: size, by: tile) {
        for columnStart in Swift.stride(from: 0, through: rowStart, by: tile) {
          for row in rowStart..<Swift.min(rowStart + tile, size) {
            for column in columnStart..<Swift.min(columnStart + tile, row) {
              unsafe pointer[column * stride + row] = pointer[row * stride + column]
            }
          }
        }
      }
    }
  }
}
