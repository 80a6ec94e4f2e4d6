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
