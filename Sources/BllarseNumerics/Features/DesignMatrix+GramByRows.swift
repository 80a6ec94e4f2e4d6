extension DesignMatrix {
  /// The Gram matrix, each thread multiplying blocks of rows of its own by a syrk of one thread.
  ///
  /// - Parameters:
  ///   - weights: N numbers that are not negative, or `nil` for ones.
  ///   - parallelism: the threads to work with.
  /// - Returns: columnCount x columnCount, both triangles filled.
  func gramByRows(weights: [Double]?, parallelism: Parallelism) -> Matrix<Double> {
    let size = columnCount
    let stride = paddedColumnCount
    // Long enough that adding the product to the sum costs little, short enough to stay in cache.
    let blockSize = 1024
    let ownsRows = weights != nil || !isResident
    let workers = parallelism.forEachBlock(of: rowCount, blockSize: blockSize) {
      (
        block: Scratch<Scalar>(count: ownsRows ? Swift.min(blockSize, rowCount) * stride : 0),
        product: Scratch<Scalar>(count: size * stride),
        sum: Scratch<Double>(count: size * stride)
      )
    } _: { worker, range in
      let (block, product, sum) = worker
      if ownsRows { unsafe copyRows(range, into: block.pointer) }
      if let weights {
        for row in 0..<range.count {
          let factor = Scalar(weights[range.lowerBound + row].squareRoot())
          let values = unsafe block.pointer + row * stride
          for column in 0..<size { unsafe values[column] *= factor }
        }
      }
      let multiply = { (rows: UnsafePointer<Scalar>) in
        unsafe Scalar.syrk(true, size, range.count, 1, rows, stride, 0, product.pointer, stride)
      }
      if ownsRows {
        unsafe multiply(block.pointer)
      } else {
        unsafe withBlock(range, scratch: block.pointer, multiply)
      }
      for row in 0..<size {
        unsafe Scalar.kernels.accumulate(
          row + 1, 1, product.pointer + row * stride, sum.pointer + row * stride)
      }
    }
    var total = Matrix<Double>.zeros(size, size)
    unsafe total.withUnsafeMutablePointer { target, targetStride in
      for (_, _, sum) in workers {
        for row in 0..<size {
          for column in 0...row {
            unsafe target[row * targetStride + column] += sum.pointer[row * stride + column]
          }
        }
      }
    }
    total.mirrorLowerTriangle()
    return total
  }
}
