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
      unsafe forEachBlock(parallelism) { _, range, rows in
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
    let sums = WorkerSlots(
      (0..<parallelism.threadCount).map { _ in Scratch<Double>(count: columnCount) })
    unsafe forEachBlock(parallelism) { worker, range, rows in
      let products = Scratch<Scalar>(count: columnCount)
      unsafe vector.withUnsafeBufferPointer { vector in
        guard let r = vector.baseAddress else { return }
        unsafe Scalar.gemv(
          true, range.count, columnCount, 1, rows, paddedColumnCount, r + range.lowerBound, 0,
          products.pointer)
      }
      unsafe Scalar.kernels.accumulate(columnCount, 1, products.pointer, sums[worker].pointer)
    }
    var result = [Double](repeating: 0, count: columnCount)
    for slot in sums.values {
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
      unsafe forEachBlock(parallelism) { _, range, rows in
        for row in 0..<range.count {
          unsafe address.pointer[range.lowerBound + row] = sumOfSquares(
            rows + row * stride, columns)
        }
      }
    }
    return result
  }

  private static var vectorBlockSize: Int { 512 }

  /// Hands every block of rows to one of the threads.
  private func forEachBlock(
    _ parallelism: Parallelism, _ body: @Sendable (Int, Range<Int>, UnsafePointer<Scalar>) -> Void
  ) {
    let scratch = WorkerSlots(
      (0..<parallelism.threadCount).map { _ in
        Scratch<Scalar>(
          count: isResident ? 0 : Swift.min(Self.vectorBlockSize, rowCount) * paddedColumnCount)
      })
    parallelism.forEachBlock(of: rowCount, blockSize: Self.vectorBlockSize) { worker, range in
      unsafe withBlock(range, scratch: scratch[worker].pointer) { rows in
        unsafe body(worker, range, rows)
      }
    }
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
