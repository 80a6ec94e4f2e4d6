/// The products of a design X (N x D) with a few columns, block of rows by block of rows, while a block is in
/// cache: M = X·W for weights W (D x C), and XᵀR for what the caller makes of M.
///
/// Threads have blocks of their own, and what they sum is added in their order: a thread count gives the same
/// bits each time.
package struct RowBlocks<Scalar: BLASScalar>: Sendable {
  /// X.
  package let design: DesignMatrix<Scalar>
  /// C.
  package let outputCount: Int
  package var execution: Execution
  /// Rows of a block.
  let blockSize: Int

  /// Divides the rows.
  ///
  /// The block, its outputs and the weights stay in the second-level cache. Weights and gradients
  /// that do not fit there are read again for every block, so a block has more rows then: a fit of
  /// 1,000 classes to 384 features takes a tenth less time with 128 rows than with 32 or 512. Another
  /// `blockSize` can be given.
  package init(
    _ design: DesignMatrix<Scalar>, outputCount: Int, blockSize: Int? = nil,
    execution: Execution
  ) {
    self.design = design
    self.outputCount = outputCount
    self.execution = execution
    let padded = Self.padded(outputCount)
    let bytesOfRow = (design.paddedColumnCount + 2 * padded) * MemoryLayout<Scalar>.size
    // Weights whose gradients, in double precision, take a megabyte.
    let least = design.paddedColumnCount * padded > 131_072 ? 128 : 32
    self.blockSize =
      blockSize ?? Swift.max(least, Swift.min(512, (512 << 10) / bytesOfRow / 32 * 32))
  }

  /// Elements between rows: whole vectors of 64 bytes.
  static func padded(_ count: Int) -> Int {
    let lanes = 64 / MemoryLayout<Scalar>.size
    return (count + lanes - 1) / lanes * lanes
  }

  /// What one thread works with.
  package final class Block {
    /// The rows of the block, of all.
    package var range = 0..<0
    /// M of the block, then R.
    package let outputs: SharedRows<Scalar>
    /// What the thread has summed so far.
    package let sums: Scratch<Double>
    /// Room for as many numbers as there are sums.
    package let spareSums: Scratch<Double>
    /// Room for the rows of the block, unless they are resident.
    package let rows: Scratch<Scalar>
    private let outputScratch: Scratch<Scalar>
    /// XᵀR of the thread, transposed: C rows of the padded width.
    fileprivate let products: Scratch<Double>
    private let blocks: RowBlocks
    private var stride: Int { blocks.design.paddedColumnCount }

    package init(_ blocks: RowBlocks, sumCount: Int, hasProducts: Bool, ownsRows: Bool) {
      self.blocks = blocks
      let stride = blocks.design.paddedColumnCount
      let outputStride = RowBlocks.padded(blocks.outputCount)
      rows = Scratch(count: ownsRows ? blocks.blockSize * stride : 0)
      outputScratch = Scratch(count: blocks.blockSize * outputStride)
      outputs = unsafe SharedRows(outputScratch.pointer, stride: outputStride)
      products = Scratch(count: hasProducts ? blocks.outputCount * stride : 0)
      sums = Scratch(count: sumCount)
      spareSums = Scratch(count: sumCount)
    }

    /// Begins the sums again.
    package func reset() {
      unsafe products.pointer.update(repeating: 0, count: products.count)
      unsafe sums.pointer.update(repeating: 0, count: sums.count)
    }

    /// Hands over the rows of the design.
    package func withRows(_ body: (UnsafePointer<Scalar>) -> Void) {
      unsafe blocks.design.withBlock(range, scratch: rows.pointer, body)
    }

    /// M = X·W.
    package func multiply(
      _ rows: UnsafePointer<Scalar>, _ weights: Scratch<Scalar>, into target: SharedRows<Scalar>
    ) {
      unsafe Scalar.kernels.forward(
        range.count, blocks.outputCount, blocks.design.columnCount, rows, stride, weights.pointer,
        target.pointer, target.stride)
    }

    /// Adds XᵀR: a product in the precision of the data, a sum in double.
    package func addProducts(_ rows: UnsafePointer<Scalar>) {
      // The next block's rows, where they follow this block's in memory.
      let next =
        self.rows.count == 0 ? Swift.min(range.count, blocks.design.rowCount - range.upperBound) : 0
      unsafe Scalar.kernels.backward(
        range.count, blocks.outputCount, blocks.design.columnCount, rows, stride, outputs.pointer,
        outputs.stride, products.pointer, stride, UnsafeRawPointer(rows + range.count * stride),
        next * stride * MemoryLayout<Scalar>.size)
    }

    /// Copies the outputs of the block to where all rows are kept.
    package func copyOutputs(to all: SharedRows<Scalar>) {
      for row in 0..<range.count {
        unsafe all[range.lowerBound + row].update(from: outputs[row], count: blocks.outputCount)
      }
    }

    /// Multiplies outputs of rows by a factor; by 0 they become 0, whatever they were.
    package func scaleOutputs(_ rows: Range<Int>, by factor: Double) {
      for row in rows { unsafe scale(outputs[row], blocks.outputCount, by: factor) }
    }
  }

  /// What the threads have summed.
  package struct Sums: Sendable {
    /// XᵀR, D x C; nothing where it was not wanted.
    package var products: Matrix<Double>
    /// The other sums.
    package var values: [Double]
  }

  /// Runs `body` on every block, with the thread's share of the memory, and adds up what the threads
  /// summed: XᵀR where it is wanted, and as many other sums.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func sums(
    count sumCount: Int, hasProducts: Bool = true, _ body: @Sendable (Block) -> Void
  ) -> Sums {
    sums(
      of: execution.forEachBlock(of: design.rowCount, blockSize: blockSize) {
        Block(
          self, sumCount: sumCount, hasProducts: hasProducts, ownsRows: !design.isResident)
      } _: { block, range in
        block.range = range
        body(block)
      })
  }

  /// Adds up what threads summed, in their order.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func sums(of blocks: [Block]) -> Sums {
    let (outputs, stride, columns) = (outputCount, design.paddedColumnCount, design.columnCount)
    let hasProducts = blocks.contains { $0.products.count > 0 }
    var sums = Sums(
      products: hasProducts ? .zeros(columns, outputs) : .zeros(0, 0),
      values: [Double](repeating: 0, count: blocks.first?.sums.count ?? 0))
    for block in blocks {
      for index in sums.values.indices { unsafe sums.values[index] += block.sums.pointer[index] }
      guard hasProducts else { continue }
      unsafe sums.products.withUnsafeMutablePointer { target, targetStride in
        for row in 0..<columns {
          for index in 0..<outputs {
            unsafe target[row * targetStride + index] +=
              block.products.pointer[index * stride + row]
          }
        }
      }
    }
    return sums
  }

  /// Weights, D x C, as the product kernels read them.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func pack(_ weights: Matrix<Scalar>) -> Scratch<Scalar> {
    precondition(
      weights.rowCount == design.columnCount && weights.columnCount == outputCount,
      "weights of \(weights.rowCount) x \(weights.columnCount) for \(design.columnCount) columns "
        + "and \(outputCount) classes")
    let stride = design.paddedColumnCount
    let padded = Scratch<Scalar>(count: outputCount * stride)
    let packed = Scratch<Scalar>(count: outputCount * stride)
    unsafe weights.withUnsafePointer { source, sourceStride in
      for row in 0..<weights.rowCount {
        for index in 0..<outputCount {
          unsafe padded.pointer[index * stride + row] = source[row * sourceStride + index]
        }
      }
    }
    unsafe Scalar.kernels.packWeights(
      outputCount, design.columnCount, padded.pointer, stride, packed.pointer)
    return packed
  }
}

/// Multiplies numbers by a factor; by 0 they become 0, whatever they were.
@specialized(where Scalar == Float)
@specialized(where Scalar == Double)
package func scale<Scalar: BLASScalar>(
  _ values: UnsafeMutablePointer<Scalar>, _ count: Int, by factor: Double
) {
  guard factor > 0 else {
    unsafe values.update(repeating: 0, count: count)
    return
  }
  let factor = Scalar(factor)
  for index in 0..<count { unsafe values[index] *= factor }
}

extension DesignMatrix {
  /// The product `X·W`, N x C, with a matrix, columnCount x C, that is rounded to `Scalar`.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func multiplied(
    by weights: Matrix<Double>, execution: Execution
  ) -> Matrix<Scalar> {
    let blocks = RowBlocks(self, outputCount: weights.columnCount, execution: execution)
    let packed = blocks.pack(Matrix(weights))
    var result = Matrix<Scalar>.zeros(rowCount, weights.columnCount)
    result.withSharedMutableRows { result in
      _ = blocks.sums(count: 0, hasProducts: false) { block in
        unsafe block.withRows { rows in
          unsafe block.multiply(rows, packed, into: result.from(block.range.lowerBound))
        }
      }
    }
    return result
  }
}

/// Rows in memory that several threads read, or write, each rows of its own.
///
/// Sendability is unchecked: whoever makes one divides the rows among the threads.
@safe
package struct SharedRows<Element>: @unchecked Sendable {
  package let pointer: UnsafeMutablePointer<Element>
  /// Elements between the starts of two rows.
  package let stride: Int

  package init(_ pointer: UnsafeMutablePointer<Element>, stride: Int) {
    unsafe self.pointer = pointer
    self.stride = stride
  }

  package func from(_ row: Int) -> SharedRows {
    unsafe SharedRows(pointer + row * stride, stride: stride)
  }

  package subscript(row: Int) -> UnsafeMutablePointer<Element> {
    unsafe pointer + row * stride
  }
}

extension Matrix {
  /// Joins blocks of rows that the threads make: `body` gives the rows of a range.
  package init(
    rows: Int, columns: Int, blockSize: Int, execution: Execution,
    _ body: @Sendable (_ range: Range<Int>) -> Matrix
  ) {
    unsafe self.init(rows: rows, columns: columns) { target in
      guard let base = target.baseAddress else { return }
      let address = unsafe SharedAddress(base)
      execution.forEachBlock(of: rows, blockSize: blockSize) { _, range in
        let block = body(range)
        precondition(
          block.rowCount == range.count && block.columnCount == columns, "\(block) for \(range)")
        unsafe block.copy(
          into: UnsafeMutableBufferPointer(
            start: address.pointer + range.lowerBound * columns, count: range.count * columns))
      }
    }
  }

  /// Gives read access to all rows, for threads.
  package func withSharedRows<Result>(_ body: (SharedRows<Element>) -> Result) -> Result {
    unsafe withUnsafePointer { base, stride in
      unsafe body(SharedRows(UnsafeMutablePointer(mutating: base), stride: stride))
    }
  }

  /// Gives write access to all rows, for threads, after making the memory this value's own.
  package mutating func withSharedMutableRows<Result>(
    _ body: (SharedRows<Element>) -> Result
  ) -> Result {
    unsafe withUnsafeMutablePointer { base, stride in
      unsafe body(SharedRows(base, stride: stride))
    }
  }
}
