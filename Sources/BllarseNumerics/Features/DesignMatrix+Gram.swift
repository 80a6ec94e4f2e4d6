extension DesignMatrix {
  /// The Gram matrix `XᵀX` of the design, in double precision.
  ///
  /// Blocks of rows are multiplied in the precision of `Scalar` (syrk) and added in double.
  ///
  /// - Returns: columnCount x columnCount, both triangles filled.
  /// - Complexity: N·columnCount² floating-point operations.
  public func gram(parallelism: Parallelism = .available) -> Matrix<Double> {
    gram(rowWeights: nil, parallelism: parallelism)
  }

  /// The Gram matrix `Xᵀ·diag(w)·X` for row weights `w` that are not negative.
  ///
  /// - Parameters:
  ///   - weights: N numbers, one for each row.
  ///   - parallelism: the threads to work with.
  /// - Returns: columnCount x columnCount, both triangles filled.
  public func gram(weights: [Double], parallelism: Parallelism = .available) -> Matrix<Double> {
    gram(rowWeights: weights, parallelism: parallelism)
  }

  /// The Gram matrix with weights or without, by whichever division of the work fits.
  ///
  /// Threads that multiply rows of their own wait for nobody; each needs memory for a Gram matrix of its
  /// own, which for very many columns and threads is too much.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func gram(rowWeights weights: [Double]?, parallelism: Parallelism) -> Matrix<Double> {
    precondition(
      weights == nil || weights?.count == rowCount,
      "\(weights?.count ?? 0) weights for \(rowCount) rows")
    let bytes = columnCount * paddedColumnCount * (MemoryLayout<Scalar>.size + 8)
    if parallelism.threadCount * bytes <= Self.ownGramLimit {
      return gramByRows(weights: weights, parallelism: parallelism)
    }
    guard let weights else { return plainGram(parallelism: parallelism) }
    var total = Matrix<Double>.zeros(columnCount, columnCount)
    let workspace = GramWorkspace(self)
    addLowerGram(weights: weights, to: &total, workspace, parallelism: parallelism)
    total.mirrorLowerTriangle()
    return total
  }

  /// Bytes that Gram matrices of single threads may take together.
  private static var ownGramLimit: Int { 128 << 20 }

  /// Memory that weighted Gram matrices of one design share, where many follow one another.
  package struct GramWorkspace {
    fileprivate let block: Scratch<Scalar>
    fileprivate let product: Scratch<Scalar>

    package init(_ design: DesignMatrix) {
      block = Scratch(
        count: Swift.min(DesignMatrix.gramBlockSize, design.rowCount) * design.paddedColumnCount)
      product = Scratch(count: design.columnCount * design.paddedColumnCount)
    }
  }

  /// A block is large enough for syrk to reach its peak and small enough to stay in cache.
  fileprivate static var gramBlockSize: Int { 2048 }

  /// Adds the lower triangle of `Xᵀ·diag(w)·X`; what is above the diagonal stays.
  ///
  /// - Parameters:
  ///   - weights: N numbers that are not negative.
  ///   - total: columnCount x columnCount.
  ///   - workspace: made for this design.
  ///   - parallelism: the threads to work with.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func addLowerGram(
    weights: [Double], to total: inout Matrix<Double>, _ workspace: GramWorkspace,
    parallelism: Parallelism
  ) {
    let size = columnCount
    let stride = paddedColumnCount
    precondition(
      weights.count == rowCount && total.rowCount == size && total.columnCount == size,
      "\(weights.count) weights and \(total) for \(rowCount) rows of \(size)")
    let address = unsafe SharedAddress(workspace.block.pointer)
    for start in Swift.stride(from: 0, to: rowCount, by: Self.gramBlockSize) {
      let count = Swift.min(Self.gramBlockSize, rowCount - start)
      parallelism.forEachBlock(of: count, blockSize: 128) { _, part in
        let target = unsafe address.pointer + part.lowerBound * stride
        unsafe withBlock(
          start + part.lowerBound..<start + part.upperBound, scratch: target
        ) { rows in
          for row in 0..<part.count {
            let factor = Scalar(weights[start + part.lowerBound + row].squareRoot())
            let (values, source) = unsafe (target + row * stride, rows + row * stride)
            for column in 0..<size { unsafe values[column] = factor * source[column] }
          }
        }
      }
      parallelism.withBLAS {
        unsafe Scalar.syrk(
          true, size, count, 1, address.pointer, stride, 0, workspace.product.pointer, stride)
      }
      unsafe total.withUnsafeMutablePointer { target, targetStride in
        for row in 0..<size {
          unsafe Scalar.kernels.accumulate(
            row + 1, 1, workspace.product.pointer + row * stride, target + row * targetStride)
        }
      }
    }
  }

  private func plainGram(parallelism: Parallelism) -> Matrix<Double> {
    let size = columnCount
    let stride = paddedColumnCount
    var total = Matrix<Double>.zeros(size, size)
    guard rowCount > 0 else { return total }
    var product = Matrix<Scalar>.zeros(size, size)
    let blockSize = Self.gramBlockSize
    let block = Scratch<Scalar>(count: isResident ? 0 : Swift.min(blockSize, rowCount) * stride)
    for start in Swift.stride(from: 0, to: rowCount, by: blockSize) {
      let range = start..<Swift.min(start + blockSize, rowCount)
      let address = unsafe SharedAddress(block.pointer)
      if !isResident {
        parallelism.forEachBlock(of: range.count, blockSize: 128) { _, part in
          unsafe copyRows(
            start + part.lowerBound..<start + part.upperBound,
            into: address.pointer + part.lowerBound * stride)
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
      unsafe Element.syrk(true, size, count, 1, rows, stride, 0, target, ldc)
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
          unsafe Scalar.kernels.accumulate(
            row + 1, 1, source + row * sourceStride, target + row * targetStride)
        }
      }
    }
  }
}

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
