package import BllarseNumerics

/// Rows of a block that follow one another and have the same weight.
@safe
package struct RowRun<Scalar: BLASScalar> {
  /// The place of the first among all rows.
  let first: Int
  let count: Int
  /// C.
  let classCount: Int
  /// Of the first row.
  let labels: UnsafePointer<Int32>
  /// Their logits, then residuals.
  let outputs: SharedRows<Scalar>
  /// What log-likelihoods or derivatives are added to.
  let sums: UnsafeMutablePointer<Double>
}

/// Rows of a design with the class of each, and with what multiplies its log-likelihood.
///
/// A weight w ≥ 0 multiplies a row's log-likelihood, and with it residuals, slopes and curvatures, as if the
/// row were there w times.
package struct LabelledRows<Scalar: BLASScalar>: Sendable {
  /// The design, and the number of columns of the logits.
  package var blocks: RowBlocks<Scalar>
  /// One class index a row; -1 stands for "no class of these" (all signs negative).
  package let labels: [Int32]
  /// N numbers that are not negative; `nil` for 1.
  package let weights: [Double]?

  init(
    _ design: DesignMatrix<Scalar>, _ labels: [Int32], _ classCount: Int, _ weights: [Double]?,
    _ parallelism: Parallelism
  ) {
    precondition(
      labels.count == design.rowCount, "\(labels.count) labels for \(design.rowCount) rows")
    if let weights {
      precondition(
        weights.count == design.rowCount, "\(weights.count) weights for \(design.rowCount) rows")
      precondition(
        weights.allSatisfy { $0 >= 0 && $0.isFinite }, "a weight is negative or not finite")
    }
    blocks = RowBlocks(design, outputCount: classCount, parallelism: parallelism)
    self.labels = labels
    self.weights = weights
  }

  /// Calls `body` for every run of rows of equal weight in a block; without weights that is one run.
  ///
  /// What a run adds to the sums is multiplied by its weight, and nothing for weight 0, even where it is
  /// infinity.
  ///
  /// - Parameters:
  ///   - block: the block.
  ///   - scalesOutputs: whether outputs are multiplied by the weights, too.
  ///   - body: adds to the run's sums.
  func forEachRun(
    of block: RowBlocks<Scalar>.Block, scalesOutputs: Bool, _ body: (RowRun<Scalar>) -> Void
  ) {
    unsafe labels.withUnsafeBufferPointer { labels in
      guard let label = labels.baseAddress else { return }
      let range = block.range
      func run(_ rows: Range<Int>, _ sums: UnsafeMutablePointer<Double>) {
        body(
          unsafe RowRun(
            first: rows.lowerBound, count: rows.count, classCount: blocks.outputCount,
            labels: label + rows.lowerBound,
            outputs: block.outputs.from(rows.lowerBound - range.lowerBound), sums: sums))
      }
      guard let weights else { return unsafe run(range, block.sums.pointer) }
      var start = range.lowerBound
      while start < range.upperBound {
        let weight = weights[start]
        var end = start + 1
        while end < range.upperBound, weights[end] == weight { end += 1 }
        let part = unsafe block.spareSums.pointer
        unsafe part.update(repeating: 0, count: block.sums.count)
        unsafe run(start..<end, part)
        if weight > 0 {
          for index in 0..<block.sums.count {
            unsafe block.sums.pointer[index] += weight * part[index]
          }
        }
        if scalesOutputs, weight != 1 {
          block.scaleOutputs(start - range.lowerBound..<end - range.lowerBound, by: weight)
        }
        start = end
      }
    }
  }

  /// Multiplies every row of a matrix by its weight; rows of weight 0 become 0, whatever they held.
  func weigh(_ matrix: inout Matrix<Scalar>) {
    guard let weights else { return }
    let columns = matrix.columnCount
    matrix.withSharedMutableRows { rows in
      for (row, weight) in weights.enumerated() { unsafe scale(rows[row], columns, by: weight) }
    }
  }
}
