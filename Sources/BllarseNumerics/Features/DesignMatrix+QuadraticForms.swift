extension DesignMatrix {
  /// The quadratic forms `xᵢᵀA⁻¹xᵢ` of all rows: variances of logits under a Gaussian of precision A.
  ///
  /// - Parameters:
  ///   - cholesky: of A, columnCount x columnCount; its factor is rounded to `Scalar`.
  ///   - parallelism: the threads to work with.
  /// - Returns: one number a row, not negative.
  /// - Complexity: N·columnCount² floating-point operations: a triangular solve by blocks, whose products
  ///   run at the speed of gemm (four times that of trsm).
  @specialized(where Scalar == Float, Factor == Float)
  @specialized(where Scalar == Float, Factor == Double)
  @specialized(where Scalar == Double, Factor == Double)
  public func quadraticForms<Factor: BLASScalar>(
    _ cholesky: Cholesky<Factor>, parallelism: Parallelism = .available
  ) -> [Double] {
    precondition(
      cholesky.size == columnCount, "a factor of order \(cholesky.size) for \(columnCount) columns")
    let factor = TriangularBlocks<Scalar>(cholesky)
    let stride = paddedColumnCount
    let columns = columnCount
    // A block and its solution stay in the second-level cache beside the factor's blocks.
    let blockSize = 256
    var result = [Double](repeating: 0, count: rowCount)
    unsafe result.withUnsafeMutableBufferPointer { target in
      guard let base = target.baseAddress else { return }
      let address = unsafe SharedAddress(base)
      let scratch = WorkerSlots(
        (0..<parallelism.threadCount).map { _ in
          (
            Scratch<Scalar>(count: isResident ? 0 : blockSize * stride),
            Scratch<Scalar>(count: blockSize * stride),
            Scratch<Scalar>(count: blockSize * TriangularBlocks<Scalar>.blockSize)
          )
        })
      parallelism.forEachBlock(of: rowCount, blockSize: blockSize) { worker, range in
        let (source, solution, rest) = scratch[worker]
        unsafe withBlock(range, scratch: source.pointer) { rows in
          unsafe factor.solve(
            rows, into: solution.pointer, rest: rest.pointer, count: range.count, stride: stride)
        }
        for row in 0..<range.count {
          unsafe address.pointer[range.lowerBound + row] = sumOfSquares(
            solution.pointer + row * stride, columns)
        }
      }
    }
    return result
  }
}

/// A Cholesky factor prepared for solving many right-hand sides: its blocks on the diagonal inverted, so
/// that a solve consists of products only.
private struct TriangularBlocks<Scalar: BLASScalar>: Sendable {
  private let factor: Matrix<Scalar>
  /// The inverses of the blocks on the diagonal.
  private let inverses: [Matrix<Scalar>]
  static var blockSize: Int { 128 }

  init<Factor: BLASScalar>(_ cholesky: Cholesky<Factor>) {
    factor = (cholesky.factor as? Matrix<Scalar>) ?? Matrix(cholesky.factor)
    var inverses: [Matrix<Scalar>] = []
    for start in stride(from: 0, to: cholesky.size, by: Self.blockSize) {
      let range = start..<Swift.min(start + Self.blockSize, cholesky.size)
      let block = Cholesky(factor: cholesky.factor.rows(range).columns(range).compact())
      let inverse = block.inverseFactor()
      inverses.append((inverse as? Matrix<Scalar>) ?? Matrix(inverse))
    }
    self.inverses = inverses
  }

  /// Solves `Y·Lᵀ = X` for `count` rows, `stride` apart, block of columns after block of columns.
  ///
  ///     Y_j = (X_j - Σ_{i<j} Y_i·L_jiᵀ)·L_jj⁻ᵀ.
  func solve(
    _ x: UnsafePointer<Scalar>, into y: UnsafeMutablePointer<Scalar>,
    rest: UnsafeMutablePointer<Scalar>, count: Int, stride: Int
  ) {
    unsafe factor.withUnsafePointer { l, ldl in
      for (index, inverse) in inverses.enumerated() {
        let start = index * Self.blockSize
        let width = inverse.rowCount
        for row in 0..<count {
          unsafe (rest + row * Self.blockSize).update(from: x + row * stride + start, count: width)
        }
        if start > 0 {
          unsafe Scalar._gemm(
            false, true, count, width, start, -1, y, stride, l + start * ldl, ldl, 1, rest,
            Self.blockSize)
        }
        unsafe inverse.withUnsafePointer { block, ldb in
          unsafe Scalar._gemm(
            false, true, count, width, width, 1, rest, Self.blockSize, block, ldb, 0, y + start,
            stride)
        }
      }
    }
  }
}
