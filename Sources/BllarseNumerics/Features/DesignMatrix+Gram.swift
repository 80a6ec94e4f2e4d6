extension DesignMatrix {
  /// The Gram matrix `XᵀX` of the design, in double precision.
  ///
  /// Blocks of rows are multiplied in the precision of `Scalar` (syrk) and added in double.
  ///
  /// - Returns: columnCount x columnCount, both triangles filled.
  /// - Complexity: N·columnCount² floating-point operations.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func gram(parallelism: Parallelism = .available) -> Matrix<Double> {
    weightedGram(parallelism: parallelism) { _ in nil }
  }

  /// The Gram matrix `Xᵀ·diag(w)·X` for row weights `w` that are not negative.
  ///
  /// - Parameters:
  ///   - weights: N numbers, one for each row.
  ///   - base: a symmetric matrix to which it is added, or `nil`.
  ///   - parallelism: the threads to work with.
  /// - Returns: columnCount x columnCount, both triangles filled.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func gram(
    weights: [Double], adding base: Matrix<Double>? = nil, parallelism: Parallelism = .available
  ) -> Matrix<Double> {
    precondition(weights.count == rowCount, "\(weights.count) weights for \(rowCount) rows")
    return weightedGram(parallelism: parallelism, adding: base) { weights[$0] }
  }

  private func weightedGram(
    parallelism: Parallelism, adding base: Matrix<Double>? = nil,
    weight: @Sendable @escaping (Int) -> Double?
  ) -> Matrix<Double> {
    let size = columnCount
    let stride = paddedColumnCount
    var total = base ?? Matrix<Double>.zeros(size, size)
    precondition(
      total.rowCount == size && total.columnCount == size,
      "\(total) added to a Gram matrix of order \(size)")
    guard rowCount > 0 else { return total }
    // A block is large enough for syrk to reach its peak and small enough to stay in cache.
    let blockSize = 2048
    var product = Matrix<Scalar>.zeros(size, size)
    let block = Scratch<Scalar>(count: Swift.min(blockSize, rowCount) * stride)
    let weighted = rowCount > 0 && weight(0) != nil
    for start in Swift.stride(from: 0, to: rowCount, by: blockSize) {
      let range = start..<Swift.min(start + blockSize, rowCount)
      let address = unsafe SharedAddress(block.pointer)
      if weighted || !isResident {
        parallelism.forEachBlock(of: range.count, blockSize: 128) { _, part in
          let target = unsafe address.pointer + part.lowerBound * stride
          let rows = (start + part.lowerBound)..<(start + part.upperBound)
          unsafe copyRows(rows, into: target)
          guard weighted else { return }
          for row in 0..<part.count {
            let factor = Scalar((weight(start + part.lowerBound + row) ?? 1).squareRoot())
            for column in 0..<size { unsafe target[row * stride + column] *= factor }
          }
        }
        parallelism.withBLAS {
          unsafe product.formSyrk(address.pointer, rows: range.count, stride: stride)
        }
      } else {
        unsafe withBlock(range, scratch: unsafe address.pointer) { rows in
          parallelism.withBLAS {
            unsafe product.formSyrk(rows, rows: range.count, stride: stride)
          }
        }
      }
      total.addLowerTriangle(product)
    }
    total.mirrorLowerTriangle()
    return total
  }
}

extension Matrix where Element: BLASScalar {
  /// Overwrites the lower triangle with `AᵀA` for rows in raw memory.
  fileprivate mutating func formSyrk(_ rows: UnsafePointer<Element>, rows count: Int, stride: Int) {
    let size = rowCount
    unsafe withUnsafeMutablePointer { target, ldc in
      unsafe Element._syrk(true, size, count, 1, rows, stride, 0, target, ldc)
    }
  }
}

extension Matrix<Double> {
  /// Adds the lower triangle of a matrix of another precision.
  fileprivate mutating func addLowerTriangle<Scalar: BLASScalar>(_ other: Matrix<Scalar>) {
    let size = rowCount
    unsafe withUnsafeMutablePointer { target, targetStride in
      unsafe other.withUnsafePointer { source, sourceStride in
        for row in 0..<size {
          unsafe Scalar._accumulate(
            row + 1, 1, source + row * sourceStride, target + row * targetStride)
        }
      }
    }
  }
}
