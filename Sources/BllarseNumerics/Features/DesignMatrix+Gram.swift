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
    var total = Matrix<Double>.zeros(columnCount, columnCount)
    let workspace = GramWorkspace(self, isWeighted: weights != nil)
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

    package init(_ design: DesignMatrix, isWeighted: Bool = true) {
      let rows = Swift.min(DesignMatrix.gramBlockSize, design.rowCount)
      // Resident rows are multiplied where they are, if they have no weights.
      let isNeeded = isWeighted || !design.isResident
      block = Scratch(count: isNeeded ? rows * design.paddedColumnCount : 0)
      product = Scratch(count: design.columnCount * design.paddedColumnCount)
    }
  }

  /// A block is large enough for syrk to reach its peak and small enough to stay in cache.
  fileprivate static var gramBlockSize: Int { 2048 }

  /// Adds the lower triangle of `Xᵀ·diag(w)·X`; what is above the diagonal stays.
  ///
  /// - Parameters:
  ///   - weights: N numbers that are not negative, or `nil` for ones.
  ///   - total: columnCount x columnCount.
  ///   - workspace: made for this design.
  ///   - parallelism: the threads to work with.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func addLowerGram(
    weights: [Double]?, to total: inout Matrix<Double>, _ workspace: GramWorkspace,
    parallelism: Parallelism
  ) {
    let size = columnCount
    let stride = paddedColumnCount
    precondition(
      weights?.count ?? rowCount == rowCount && total.rowCount == size && total.columnCount == size,
      "\(weights?.count ?? 0) weights and \(total) for \(rowCount) rows of \(size)")
    let address = unsafe SharedAddress(workspace.block.pointer)
    for start in Swift.stride(from: 0, to: rowCount, by: Self.gramBlockSize) {
      let range = start..<Swift.min(start + Self.gramBlockSize, rowCount)
      if weights != nil || !isResident {
        parallelism.forEachBlock(of: range.count, blockSize: 128) { _, part in
          let target = unsafe address.pointer + part.lowerBound * stride
          let rows = start + part.lowerBound..<start + part.upperBound
          unsafe copyRows(rows, into: target)
          if let weights { unsafe scaleRows(rows, of: target, byRootsOf: weights) }
        }
      }
      let multiply = { (rows: UnsafePointer<Scalar>) in
        parallelism.withBLAS {
          unsafe Scalar.syrk(
            true, size, range.count, 1, rows, stride, 0, workspace.product.pointer, stride)
        }
      }
      if weights != nil || !isResident {
        unsafe multiply(workspace.block.pointer)
      } else {
        unsafe withBlock(range, scratch: workspace.block.pointer, multiply)
      }
      unsafe total.withUnsafeMutablePointer { target, targetStride in
        for row in 0..<size {
          unsafe Scalar.kernels.accumulate(
            row + 1, 1, workspace.product.pointer + row * stride, target + row * targetStride)
        }
      }
    }
  }

  /// Multiplies rows in memory, `paddedColumnCount` apart, by the roots of their weights.
  private func scaleRows(
    _ rows: Range<Int>, of values: UnsafeMutablePointer<Scalar>, byRootsOf weights: [Double]
  ) {
    for row in 0..<rows.count {
      let factor = Scalar(weights[rows.lowerBound + row].squareRoot())
      let values = unsafe values + row * paddedColumnCount
      for column in 0..<columnCount { unsafe values[column] *= factor }
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
      if let weights { unsafe scaleRows(range, of: block.pointer, byRootsOf: weights) }
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
