extension DesignMatrix {
  /// The largest order of matrices for which one thread of BLAS at a time is the better choice.
  ///
  /// Below it a factorisation takes milliseconds, less than threads that wait for one another may cost
  /// on a machine that others use too.
  package static var smallOrder: Int { 768 }

  /// The Gram matrix `Xᵀ·diag(w)·X`, each thread multiplying rows of its own while the order is small,
  /// by a product of many threads when it is not.
  ///
  /// - Parameters:
  ///   - weights: N numbers that are not negative, or `nil` for ones.
  ///   - parallelism: the threads to work with.
  /// - Returns: columnCount x columnCount, both triangles filled.
  /// - Complexity: N·columnCount² floating-point operations.
  package func gram(rowWeights weights: [Double]?, parallelism: Parallelism) -> Matrix<Double> {
    let size = columnCount
    guard size <= Self.smallOrder else {
      if let weights { return gram(weights: weights, parallelism: parallelism) }
      return gram(parallelism: parallelism)
    }
    precondition(
      weights == nil || weights?.count == rowCount,
      "\(weights?.count ?? 0) weights for \(rowCount) rows")
    let stride = paddedColumnCount
    let blockSize = 512
    let workers = Swift.max(
      1, Swift.min(parallelism.threadCount, (rowCount + blockSize - 1) / blockSize))
    let blocks = WorkerSlots((0..<workers).map { _ in Scratch<Scalar>(count: blockSize * stride) })
    let products = WorkerSlots((0..<workers).map { _ in Scratch<Scalar>(count: size * size) })
    let sums = WorkerSlots((0..<workers).map { _ in Scratch<Double>(count: size * size) })
    Parallelism(threadCount: workers).forEachBlock(of: rowCount, blockSize: blockSize) {
      worker, range in
      let (block, product, sum) = (blocks[worker], products[worker], sums[worker])
      unsafe copyRows(range, into: block.pointer)
      if let weights {
        for row in 0..<range.count {
          let factor = Scalar(weights[range.lowerBound + row].squareRoot())
          let values = unsafe block.pointer + row * stride
          for column in 0..<size { unsafe values[column] *= factor }
        }
      }
      unsafe Scalar._syrk(
        true, size, range.count, 1, block.pointer, stride, 0, product.pointer, size)
      for row in 0..<size {
        unsafe Scalar._accumulate(
          row + 1, 1, product.pointer + row * size, sum.pointer + row * size)
      }
    }
    // In the order of the workers, so that the result does not depend on who finished first.
    var total = Matrix<Double>.zeros(size, size)
    unsafe total.withUnsafeMutablePointer { target, targetStride in
      for sum in sums.values {
        for row in 0..<size {
          for column in 0...row {
            unsafe target[row * targetStride + column] += sum.pointer[row * size + column]
          }
        }
      }
    }
    total.mirrorLowerTriangle()
    return total
  }
}

extension Parallelism {
  /// The threads for factorisations of square matrices: one for small ones.
  ///
  /// - Parameter order: the number of rows and columns.
  /// - Returns: this, or one thread.
  package func forSquareMatrices(order: Int) -> Parallelism {
    order <= DesignMatrix<Float>.smallOrder ? with(threadCount: 1) : self
  }
}
