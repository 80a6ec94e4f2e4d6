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
    let factor = (cholesky.factor as? Matrix<Scalar>) ?? Matrix(cholesky.factor)
    let inverses =
      (cholesky as? Cholesky<Scalar>)?.leafInverses ?? factor.leafInverses()
    let stride = paddedColumnCount
    let columns = columnCount
    // A block and its solution stay in the second-level cache beside the factor's blocks.
    let blockSize = 256
    var result = [Double](repeating: 0, count: rowCount)
    unsafe result.withUnsafeMutableBufferPointer { target in
      guard let base = target.baseAddress else { return }
      let address = unsafe SharedAddress(base)
      _ = parallelism.forEachBlock(of: rowCount, blockSize: blockSize) {
        (
          source: Scratch<Scalar>(count: isResident ? 0 : blockSize * stride),
          solution: Scratch<Scalar>(count: blockSize * stride),
          rest: Scratch<Scalar>(count: blockSize * Cholesky<Scalar>.leafSize)
        )
      } _: { worker, range in
        let (source, solution, rest) = worker
        unsafe withBlock(range, scratch: source.pointer) { rows in
          unsafe solution.pointer.update(from: rows, count: range.count * stride)
        }
        unsafe factor.withUnsafePointer { l, ldl in
          unsafe inverses.withUnsafePointer { inverses, _ in
            unsafe TriangularBlocks<Scalar>(l: l, ldl: ldl, inverses: inverses).solve(
              solution.pointer, stride: stride, rows: range.count, order: 0..<columns,
              scratch: rest.pointer)
          }
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
