package import BllarseNumerics

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

  package let labels: [Int32]
  /// Class probabilities in place of the labels, which are their most probable classes.
  private let distributions: ClassDistributions?
  package let loss: Loss
  private let blocks: RowBlocks<Scalar>
  private let workers: WorkerSlots<(block: RowBlocks<Scalar>.Block, labels: Scratch<Int32>)>
  private var classCount: Int { blocks.outputCount }

  package init(
    design: DesignMatrix<Scalar>, labels: [Int32], distributions: ClassDistributions? = nil,
    classCount: Int, loss: Loss, execution: Execution
  ) {
    precondition(
      labels.count == design.rowCount, "\(labels.count) labels for \(design.rowCount) rows")
    if let row = labels.firstIndex(where: { $0 < 0 || Int($0) >= classCount }) {
      preconditionFailure("the label of row \(row) is \(labels[row]) of \(classCount) classes")
    }
    self.labels = labels
    self.distributions = distributions
    self.loss = loss
    let blocks = RowBlocks(
      design, outputCount: classCount, blockSize: Self.blockSize, execution: execution)
    self.blocks = blocks
    // The sum of a worker is that of its rows' losses.
    workers = WorkerSlots(
      (0..<execution.threadCount).map { _ in
        (
          RowBlocks.Block(blocks, sumCount: 1, hasProducts: true, ownsRows: true),
          Scratch<Int32>(count: Self.blockSize)
        )
      })
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
    let packed = blocks.pack(weights)
    let blockCount = (rows.count + Self.blockSize - 1) / Self.blockSize
    let isSmall = rows.count * packed.count < Self.smallestParallelBatch
    let count = isSmall ? 1 : Swift.max(1, Swift.min(workers.values.count, blockCount))
    Execution(threadCount: count).run { index in
      let (block, labels) = workers[index]
      block.reset()
      for place in blockCount * index / count..<blockCount * (index + 1) / count {
        let first = place * Self.blockSize
        block.range = first..<Swift.min(first + Self.blockSize, rows.count)
        add(rows, block, labels, packed, dropout)
      }
    }
    let sums = blocks.sums(of: workers.values[..<count].map(\.block))
    // ∂loss/∂W = -XᵀR / B.
    var gradient = sums.products
    gradient.scale(by: -1 / Double(rows.count))
    return (Matrix(gradient), sums.values[0] / Double(rows.count))
  }

  /// Adds XᵀR of a block.
  private func add(
    _ rows: ArraySlice<Int>, _ block: RowBlocks<Scalar>.Block, _ blockLabels: Scratch<Int32>,
    _ packed: Scratch<Scalar>, _ dropout: Dropout?
  ) {
    let design = blocks.design
    let (stride, count) = (design.paddedColumnCount, block.range.count)
    let values = unsafe block.rows.pointer
    for place in 0..<count {
      let row = rows[rows.startIndex + block.range.lowerBound + place]
      unsafe design.copyRows(row..<row + 1, into: values + place * stride)
      unsafe blockLabels.pointer[place] = labels[row]
      if let dropout {
        unsafe drop(values + place * stride, place: block.range.lowerBound + place, dropout)
      }
    }
    unsafe block.multiply(values, packed, into: block.outputs)
    let first = rows.startIndex + block.range.lowerBound
    unsafe block.sums.pointer[0] += formResiduals(
      block.outputs.pointer, block.outputs.stride, blockLabels.pointer, count,
      rows[first..<first + count])
    unsafe block.addProducts(values)
  }

  /// Overwrites logits by what the targets exceed the predictions by.
  ///
  /// - Returns: the sum of the rows' losses.
  private func formResiduals(
    _ logits: UnsafeMutablePointer<Scalar>, _ stride: Int, _ labels: UnsafePointer<Int32>,
    _ count: Int, _ rows: ArraySlice<Int>
  ) -> Double {
    if let distributions {
      return unsafe formResiduals(logits, stride, labels, rows, of: distributions.probabilities)
    }
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

  /// The same for class probabilities Y.
  ///
  /// With E the one-hot labels and targets `t = (1 - s)·Y + s/K`:
  ///
  ///     -Σ t log P = -log P_label - Σ_k (t - E)_k m_k,   t - P = (E - P) + (t - E).
  private func formResiduals(
    _ logits: UnsafeMutablePointer<Scalar>, _ stride: Int, _ labels: UnsafePointer<Int32>,
    _ rows: ArraySlice<Int>, of targets: Matrix<Float>
  ) -> Double {
    switch loss {
    case .crossEntropy(let smoothing):
      let spread = smoothing / Double(classCount)
      func excess(_ row: Int, _ k: Int, _ label: Int32) -> Double {
        (1 - smoothing) * Double(targets[row, k]) + spread - (Int(label) == k ? 1 : 0)
      }
      var linear = 0.0
      for (place, row) in rows.enumerated() {
        for k in 0..<classCount {
          unsafe linear += excess(row, k, labels[place]) * Double(logits[place * stride + k])
        }
      }
      let likelihood = unsafe Scalar.kernels.softmaxResidual(
        rows.count, classCount, logits, stride, labels, logits, stride)
      for (place, row) in rows.enumerated() {
        for k in 0..<classCount {
          unsafe logits[place * stride + k] += Scalar(excess(row, k, labels[place]))
        }
      }
      return -linear - likelihood
    case .squaredError:
      let scale = 1 / Scalar(classCount)
      var sum = 0.0
      for (place, row) in rows.enumerated() {
        for k in 0..<classCount {
          let difference = unsafe Scalar(targets[row, k]) - logits[place * stride + k]
          sum += Double(difference * difference)
          unsafe logits[place * stride + k] = difference * scale
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
    let width = blocks.design.features.columnCount
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
