import BllarseKernels

/// The matrix that a head works on: transformed features, with a last column of ones if wanted.
///
/// The rows are made block by block from the features as they are stored, so the design matrix itself
/// need not exist; ``makeResident(limit:execution:)`` keeps it in memory where that is affordable.
public struct DesignMatrix<Scalar: BLASScalar>: Sendable {
  /// The features as they are stored, N x D (without the column of ones).
  public let features: FeatureMatrix
  /// How a row of features becomes a row of the design.
  public let transform: FeatureTransform
  /// Whether every row ends with a 1.
  public let hasBias: Bool

  /// Rows in memory, `paddedColumnCount` apart, or `nil` when they are made on demand.
  private var resident: Matrix<Scalar>?

  /// The number of rows.
  public var rowCount: Int { features.rowCount }
  /// The number of columns, including that of ones.
  public var columnCount: Int { features.columnCount + (hasBias ? 1 : 0) }

  /// Elements between the starts of two rows of a block: whole vectors of 64 bytes, zero at the end.
  package var paddedColumnCount: Int {
    RowBlocks<Scalar>.padded(columnCount)
  }

  /// Describes the design of features, N x D, finite.
  public init(_ features: FeatureMatrix, transform: FeatureTransform, hasBias: Bool) {
    if case .columns(let scale, let shift) = transform {
      precondition(
        scale.count == features.columnCount && shift.count == features.columnCount,
        "\(scale.count) scales and \(shift.count) shifts for \(features.columnCount) features")
    }
    if case .centredLayerNorm(_, let mean) = transform {
      precondition(
        mean.count == features.columnCount,
        "\(mean.count) means for \(features.columnCount) features")
    }
    self.features = features
    self.transform = transform
    self.hasBias = hasBias
  }

  /// A view of a range of rows, sharing memory.
  public func rows(_ range: Range<Int>) -> DesignMatrix {
    var view = DesignMatrix(features.rows(range), transform: transform, hasBias: hasBias)
    view.resident = resident?.rows(range)
    return view
  }

  /// Makes all rows now and keeps them, if they take at most `limit` bytes.
  ///
  /// Iterative fits read the design many times; transforming it once saves a third of a pass over few
  /// classes.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public mutating func makeResident(limit: Int, execution: Execution) {
    let stride = paddedColumnCount
    guard resident == nil, rowCount * stride * MemoryLayout<Scalar>.size <= limit else { return }
    let columns = columnCount
    let source = self
    let whole = unsafe Matrix<Scalar>(rows: rowCount, columns: stride) { target in
      guard let base = target.baseAddress else { return }
      let address = unsafe SharedAddress(base)
      execution.forEachBlock(of: source.rowCount, blockSize: 256) { _, range in
        unsafe source.fill(range, into: address.pointer + range.lowerBound * stride)
      }
    }
    resident = whole.columns(0..<columns)
  }

  /// The design of some rows, in any order.
  ///
  /// Of a resident design it is resident, and a copy of what is in memory, not of the features.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func gathering(_ rows: [Int], execution: Execution) -> DesignMatrix {
    guard let resident else {
      return DesignMatrix(features.gatheringRows(rows), transform: transform, hasBias: hasBias)
    }
    precondition(
      rows.allSatisfy { $0 >= 0 && $0 < rowCount }, "a row of \(rowCount) does not exist")
    let stride = paddedColumnCount
    let whole = unsafe Matrix<Scalar>(rows: rows.count, columns: stride) { target in
      guard let base = target.baseAddress else { return }
      let address = unsafe SharedAddress(base)
      execution.forEachBlock(of: rows.count, blockSize: 256) { _, range in
        unsafe resident.withUnsafePointer { source, sourceStride in
          for place in range {
            unsafe (address.pointer + place * stride).update(
              from: source + rows[place] * sourceStride, count: stride)
          }
        }
      }
    }
    var design = DesignMatrix(
      FeatureMatrix(storing: whole.columns(0..<features.columnCount)), transform: .identity,
      hasBias: hasBias)
    design.resident = whole.columns(0..<columnCount)
    return design
  }

  /// The rows of a range as a matrix of their own, range.count x columnCount.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func matrix(rows range: Range<Int>) -> Matrix<Scalar> {
    let stride = paddedColumnCount
    let padded = unsafe Matrix<Scalar>(rows: range.count, columns: stride) { target in
      guard let base = target.baseAddress else { return }
      unsafe fill(range, into: base)
    }
    return padded.columns(0..<columnCount)
  }

  /// Hands over the first of the rows of a range, `paddedColumnCount` apart and padded with zeros:
  /// from memory where they are resident, else made in `scratch`, which has room for them, aligned to
  /// 64 bytes.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func withBlock(
    _ range: Range<Int>, scratch: UnsafeMutablePointer<Scalar>,
    _ body: (UnsafePointer<Scalar>) -> Void
  ) {
    if let resident {
      unsafe resident.withUnsafePointer { base, stride in
        unsafe body(base + range.lowerBound * stride)
      }
    } else {
      unsafe fill(range, into: scratch)
      unsafe body(UnsafePointer(scratch))
    }
  }

  package var isResident: Bool { resident != nil }

  /// Writes the rows of a range, padding and all, `paddedColumnCount` apart.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func copyRows(_ range: Range<Int>, into target: UnsafeMutablePointer<Scalar>) {
    unsafe withBlock(range, scratch: target) { rows in
      if unsafe rows != UnsafePointer(target) {
        unsafe target.update(from: rows, count: range.count * paddedColumnCount)
      }
    }
  }

  /// Writes transformed rows, padding and all, `paddedColumnCount` apart.
  private func fill(_ range: Range<Int>, into target: UnsafeMutablePointer<Scalar>) {
    let stride = paddedColumnCount
    let width = features.columnCount
    unsafe transformRows(range, into: target, stride: stride)
    for row in 0..<range.count {
      let end = unsafe target + row * stride
      if hasBias { unsafe end[width] = 1 }
      for column in columnCount..<stride { unsafe end[column] = 0 }
    }
  }

  private func transformRows(
    _ range: Range<Int>, into target: UnsafeMutablePointer<Scalar>, stride: Int
  ) {
    unsafe features.withStoredRows(from: range.lowerBound) { rows in
      if case .double(let first, let step) = unsafe rows, Scalar.self != Double.self,
        transform != .identity
      {
        unsafe applyInDouble(first, step, rowCount: range.count, target, stride)
      } else {
        unsafe apply(rows, rowCount: range.count, target, stride)
      }
    }
  }

  /// Transforms rows in double precision and rounds what comes out.
  ///
  /// Rounded before, a feature with an offset of 1e7 would keep less than a digit of a spread of 1.
  private func applyInDouble(
    _ source: UnsafePointer<Double>, _ sourceStride: Int, rowCount: Int,
    _ target: UnsafeMutablePointer<Scalar>, _ stride: Int
  ) {
    let width = features.columnCount
    let rows = Swift.max(1, Swift.min(rowCount, Self.roundingBlock / Swift.max(width, 1)))
    let scratch = Scratch<Double>(count: rows * width)
    for start in Swift.stride(from: 0, to: rowCount, by: rows) {
      let count = Swift.min(rows, rowCount - start)
      unsafe apply(
        .double(source + start * sourceStride, sourceStride), rowCount: count, scratch.pointer,
        width)
      unsafe Scalar.convertRows(
        count, width, .double(scratch.pointer, width), target + start * stride, stride)
    }
  }

  /// Elements that are in double precision at a time: what fits into a core's cache.
  private static var roundingBlock: Int { 1 << 14 }

  private func apply<Target: BLASScalar>(
    _ source: StoredRows, rowCount: Int, _ target: UnsafeMutablePointer<Target>, _ stride: Int
  ) {
    let width = features.columnCount
    switch transform {
    case .identity:
      unsafe Target.convertRows(rowCount, width, source, target, stride)
    case .layerNorm(let epsilon):
      unsafe Target.layerNormRows(rowCount, width, source, epsilon, target, stride)
    case .centredLayerNorm(let epsilon, let mean):
      unsafe Target.layerNormRows(rowCount, width, source, epsilon, target, stride)
      let shift = mean.map { -$0 }
      let scale = [Double](repeating: 1, count: width)
      unsafe scaleRows(rowCount, width, target, stride, scale: scale, shift: shift)
    case .columns(let scale, let shift):
      unsafe Target.convertRows(rowCount, width, source, target, stride)
      unsafe scaleRows(rowCount, width, target, stride, scale: scale, shift: shift)
    }
  }
}

/// Stored rows of one of three precisions: the address of the first, and the distance between rows.
@unsafe
enum StoredRows {
  case half(UnsafePointer<UInt16>, Int)
  case single(UnsafePointer<Float>, Int)
  case double(UnsafePointer<Double>, Int)
}

/// An address that several threads write to, each to elements of its own.
///
/// Sendability is unchecked: whoever makes one divides the elements among the threads.
@unsafe
package struct SharedAddress<Element>: @unchecked Sendable {
  package let pointer: UnsafeMutablePointer<Element>
  package init(_ pointer: UnsafeMutablePointer<Element>) { unsafe self.pointer = pointer }
}

extension DesignMatrix {
  /// The product with a vector, `X·w`, in double precision, of columnCount numbers that are rounded
  /// to `Scalar`.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func multiplied(by weights: [Double], execution: Execution = .available) -> [Double] {
    precondition(
      weights.count == columnCount, "\(weights.count) weights for \(columnCount) columns")
    let vector = weights.map { Scalar($0) }
    return unsafe withResults { results in
      _ = unsafe forEachBlock(execution) { _, range, rows in
        let products = Scratch<Scalar>(count: range.count)
        unsafe vector.withUnsafeBufferPointer { vector in
          guard let x = vector.baseAddress else { return }
          unsafe Scalar.gemv(
            false, range.count, columnCount, 1, rows, paddedColumnCount, x, 0, products.pointer)
        }
        for row in 0..<range.count {
          unsafe results.pointer[range.lowerBound + row] = Double(products.pointer[row])
        }
      }
    }
  }

  /// One number a row, which `body` writes.
  private func withResults(_ body: (SharedAddress<Double>) -> Void) -> [Double] {
    var result = [Double](repeating: 0, count: rowCount)
    unsafe result.withUnsafeMutableBufferPointer { target in
      if let base = target.baseAddress { unsafe body(SharedAddress(base)) }
    }
    return result
  }

  /// The product of the transpose with a vector, `Xᵀ·r`, summed over blocks of rows in double
  /// precision; its numbers, one a row, are rounded to `Scalar`.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func transposeMultiplied(
    by values: [Double], execution: Execution = .available
  ) -> [Double] {
    precondition(values.count == rowCount, "\(values.count) values for \(rowCount) rows")
    let vector = values.map { Scalar($0) }
    let sums = unsafe forEachBlock(execution, sumCount: columnCount) { sums, range, rows in
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
  public func squaredNorms(execution: Execution = .available) -> [Double] {
    let (columns, stride) = (columnCount, paddedColumnCount)
    return unsafe withResults { results in
      _ = unsafe forEachBlock(execution) { _, range, rows in
        for row in 0..<range.count {
          unsafe results.pointer[range.lowerBound + row] = sumOfSquares(
            rows + row * stride, columns)
        }
      }
    }
  }

  private static var vectorBlockSize: Int { 512 }

  /// Hands every block of rows to one of the threads, which have some sums each.
  private func forEachBlock(
    _ execution: Execution, sumCount: Int = 0,
    _ body: @Sendable (Scratch<Double>, Range<Int>, UnsafePointer<Scalar>) -> Void
  ) -> [Scratch<Double>] {
    execution.forEachBlock(of: rowCount, blockSize: Self.vectorBlockSize) {
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
  /// The quadratic forms `xᵢᵀA⁻¹xᵢ` of all rows: variances of logits under a Gaussian of precision A,
  /// whose factor is rounded to `Scalar`; not negative.
  ///
  /// - Complexity: N·columnCount² floating-point operations: a triangular solve by blocks, whose products
  ///   run at the speed of gemm (four times that of trsm).
  @specialized(where Scalar == Float, Factor == Float)
  @specialized(where Scalar == Float, Factor == Double)
  @specialized(where Scalar == Double, Factor == Double)
  public func quadraticForms<Factor: BLASScalar>(
    _ cholesky: Cholesky<Factor>, execution: Execution = .available
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
    return unsafe withResults { results in
      _ = execution.forEachBlock(of: rowCount, blockSize: blockSize) {
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
          unsafe results.pointer[range.lowerBound + row] = sumOfSquares(
            solution.pointer + row * stride, columns)
        }
      }
    }
  }
}

/// Multiplies each column of some rows by a number of its own and adds another, in place.
///
/// Products and sums are taken in double precision: a column's mean may be far larger than its spread.
///
/// The loops are written for each precision by themselves. A generic one converts every element through
/// the protocols of the standard library, fifty times slower, wherever the compiler does not specialise it.
func scaleRows<Scalar: BLASScalar>(
  _ rowCount: Int, _ width: Int, _ rows: UnsafeMutablePointer<Scalar>, _ stride: Int,
  scale: [Double], shift: [Double]
) {
  precondition(
    scale.count >= width && shift.count >= width,
    "\(scale.count) scales and \(shift.count) shifts for \(width) columns")
  let address = UnsafeMutableRawPointer(rows)
  unsafe scale.withUnsafeBufferPointer { scale in
    unsafe shift.withUnsafeBufferPointer { shift in
      if Scalar.self == Float.self {
        let rows = unsafe address.assumingMemoryBound(to: Float.self)
        for row in 0..<rowCount {
          let values = unsafe rows + row * stride
          for column in 0..<width {
            unsafe values[column] = Float(Double(values[column]) * scale[column] + shift[column])
          }
        }
      } else {
        precondition(Scalar.self == Double.self, "rows of \(Scalar.self)")
        let rows = unsafe address.assumingMemoryBound(to: Double.self)
        for row in 0..<rowCount {
          let values = unsafe rows + row * stride
          for column in 0..<width {
            unsafe values[column] = values[column] * scale[column] + shift[column]
          }
        }
      }
    }
  }
}

extension DesignMatrix {
  /// The Gram matrix `Xᵀ·diag(w)·X` of the design, in double precision, both triangles filled; w are
  /// numbers that are not negative, one a row, or `nil` for ones.
  ///
  /// Blocks of rows are multiplied in the precision of `Scalar` (syrk) and added in double. Threads
  /// that multiply rows of their own wait for nobody; each needs memory for a Gram matrix of its own,
  /// which for very many columns and threads is too much.
  ///
  /// - Complexity: N·columnCount² floating-point operations.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func gram(
    rowWeights weights: [Double]? = nil, execution: Execution = .available
  ) -> Matrix<Double> {
    precondition(
      weights == nil || weights?.count == rowCount,
      "\(weights?.count ?? 0) weights for \(rowCount) rows")
    let bytes = columnCount * paddedColumnCount * (MemoryLayout<Scalar>.size + 8)
    if execution.threadCount * bytes <= Self.ownGramLimit {
      return gramByRows(weights: weights, execution: execution)
    }
    var total = Matrix<Double>.zeros(columnCount, columnCount)
    let workspace = GramWorkspace(self, isWeighted: weights != nil)
    addLowerGram(weights: weights, to: &total, workspace, execution: execution)
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

  /// Adds the lower triangle of `Xᵀ·diag(w)·X`, as ``gram(rowWeights:execution:)``, with a workspace
  /// made for this design; what is above the diagonal stays.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func addLowerGram(
    weights: [Double]?, to total: inout Matrix<Double>, _ workspace: GramWorkspace,
    execution: Execution
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
        execution.forEachBlock(of: range.count, blockSize: 128) { _, part in
          let target = unsafe address.pointer + part.lowerBound * stride
          let rows = start + part.lowerBound..<start + part.upperBound
          unsafe copyRows(rows, into: target)
          if let weights { unsafe weigh(rows, of: target, byRootsOf: weights) }
        }
      }
      let multiply = { (rows: UnsafePointer<Scalar>) in
        execution.withBLAS {
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
  private func weigh(
    _ rows: Range<Int>, of values: UnsafeMutablePointer<Scalar>, byRootsOf weights: [Double]
  ) {
    for row in 0..<rows.count {
      let factor = Scalar(weights[rows.lowerBound + row].squareRoot())
      let values = unsafe values + row * paddedColumnCount
      for column in 0..<columnCount { unsafe values[column] *= factor }
    }
  }

  /// The Gram matrix, each thread multiplying blocks of rows of its own by a syrk of one thread.
  func gramByRows(weights: [Double]?, execution: Execution) -> Matrix<Double> {
    let size = columnCount
    let stride = paddedColumnCount
    // Long enough that adding the product to the sum costs little, short enough to stay in cache.
    let blockSize = 1024
    let ownsRows = weights != nil || !isResident
    let workers = execution.forEachBlock(of: rowCount, blockSize: blockSize) {
      (
        block: Scratch<Scalar>(count: ownsRows ? Swift.min(blockSize, rowCount) * stride : 0),
        product: Scratch<Scalar>(count: size * stride),
        sum: Scratch<Double>(count: size * stride)
      )
    } _: { worker, range in
      let (block, product, sum) = worker
      if ownsRows { unsafe copyRows(range, into: block.pointer) }
      if let weights { unsafe weigh(range, of: block.pointer, byRootsOf: weights) }
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
