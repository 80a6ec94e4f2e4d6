import BllarseKernels

extension DesignMatrix {
  /// The product with a vector, `X·w`, in double precision.
  ///
  /// - Parameters:
  ///   - weights: columnCount numbers; they are rounded to `Scalar`.
  ///   - parallelism: the threads to work with.
  /// - Returns: one number a row.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func multiplied(by weights: [Double], parallelism: Parallelism = .available) -> [Double] {
    precondition(
      weights.count == columnCount, "\(weights.count) weights for \(columnCount) columns")
    var result = [Double](repeating: 0, count: rowCount)
    let vector = weights.map { Scalar($0) }
    unsafe result.withUnsafeMutableBufferPointer { target in
      guard let base = target.baseAddress else { return }
      let address = unsafe SharedAddress(base)
      _ = unsafe forEachBlock(parallelism) { _, range, rows in
        let products = Scratch<Scalar>(count: range.count)
        unsafe vector.withUnsafeBufferPointer { vector in
          guard let x = vector.baseAddress else { return }
          unsafe Scalar.gemv(
            false, range.count, columnCount, 1, rows, paddedColumnCount, x, 0, products.pointer)
        }
        for row in 0..<range.count {
          unsafe address.pointer[range.lowerBound + row] = Double(products.pointer[row])
        }
      }
    }
    return result
  }

  /// The product of the transpose with a vector, `Xᵀ·r`, summed over blocks of rows in double precision.
  ///
  /// - Parameters:
  ///   - values: one number a row; they are rounded to `Scalar`.
  ///   - parallelism: the threads to work with.
  /// - Returns: one number a column.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func transposeMultiplied(
    by values: [Double], parallelism: Parallelism = .available
  ) -> [Double] {
    precondition(values.count == rowCount, "\(values.count) values for \(rowCount) rows")
    let vector = values.map { Scalar($0) }
    let sums = unsafe forEachBlock(parallelism, sumCount: columnCount) { sums, range, rows in
      let products = Scratch<Scalar>(count: columnCount)
      unsafe vector.withUnsafeBufferPointer { vector in
        guard let r = vector.baseAddress else { return }
        unsafe Scalar.gemv(
          true, range.count, columnCount, 1, rows, paddedColumnCount, r + range.lowerBound, 0,
          products.pointer)
      }
      unsafe Scalar.kernels.accumulate(columnCount, 1, products.pointer, sums.pointer)
    }
    var result = [Double](repeating: 0, count: columnCount)
    for slot in sums {
      for column in result.indices { unsafe result[column] += slot.pointer[column] }
    }
    return result
  }

  /// The squared norms `xᵢᵀxᵢ` of all rows, in double precision.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func squaredNorms(parallelism: Parallelism = .available) -> [Double] {
    var result = [Double](repeating: 0, count: rowCount)
    let (columns, stride) = (columnCount, paddedColumnCount)
    unsafe result.withUnsafeMutableBufferPointer { target in
      guard let base = target.baseAddress else { return }
      let address = unsafe SharedAddress(base)
      _ = unsafe forEachBlock(parallelism) { _, range, rows in
        for row in 0..<range.count {
          unsafe address.pointer[range.lowerBound + row] = sumOfSquares(
            rows + row * stride, columns)
        }
      }
    }
    return result
  }

  private static var vectorBlockSize: Int { 512 }

  /// Hands every block of rows to one of the threads, which have some sums each.
  private func forEachBlock(
    _ parallelism: Parallelism, sumCount: Int = 0,
    _ body: @Sendable (Scratch<Double>, Range<Int>, UnsafePointer<Scalar>) -> Void
  ) -> [Scratch<Double>] {
    parallelism.forEachBlock(of: rowCount, blockSize: Self.vectorBlockSize) {
      (
        sums: Scratch<Double>(count: sumCount),
        rows: Scratch<Scalar>(
          count: isResident ? 0 : Swift.min(Self.vectorBlockSize, rowCount) * paddedColumnCount)
      )
    } _: { worker, range in
      unsafe withBlock(range, scratch: worker.rows.pointer) { rows in
        unsafe body(worker.sums, range, rows)
      }
    }.map(\.sums)
  }
}

/// The sum of the squares of `count` numbers.
func sumOfSquares<Scalar: BLASScalar>(_ values: UnsafePointer<Scalar>, _ count: Int) -> Double {
  let raw = unsafe UnsafeRawPointer(values)
  if Scalar.self == Float.self {
    let values = unsafe raw.assumingMemoryBound(to: Float.self)
    return unsafe bllarse_dot_f32(count, values, values)
  }
  let typed = unsafe raw.assumingMemoryBound(to: Double.self)
  return unsafe bllarse_dot_f64(count, typed, typed)
}

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
