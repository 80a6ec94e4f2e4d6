/// One reading of the design matrix by a probit head: logits, truncated-normal terms and the products
/// with the residuals, block of rows by block of rows, while a block is in cache.
///
/// Notation of the documentation: X (N x D) the design, S (N x K) = +1 at a row's class and -1
/// elsewhere, M = X·mu the logits, R = S·r(S·M) with r the inverse Mills ratio. With row weights w, every
/// sum over rows is weighted, and R and the curvatures are those of the weighted log-likelihood.
package struct ProbitPass<Scalar: BLASScalar>: Sendable {
  package let design: DesignMatrix<Scalar>
  /// One class index a row; -1 stands for "no class of these" (all signs negative).
  package let labels: [Int32]
  package let classCount: Int
  /// What multiplies each row's log-likelihood, N numbers that are not negative; `nil` for 1.
  package let weights: [Double]?
  package var parallelism: Parallelism

  /// What a pass sums over the rows.
  package struct Sums: Sendable {
    /// XᵀR, D x K.
    package var products: Matrix<Double>
    /// Σᵢ wᵢ log Φ(S·M) for each class.
    package var logLikelihoods: [Double]
  }

  package init(
    design: DesignMatrix<Scalar>, labels: [Int32], classCount: Int, weights: [Double]? = nil,
    parallelism: Parallelism
  ) {
    precondition(
      labels.count == design.rowCount, "\(labels.count) labels for \(design.rowCount) rows")
    if let weights {
      precondition(
        weights.count == design.rowCount, "\(weights.count) weights for \(design.rowCount) rows")
      precondition(
        weights.allSatisfy { $0 >= 0 && $0.isFinite }, "a weight is negative or not finite")
    }
    self.design = design
    self.labels = labels
    self.classCount = classCount
    self.weights = weights
    self.parallelism = parallelism
  }

  /// Rows of a block: the block, its logits and the weights stay in the second-level cache.
  ///
  /// Weights and gradients that do not fit there are read anew for every block, so a block has more rows then: a fit of
  /// 1,000 classes to 384 features takes a tenth less time with 128 rows than with 32 or 512.
  package var blockSize: Int {
    let bytesOfRow = (design.paddedColumnCount + 2 * paddedClassCount) * MemoryLayout<Scalar>.size
    let least = design.paddedColumnCount * paddedClassCount > Self.nearWeights ? 128 : 32
    return Swift.max(least, Swift.min(512, (512 << 10) / bytesOfRow / 32 * 32))
  }

  /// Weights whose gradients, in double precision, take a megabyte.
  private static var nearWeights: Int { 131_072 }

  /// Elements between the rows of a block of logits.
  package var paddedClassCount: Int {
    let lanes = 64 / MemoryLayout<Scalar>.size
    return (classCount + lanes - 1) / lanes * lanes
  }

  /// XᵀR and the log-likelihoods at the logits of a mean.
  ///
  /// - Parameters:
  ///   - mean: mu, D x K.
  ///   - withLikelihoods: whether the log-likelihoods are wanted; they are 0 otherwise.
  /// - Returns: XᵀR, D x K, and one log-likelihood for each class.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func sums(at mean: Matrix<Double>, withLikelihoods: Bool = true) -> Sums {
    let weights = packWeights(mean)
    return accumulate { block in
      unsafe design.withBlock(block.range, scratch: block.rows) { rows in
        unsafe block.formLogits(rows, weights)
        block.formResiduals(withLikelihoods: withLikelihoods)
        unsafe block.addProducts(rows)
      }
    }
  }

  /// The logits of a mean, N x K.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func logits(of mean: Matrix<Double>) -> Matrix<Scalar> {
    let weights = packWeights(mean)
    let classes = classCount
    return unsafe Matrix(rows: design.rowCount, columns: classes) { target in
      guard let base = target.baseAddress else { return }
      let address = unsafe SharedAddress(base)
      _ = accumulate { block in
        unsafe design.withBlock(block.range, scratch: block.rows) { rows in
          unsafe Scalar.kernels.forward(
            block.range.count, classes, design.columnCount, rows, block.stride, weights.pointer,
            address.pointer + block.range.lowerBound * classes, classes)
        }
      }
    }
  }
}

// MARK: - Blocks

extension ProbitPass {
  /// What one thread works with: its share of the scratch memory and of the sums.
  @safe
  final class Block {
    let pass: ProbitPass
    let stride: Int
    let classStride: Int
    private(set) var range = 0..<0
    private let rowScratch: Scratch<Scalar>
    private let logitScratch: Scratch<Scalar>
    /// XᵀR of this thread, transposed: K rows, `stride` apart.
    let products: Scratch<Double>
    let logLikelihoods: Scratch<Double>
    /// What a run of equal weights adds, before it is weighted.
    let runSums: Scratch<Double>

    init(_ pass: ProbitPass) {
      self.pass = pass
      stride = pass.design.paddedColumnCount
      classStride = pass.paddedClassCount
      rowScratch = Scratch(count: pass.design.isResident ? 0 : pass.blockSize * stride)
      logitScratch = Scratch(count: pass.blockSize * classStride)
      products = Scratch(count: pass.classCount * stride)
      logLikelihoods = Scratch(count: pass.classCount)
      runSums = Scratch(count: pass.weights == nil ? 0 : 2 * pass.classCount)
    }

    func begin(_ range: Range<Int>) { self.range = range }

    /// Room for the rows of the block.
    var rows: UnsafeMutablePointer<Scalar> { unsafe rowScratch.pointer }
    /// The logits of the block, then its residuals; rows are `classStride` apart.
    var logits: UnsafeMutablePointer<Scalar> { unsafe logitScratch.pointer }

    /// M = X·mu.
    func formLogits(_ rows: UnsafePointer<Scalar>, _ weights: Scratch<Scalar>) {
      unsafe Scalar.kernels.forward(
        range.count, pass.classCount, pass.design.columnCount, rows, stride, weights.pointer,
        logits,
        classStride)
    }

    /// Overwrites the logits by R, and adds log Φ(S·M) to the sums if wanted.
    func formResiduals(withLikelihoods: Bool = true) {
      unsafe pass.labels.withUnsafeBufferPointer { labels in
        guard let base = labels.baseAddress else { return }
        forEachRun { rows, weight in
          let values = unsafe logits + rows.lowerBound * classStride
          unsafe addWeighted(weight, to: logLikelihoods.pointer, count: pass.classCount) { sums in
            _ = unsafe Scalar.kernels.probitResidual(
              rows.count, pass.classCount, values, classStride,
              base + range.lowerBound + rows.lowerBound, values, classStride, nil, 0, nil, 0,
              withLikelihoods ? sums : nil, 0)
          }
          weighResiduals(rows, weight)
        }
      }
    }

    /// The size of the next block, when its rows follow this block's in memory.
    private var nextBytes: Int {
      guard pass.design.isResident else { return 0 }
      let next = Swift.min(range.count, pass.design.rowCount - range.upperBound)
      return next * stride * MemoryLayout<Scalar>.size
    }

    /// Adds XᵀR of the block: a product in the precision of the data, a sum in double.
    func addProducts(_ rows: UnsafePointer<Scalar>) {
      unsafe Scalar.kernels.backward(
        range.count, pass.classCount, pass.design.columnCount, rows, stride, logits, classStride,
        products.pointer,
        stride, UnsafeRawPointer(rows + range.count * stride), nextBytes)
    }
  }

  /// Runs `body` on every block, each thread on blocks of its own, and adds up what they summed.
  func accumulate(_ body: @Sendable (Block) -> Void) -> Sums {
    let blockSize = blockSize
    let blockCount = (design.rowCount + blockSize - 1) / blockSize
    let workers = Swift.max(1, Swift.min(parallelism.threadCount, blockCount))
    let slots = WorkerSlots((0..<workers).map { _ in Block(self) })
    Parallelism(threadCount: workers).forEachBlock(of: design.rowCount, blockSize: blockSize) {
      worker, range in
      let block = slots[worker]
      block.begin(range)
      body(block)
    }
    // In the order of the threads, so that the result does not depend on who finished first.
    var sums = Sums(
      products: Matrix.zeros(design.columnCount, classCount),
      logLikelihoods: [Double](repeating: 0, count: classCount))
    let (classes, stride, columns) = (classCount, design.paddedColumnCount, design.columnCount)
    for block in slots.values {
      for index in 0..<classes {
        unsafe sums.logLikelihoods[index] += block.logLikelihoods.pointer[index]
      }
      unsafe sums.products.withUnsafeMutablePointer { target, targetStride in
        for row in 0..<columns {
          for index in 0..<classes {
            unsafe target[row * targetStride + index] +=
              block.products.pointer[index * stride + row]
          }
        }
      }
    }
    return sums
  }

  /// The mean in the precision of the data, packed for the product kernels.
  func packWeights(_ mean: Matrix<Double>) -> Scratch<Scalar> {
    precondition(
      mean.rowCount == design.columnCount && mean.columnCount == classCount,
      "a mean of \(mean.rowCount) x \(mean.columnCount) for \(design.columnCount) columns and "
        + "\(classCount) classes")
    let stride = design.paddedColumnCount
    let weights = Scratch<Scalar>(count: classCount * stride)
    unsafe mean.withUnsafePointer { source, sourceStride in
      for row in 0..<mean.rowCount {
        for index in 0..<classCount {
          unsafe weights.pointer[index * stride + row] = Scalar(source[row * sourceStride + index])
        }
      }
    }
    let packed = Scratch<Scalar>(count: classCount * stride)
    unsafe Scalar.kernels.packWeights(
      classCount, design.columnCount, weights.pointer, stride, packed.pointer)
    return packed
  }
}

/// One object for each worker of a parallel loop.
///
/// Sendability is unchecked: a worker touches the slot of its own index only.
final class WorkerSlots<Value>: @unchecked Sendable {
  let values: [Value]
  init(_ values: [Value]) { self.values = values }
  subscript(worker: Int) -> Value { values[worker] }
}
