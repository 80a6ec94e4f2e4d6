/// Gradients of a linear head's loss over batches of rows, each block of rows read once: copied, multiplied
/// by the weights, turned into residuals and multiplied by them while it is in cache.
///
/// Notation: X (B x D) the batch, W (D x K) the weights, M = X·W, Y (B x K) the targets.
package final class LinearBatchPass<Scalar: BLASScalar>: Sendable {
  /// What is minimised, averaged over the rows.
  package enum Loss: Sendable, Equatable {
    /// `-Σ_k t_k log softmax(M)_k`, with targets `t = (1 - smoothing)·Y + smoothing/K`.
    case crossEntropy(smoothing: Double)
    /// `½·mean_k (M - Y)²`.
    case squaredError
  }

  /// Features that are set to zero at random; the others are divided by the rate at which they stay.
  package struct Dropout: Sendable, Equatable {
    /// The share of features that are dropped, in 0..<1.
    package var rate: Double
    /// The seed of the run.
    package var seed: UInt64
    /// The step: with the row's place in the batch it names the stream, whatever ran before.
    package var step: Int

    package init(rate: Double, seed: UInt64, step: Int) {
      self.rate = rate
      self.seed = seed
      self.step = step
    }
  }

  package let design: DesignMatrix<Scalar>
  package let labels: [Int32]
  package let classCount: Int
  package let loss: Loss
  package let parallelism: Parallelism
  private let slots: WorkerSlots<Worker>
  private let packed: Scratch<Scalar>
  private let transposed: Scratch<Scalar>

  package init(
    design: DesignMatrix<Scalar>, labels: [Int32], classCount: Int, loss: Loss,
    parallelism: Parallelism
  ) {
    precondition(
      labels.count == design.rowCount, "\(labels.count) labels for \(design.rowCount) rows")
    if let row = labels.firstIndex(where: { $0 < 0 || Int($0) >= classCount }) {
      preconditionFailure("the label of row \(row) is \(labels[row]) of \(classCount) classes")
    }
    self.design = design
    self.labels = labels
    self.classCount = classCount
    self.loss = loss
    self.parallelism = parallelism
    let (stride, classes) = (design.paddedColumnCount, classCount)
    slots = WorkerSlots(
      (0..<parallelism.threadCount).map { _ in Worker(stride: stride, classes: classes) })
    packed = Scratch(count: classes * stride)
    transposed = Scratch(count: classes * stride)
  }

  /// What one thread works with.
  @safe
  private final class Worker: Sendable {
    let rows: Scratch<Scalar>
    let logits: Scratch<Scalar>
    let labels: Scratch<Int32>
    let classStride: Int
    /// XᵀR, transposed: K rows, `stride` apart.
    let products: Scratch<Double>
    /// The sum of the rows' losses.
    let loss = Scratch<Double>(count: 1)

    init(stride: Int, classes: Int) {
      let lanes = 64 / MemoryLayout<Scalar>.size
      classStride = (classes + lanes - 1) / lanes * lanes
      rows = Scratch(count: LinearBatchPass.blockSize * stride)
      logits = Scratch(count: LinearBatchPass.blockSize * classStride)
      labels = Scratch(count: LinearBatchPass.blockSize)
      products = Scratch(count: classes * stride)
    }
  }

  private static var blockSize: Int { 64 }
  /// Multiplications below which waking a second thread costs more than it saves.
  private static var smallestParallelBatch: Int { 200_000 }

  /// The gradient of the mean loss of a batch, D x K.
  ///
  /// One object serves one caller at a time: its working memory is its own.
  ///
  /// - Parameters:
  ///   - rows: the batch, in order; not empty.
  ///   - weights: W, D x K.
  ///   - dropout: which features to leave out, or `nil`.
  /// - Returns: D x K.
  /// - Complexity: 4·B·D·K floating-point operations.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func gradient(
    rows: ArraySlice<Int>, weights: Matrix<Scalar>, dropout: Dropout? = nil
  ) -> Matrix<Scalar> {
    gradientAndLoss(rows: rows, weights: weights, dropout: dropout).gradient
  }

  /// The gradient of the mean loss of a batch, D x K, and that loss, in nats for a cross-entropy.
  ///
  /// - Parameters: as ``gradient(rows:weights:dropout:)`` takes them.
  /// - Complexity: the gradient's; the loss costs nothing.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  package func gradientAndLoss(
    rows: ArraySlice<Int>, weights: Matrix<Scalar>, dropout: Dropout? = nil
  ) -> (gradient: Matrix<Scalar>, loss: Double) {
    pack(weights)
    let (classes, stride) = (classCount, design.paddedColumnCount)
    let blockCount = (rows.count + Self.blockSize - 1) / Self.blockSize
    let isSmall = rows.count * stride * classes < Self.smallestParallelBatch
    let workers = isSmall ? 1 : Swift.max(1, Swift.min(parallelism.threadCount, blockCount))
    Parallelism(threadCount: workers).run { index in
      let worker = slots[index]
      unsafe worker.products.pointer.update(repeating: 0, count: classes * stride)
      unsafe worker.loss.pointer[0] = 0
      for block in blockCount * index / workers..<blockCount * (index + 1) / workers {
        let first = block * Self.blockSize
        add(rows, first..<Swift.min(first + Self.blockSize, rows.count), worker, dropout)
      }
    }
    // In the order of the threads; ∂loss/∂W = -XᵀR / B.
    let scale = -1 / Double(rows.count)
    let columns = design.columnCount
    var loss = 0.0
    for index in 0..<workers { unsafe loss += slots[index].loss.pointer[0] }
    let gradient = unsafe Matrix<Scalar>(rows: columns, columns: classes) { target in
      for column in 0..<columns {
        for k in 0..<classes {
          var sum = 0.0
          for index in 0..<workers {
            unsafe sum += slots[index].products.pointer[k * stride + column]
          }
          unsafe target[column * classes + k] = Scalar(sum * scale)
        }
      }
    }
    return (gradient, loss / Double(rows.count))
  }

  private func pack(_ weights: Matrix<Scalar>) {
    precondition(
      weights.rowCount == design.columnCount && weights.columnCount == classCount,
      "weights of \(weights.rowCount) x \(weights.columnCount) for \(design.columnCount) columns "
        + "and \(classCount) classes")
    let stride = design.paddedColumnCount
    unsafe weights.withUnsafePointer { source, sourceStride in
      for row in 0..<weights.rowCount {
        for k in 0..<classCount {
          unsafe transposed.pointer[k * stride + row] = source[row * sourceStride + k]
        }
      }
    }
    unsafe Scalar.kernels.packWeights(
      classCount, stride, transposed.pointer, stride, packed.pointer)
  }

  /// Adds XᵀR of a block.
  private func add(
    _ rows: ArraySlice<Int>, _ range: Range<Int>, _ worker: Worker, _ dropout: Dropout?
  ) {
    let (stride, classes, count) = (design.paddedColumnCount, classCount, range.count)
    let values = unsafe worker.rows.pointer
    for place in 0..<count {
      let row = rows[rows.startIndex + range.lowerBound + place]
      unsafe design.copyRows(row..<row + 1, into: values + place * stride)
      unsafe worker.labels.pointer[place] = labels[row]
      if let dropout {
        unsafe drop(values + place * stride, place: range.lowerBound + place, dropout)
      }
    }
    unsafe Scalar.kernels.forward(
      count, classes, stride, values, stride, packed.pointer, worker.logits.pointer,
      worker.classStride)
    unsafe worker.loss.pointer[0] += formResiduals(
      worker.logits.pointer, worker.classStride, worker.labels.pointer, count)
    unsafe Scalar.kernels.backward(
      count, classes, stride, values, stride, worker.logits.pointer, worker.classStride,
      worker.products.pointer, stride, nil, 0)
  }

  /// Overwrites logits by what the targets exceed the predictions by.
  ///
  /// - Returns: the sum of the rows' losses.
  private func formResiduals(
    _ logits: UnsafeMutablePointer<Scalar>, _ stride: Int, _ labels: UnsafePointer<Int32>,
    _ count: Int
  ) -> Double {
    switch loss {
    case .crossEntropy(let smoothing):
      guard smoothing > 0 else {
        return unsafe -Scalar.kernels.softmaxResidual(
          count, classCount, logits, stride, labels, logits, stride)
      }
      // -Σ t log P = n - (1 - s)·m_y - s/K·Σ_k m_k,  n the logarithm of the normaliser: it is known from
      // log P_y = m_y - n.
      var (own, all) = (0.0, 0.0)
      for row in 0..<count {
        for k in 0..<classCount { unsafe all += Double(logits[row * stride + k]) }
        unsafe own += Double(logits[row * stride + Int(labels[row])])
      }
      let likelihood = unsafe Scalar.kernels.softmaxResidual(
        count, classCount, logits, stride, labels, logits, stride)
      // t - P = (Y - P) + smoothing·(1/K - Y)
      let (share, loss) = (Scalar(smoothing / Double(classCount)), Scalar(smoothing))
      for row in 0..<count {
        for k in 0..<classCount { unsafe logits[row * stride + k] += share }
        unsafe logits[row * stride + Int(labels[row])] -= loss
      }
      return smoothing * (own - all / Double(classCount)) - likelihood
    case .squaredError:
      let scale = 1 / Scalar(classCount)
      var sum = 0.0
      for row in 0..<count {
        for k in 0..<classCount {
          let difference = unsafe (Int(labels[row]) == k ? 1 : 0) - logits[row * stride + k]
          sum += Double(difference * difference)
          unsafe logits[row * stride + k] = difference * scale
        }
      }
      return sum / Double(2 * classCount)
    }
  }

  /// Drops features of a row, not the bias; sixteen random bits a feature.
  private func drop(_ row: UnsafeMutablePointer<Scalar>, place: Int, _ dropout: Dropout) {
    var generator = Philox(
      seed: dropout.seed, purpose: .dropout, index: UInt64(dropout.step) << 32 | UInt64(place))
    let threshold = UInt32((dropout.rate * 65536).rounded())
    let scale = 65536 / Scalar(65536 - threshold)
    let width = design.features.columnCount
    var column = 0
    while column < width {
      let word = generator.nextWord()
      unsafe row[column] = word & 0xFFFF < threshold ? 0 : row[column] * scale
      if column + 1 < width {
        unsafe row[column + 1] = word >> 16 < threshold ? 0 : row[column + 1] * scale
      }
      column += 2
    }
  }
}
