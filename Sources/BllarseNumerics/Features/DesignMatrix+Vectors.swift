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
          unsafe Scalar._gemv(
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
        unsafe Scalar._gemv(
          true, range.count, columnCount, 1, rows, paddedColumnCount, r + range.lowerBound, 0,
          products.pointer)
      }
      unsafe Scalar._accumulate(columnCount, 1, products.pointer, sums[worker].pointer)
    }
    var result = [Double](repeating: 0, count: columnCount)
    for slot in sums.values {
      for column in result.indices { unsafe result[column] += slot.pointer[column] }
    }
    return result
  }

  /// The quadratic forms `xᵢᵀA⁻¹xᵢ` of all rows: variances of logits under a Gaussian of precision A.
  ///
  /// - Parameters:
  ///   - cholesky: of A, columnCount x columnCount; its factor is rounded to `Scalar`.
  ///   - parallelism: the threads to work with.
  /// - Returns: one number a row, not negative.
  /// - Complexity: N·columnCount² floating-point operations: a triangular solve by blocks, whose products
  ///   run at the speed of gemm.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func quadraticForms(
    _ cholesky: Cholesky<Double>, parallelism: Parallelism = .available
  ) -> [Double] {
    precondition(
      cholesky.size == columnCount, "a factor of order \(cholesky.size) for \(columnCount) columns")
    let factor = TriangularBlocks<Scalar>(cholesky)
    let stride = paddedColumnCount
    let columns = columnCount
    var result = [Double](repeating: 0, count: rowCount)
    unsafe result.withUnsafeMutableBufferPointer { target in
      guard let base = target.baseAddress else { return }
      let address = unsafe SharedAddress(base)
      let scratch = WorkerSlots(
        (0..<parallelism.threadCount).map { _ in
          Scratch<Scalar>(count: 2 * Self.vectorBlockSize * stride)
        })
      parallelism.forEachBlock(of: rowCount, blockSize: Self.vectorBlockSize) { worker, range in
        let rows = unsafe scratch[worker].pointer
        unsafe copyRows(range, into: rows)
        let solution = unsafe rows + Self.vectorBlockSize * stride
        unsafe factor.solve(rows, into: solution, count: range.count, stride: stride)
        for row in 0..<range.count {
          unsafe address.pointer[range.lowerBound + row] = sumOfSquares(
            solution + row * stride, columns)
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

/// The sum of squares of `count` numbers, in four interleaved sums so that it does not wait for each
/// addition.
private func sumOfSquares<Scalar: BLASScalar>(
  _ values: UnsafePointer<Scalar>, _ count: Int
) -> Double {
  var sums = SIMD4<Double>(repeating: 0)
  var index = 0
  while index + 4 <= count {
    let four = unsafe SIMD4<Double>(
      Double(values[index]), Double(values[index + 1]), Double(values[index + 2]),
      Double(values[index + 3]))
    sums += four * four
    index += 4
  }
  var sum = sums.sum()
  while index < count {
    let value = unsafe Double(values[index])
    sum += value * value
    index += 1
  }
  return sum
}

/// A Cholesky factor prepared for solving many right-hand sides: its blocks on the diagonal inverted, so
/// that a solve consists of products only.
private struct TriangularBlocks<Scalar: BLASScalar>: Sendable {
  private let factor: Matrix<Scalar>
  /// The inverses of the blocks on the diagonal.
  private let inverses: [Matrix<Scalar>]
  private static var blockSize: Int { 128 }

  init(_ cholesky: Cholesky<Double>) {
    factor = Matrix(cholesky.factor)
    var inverses: [Matrix<Scalar>] = []
    for start in stride(from: 0, to: cholesky.size, by: Self.blockSize) {
      let range = start..<Swift.min(start + Self.blockSize, cholesky.size)
      let block = Cholesky(factor: cholesky.factor.rows(range).columns(range).compact())
      inverses.append(Matrix(block.inverseFactor()))
    }
    self.inverses = inverses
  }

  /// Solves `Y·Lᵀ = X` for `count` rows, `stride` apart; X is overwritten.
  func solve(
    _ x: UnsafeMutablePointer<Scalar>, into y: UnsafeMutablePointer<Scalar>, count: Int, stride: Int
  ) {
    let size = factor.rowCount
    unsafe factor.withUnsafePointer { l, ldl in
      for (index, inverse) in inverses.enumerated() {
        let start = index * Self.blockSize
        let width = inverse.rowCount
        let rest = size - start - width
        unsafe inverse.withUnsafePointer { block, ldb in
          unsafe Scalar._gemm(
            false, true, count, width, width, 1, x + start, stride, block, ldb, 0, y + start,
            stride)
        }
        guard rest > 0 else { continue }
        unsafe Scalar._gemm(
          false, true, count, rest, width, -1, y + start, stride,
          l + (start + width) * ldl + start, ldl, 1, x + start + width, stride)
      }
    }
  }
}
