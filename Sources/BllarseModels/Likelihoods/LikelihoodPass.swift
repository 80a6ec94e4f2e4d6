package import BllarseNumerics

/// A likelihood over the rows of a design, as a concave function of the logits M = X·W, W (D x C), plus offsets where
/// there are some.
///
/// A likelihood says what it is on a run of rows: log-likelihood, residuals R (the gradient with respect to the
/// logits) and the derivatives along a line. A solver asks for sums over one reading of the features. Where
/// the log-likelihood is a sum over the columns of M (``isSeparable``), slopes, curvatures and steps come one a
/// column; otherwise there is one of each for all columns together.
package protocol LikelihoodPass: Sendable {
  associatedtype Scalar: BLASScalar

  /// Design, labels and weights.
  var rows: LabelledRows<Scalar> { get set }
  /// Whether the log-likelihood is a sum over columns.
  static var isSeparable: Bool { get }

  init(rows: LabelledRows<Scalar>)

  /// Overwrites logits by residuals, and, if wanted, adds log-likelihoods to the sums: one a column, or to the first.
  static func formResiduals(_ run: RowRun<Scalar>, withLikelihoods: Bool)
  /// Moves logits by steps along a direction; residuals and log-likelihoods there.
  static func advance(
    _ run: RowRun<Scalar>, logits: SharedRows<Scalar>, direction: SharedRows<Scalar>,
    steps: UnsafePointer<Scalar>)
  /// Adds slopes and curvatures at steps along a direction: C sums of the first and C of the second.
  static func addLine(
    _ run: RowRun<Scalar>, logits: SharedRows<Scalar>, direction: SharedRows<Scalar>,
    steps: UnsafePointer<Scalar>)
  /// Residuals R and curvatures h of every row and column, N x C: h is the negative second derivative with
  /// respect to one logit, without any factor but the row's weight.
  func residualsAndCurvatures(
    _ logits: Matrix<Scalar>
  ) -> (residuals: Matrix<Scalar>, curvatures: Matrix<Scalar>)
}

/// What a reading of the rows sums.
package struct LikelihoodSums: Sendable {
  /// XᵀR, D x C.
  package var products: Matrix<Double>
  /// Σᵢ wᵢ log p for each column, or in the first place.
  package var logLikelihoods: [Double]
}

/// The log-likelihood along a search direction.
package struct LikelihoodLine: Sendable {
  /// First derivatives with respect to the steps.
  package var slopes: [Double]
  /// Second derivatives, never positive.
  package var curvatures: [Double]
}

extension LikelihoodPass {
  /// Describes the likelihood.
  ///
  /// - Parameters:
  ///   - design: X, N x D.
  ///   - labels: N class indices; or -1, for none of these, where the likelihood is separable.
  ///   - classCount: C.
  ///   - weights: w, N numbers that are not negative; `nil` for 1.
  ///   - execution: the threads to work with.
  package init(
    design: DesignMatrix<Scalar>, labels: [Int32], classCount: Int, weights: [Double]? = nil,
    execution: Execution
  ) {
    let lowest: Int32 = Self.isSeparable ? -1 : 0
    if let row = labels.firstIndex(where: { $0 < lowest || Int($0) >= classCount }) {
      preconditionFailure("the label of row \(row) is \(labels[row]) of \(classCount) classes")
    }
    self.init(rows: LabelledRows(design, labels, classCount, weights, execution))
  }

  /// The design, N x D.
  package var design: DesignMatrix<Scalar> { rows.blocks.design }
  /// One class index a row.
  package var labels: [Int32] { rows.labels }
  /// What multiplies each row's log-likelihood, N numbers that are not negative; `nil` for 1.
  package var weights: [Double]? { rows.weights }
  /// C, the number of columns of the weights.
  package var classCount: Int { rows.blocks.outputCount }
  /// How threads are used, and what solvers ask whether to go on.
  package var execution: Execution {
    get { rows.blocks.execution }
    set { rows.blocks.execution = newValue }
  }
  /// The number of steps of a line search: one a column, or one.
  package var stepCount: Int { Self.isSeparable ? classCount : 1 }

  /// The gradient XᵀR at weights, and, if wanted, the log-likelihood.
  package func sums(at weights: Matrix<Double>, withLikelihoods: Bool = true) -> LikelihoodSums {
    let packed = rows.blocks.pack(Matrix(weights))
    return unsafe sums { block, features in
      unsafe block.multiply(features, packed, into: block.outputs)
      rows.addOffsets(to: block)
      rows.forEachRun(of: block, scalesOutputs: true) {
        Self.formResiduals($0, withLikelihoods: withLikelihoods)
      }
    }
  }

  /// Computes all logits again, with the gradient XᵀR and the log-likelihood there.
  package func restart(
    at weights: Matrix<Double>, logits: inout Matrix<Scalar>
  ) -> LikelihoodSums {
    let packed = rows.blocks.pack(Matrix(weights))
    return logits.withSharedMutableRows { kept in
      unsafe sums { block, features in
        unsafe block.multiply(features, packed, into: block.outputs)
        rows.addOffsets(to: block)
        block.copyOutputs(to: kept)
        rows.forEachRun(of: block, scalesOutputs: true) {
          Self.formResiduals($0, withLikelihoods: true)
        }
      }
    }
  }

  /// Moves the logits along a direction, M += Mp·diag(t), with gradient and log-likelihood there.
  package func advance(
    logits: inout Matrix<Scalar>, direction: Matrix<Scalar>, steps: [Double]
  ) -> LikelihoodSums {
    let steps = steps.map { Scalar($0) }
    return logits.withSharedMutableRows { kept in
      direction.withSharedRows { direction in
        unsafe sums { block, _ in
          unsafe forEachRun(of: block, scalesOutputs: true, steps) { run, steps in
            unsafe Self.advance(
              run, logits: kept.from(run.first), direction: direction.from(run.first), steps: steps)
          }
        }
      }
    }
  }

  /// Computes the logits of a search direction, and the line at first steps in the same pass.
  package func direction(
    of vector: Matrix<Double>, into direction: inout Matrix<Scalar>, logits: Matrix<Scalar>,
    steps: [Double]
  ) -> LikelihoodLine {
    let packed = rows.blocks.pack(Matrix(vector))
    return direction.withSharedMutableRows { direction in
      logits.withSharedRows { logits in
        line(logits, direction, steps) { block in
          unsafe block.withRows {
            unsafe block.multiply($0, packed, into: direction.from(block.range.lowerBound))
          }
        }
      }
    }
  }

  /// The line at given steps, from the logits alone.
  package func line(
    logits: Matrix<Scalar>, direction: Matrix<Scalar>, steps: [Double]
  ) -> LikelihoodLine {
    logits.withSharedRows { logits in
      direction.withSharedRows { line(logits, $0, steps) { _ in } }
    }
  }

  private func line(
    _ logits: SharedRows<Scalar>, _ direction: SharedRows<Scalar>, _ steps: [Double],
    _ prepare: @Sendable (RowBlocks<Scalar>.Block) -> Void
  ) -> LikelihoodLine {
    let steps = steps.map { Scalar($0) }
    let sums = rows.blocks.sums(count: 2 * classCount, hasProducts: false) { block in
      prepare(block)
      unsafe forEachRun(of: block, scalesOutputs: false, steps) { run, steps in
        unsafe Self.addLine(
          run, logits: logits.from(run.first), direction: direction.from(run.first), steps: steps)
      }
    }.values
    return LikelihoodLine(
      slopes: Array(sums[..<stepCount]),
      curvatures: Array(sums[classCount..<classCount + stepCount]))
  }

  private func forEachRun(
    of block: RowBlocks<Scalar>.Block, scalesOutputs: Bool, _ steps: [Scalar],
    _ body: (RowRun<Scalar>, UnsafePointer<Scalar>) -> Void
  ) {
    unsafe steps.withUnsafeBufferPointer { steps in
      guard let step = steps.baseAddress else { return }
      rows.forEachRun(of: block, scalesOutputs: scalesOutputs) { unsafe body($0, step) }
    }
  }

  /// Lets `body` form residuals from the rows of a block, and sums their products with the rows.
  private func sums(
    _ body: @Sendable (RowBlocks<Scalar>.Block, UnsafePointer<Scalar>) -> Void
  ) -> LikelihoodSums {
    let sums = rows.blocks.sums(count: classCount) { block in
      unsafe block.withRows { features in
        unsafe body(block, features)
        unsafe block.addProducts(features)
      }
    }
    return LikelihoodSums(products: sums.products, logLikelihoods: sums.values)
  }
}

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
  /// What is added to the logits of every row, N x C; `nil` for nothing.
  var offsets: Matrix<Scalar>?

  init(
    _ design: DesignMatrix<Scalar>, _ labels: [Int32], _ classCount: Int, _ weights: [Double]?,
    _ execution: Execution
  ) {
    precondition(
      labels.count == design.rowCount, "\(labels.count) labels for \(design.rowCount) rows")
    if let weights {
      precondition(
        weights.count == design.rowCount, "\(weights.count) weights for \(design.rowCount) rows")
      precondition(
        weights.allSatisfy { $0 >= 0 && $0.isFinite }, "a weight is negative or not finite")
    }
    blocks = RowBlocks(design, outputCount: classCount, execution: execution)
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

  /// Adds the offsets to the logits of a block.
  func addOffsets(to block: RowBlocks<Scalar>.Block) {
    offsets?.withSharedRows { offsets in
      for (place, row) in block.range.enumerated() {
        let (target, source) = unsafe (block.outputs[place], offsets[row])
        for column in 0..<blocks.outputCount { unsafe target[column] += source[column] }
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

/// The softmax likelihood: Σᵢ wᵢ log p, P = softmax(M) by row, R = Y - P for one-hot labels Y (N x K).
package struct SoftmaxPass<Scalar: BLASScalar>: LikelihoodPass {
  package var rows: LabelledRows<Scalar>
  package static var isSeparable: Bool { false }

  package init(rows: LabelledRows<Scalar>) { self.rows = rows }

  package static func formResiduals(_ run: RowRun<Scalar>, withLikelihoods: Bool) {
    unsafe run.sums[0] += unsafe Scalar.kernels.softmaxResidual(
      run.count, run.classCount, run.outputs.pointer, run.outputs.stride, run.labels,
      run.outputs.pointer, run.outputs.stride)
  }

  package static func advance(
    _ run: RowRun<Scalar>, logits: SharedRows<Scalar>, direction: SharedRows<Scalar>,
    steps: UnsafePointer<Scalar>
  ) {
    unsafe run.sums[0] += unsafe Scalar.kernels.softmaxAdvance(
      run.count, run.classCount, logits.pointer, logits.stride, direction.pointer,
      direction.stride, steps[0], run.labels, run.outputs.pointer, run.outputs.stride)
  }

  package static func addLine(
    _ run: RowRun<Scalar>, logits: SharedRows<Scalar>, direction: SharedRows<Scalar>,
    steps: UnsafePointer<Scalar>
  ) {
    unsafe Scalar.kernels.softmaxLine(
      run.count, run.classCount, logits.pointer, logits.stride, direction.pointer,
      direction.stride, steps[0], run.labels, run.sums, run.sums + run.classCount)
  }

  package func residualsAndCurvatures(
    _ logits: Matrix<Scalar>
  ) -> (residuals: Matrix<Scalar>, curvatures: Matrix<Scalar>) {
    var residuals = logits.compact()
    let (rowCount, classes) = (logits.rowCount, classCount)
    residuals.withSharedMutableRows { values in
      unsafe labels.withUnsafeBufferPointer { labels in
        guard let label = labels.baseAddress else { return }
        _ = unsafe Scalar.kernels.softmaxResidual(
          rowCount, classes, values.pointer, values.stride, label, values.pointer, values.stride)
      }
    }
    // p(1 - p) = |R|(1 - |R|) in every column: |R| is p, or 1 - p at the label.
    var curvatures = residuals.map { $0.magnitude * (1 - $0.magnitude) }
    rows.weigh(&residuals)
    rows.weigh(&curvatures)
    return (residuals, curvatures)
  }
}

/// The likelihood of the probit heads: Σᵢ wᵢ Σ_k log Φ(S·M), S (N x K) = +1 at a row's class and -1 elsewhere.
///
/// R = S·r(S·M) with r the inverse Mills ratio. With row weights w, every sum over rows is weighted, and R and
/// the curvatures are those of the weighted log-likelihood.
package struct ProbitPass<Scalar: BLASScalar>: LikelihoodPass {
  package var rows: LabelledRows<Scalar>
  package static var isSeparable: Bool { true }

  package init(rows: LabelledRows<Scalar>) { self.rows = rows }

  package static func formResiduals(_ run: RowRun<Scalar>, withLikelihoods: Bool) {
    _ = unsafe Scalar.kernels.probitResidual(
      run.count, run.classCount, run.outputs.pointer, run.outputs.stride, run.labels,
      run.outputs.pointer, run.outputs.stride, nil, 0, nil, 0,
      withLikelihoods ? run.sums : nil, 0)
  }

  package static func advance(
    _ run: RowRun<Scalar>, logits: SharedRows<Scalar>, direction: SharedRows<Scalar>,
    steps: UnsafePointer<Scalar>
  ) {
    _ = unsafe Scalar.kernels.probitAdvance(
      run.count, run.classCount, logits.pointer, logits.stride, direction.pointer,
      direction.stride, steps, run.labels, run.outputs.pointer, run.outputs.stride, run.sums, 0)
  }

  package static func addLine(
    _ run: RowRun<Scalar>, logits: SharedRows<Scalar>, direction: SharedRows<Scalar>,
    steps: UnsafePointer<Scalar>
  ) {
    unsafe Scalar.kernels.probitLine(
      run.count, run.classCount, logits.pointer, logits.stride, direction.pointer,
      direction.stride, steps, run.labels, nil, run.sums, run.sums + run.classCount)
  }

  package func residualsAndCurvatures(
    _ logits: Matrix<Scalar>
  ) -> (residuals: Matrix<Scalar>, curvatures: Matrix<Scalar>) {
    var residuals = Matrix<Scalar>.zeros(logits.rowCount, classCount)
    var curvatures = residuals
    residuals.withSharedMutableRows { residuals in
      curvatures.withSharedMutableRows { curvatures in
        unsafe logits.withProbitRows(labels) { rows, classes, values, labels in
          _ = unsafe Scalar.kernels.probitResidual(
            rows, classes, values.pointer, values.stride, labels, residuals.pointer,
            residuals.stride, nil, 0, curvatures.pointer, curvatures.stride, nil, 0)
        }
      }
    }
    rows.weigh(&residuals)
    rows.weigh(&curvatures)
    return (residuals, curvatures)
  }

  /// The means over the rows of the curvatures `wᵢ·h(S·M)`, one for each class.
  package func columnCurvatures(_ logits: Matrix<Scalar>) -> [Double] {
    let sums = logits.withSharedRows { logits in
      rows.blocks.sums(count: classCount, hasProducts: false) { block in
        rows.forEachRun(of: block, scalesOutputs: false) { run in
          let values = logits.from(run.first)
          _ = unsafe Scalar.kernels.probitResidual(
            run.count, run.classCount, values.pointer, values.stride, run.labels, nil, 0, nil, 0,
            run.outputs.pointer, run.outputs.stride, nil, 0)
          for row in 0..<run.count {
            unsafe Scalar.kernels.accumulate(
              run.classCount, weights?[run.first + row] ?? 1, run.outputs[row], block.sums.pointer)
          }
        }
      }.values
    }
    return sums.map { $0 / Double(Swift.max(logits.rowCount, 1)) }
  }

  /// Σ log Φ(S·M) over all rows and classes, without weights.
  func logLikelihood(of logits: Matrix<Scalar>) -> Double {
    let sums = Scratch<Double>(count: classCount)
    unsafe logits.withProbitRows(labels) { rows, classes, values, labels in
      _ = unsafe Scalar.kernels.probitResidual(
        rows, classes, values.pointer, values.stride, labels, nil, 0, nil, 0, nil, 0, sums.pointer,
        0)
    }
    return (0..<classCount).reduce(0) { unsafe $0 + sums.pointer[$1] }
  }
}

extension Matrix where Element: BLASScalar {
  /// z̄ = M + S·r(S·M) for logits M of rows with these labels.
  func latentMeans(labels: [Int32]) -> Matrix {
    var result = Matrix.zeros(rowCount, columnCount)
    result.withSharedMutableRows { target in
      unsafe withProbitRows(labels) { rows, classes, values, labels in
        _ = unsafe Element.kernels.probitResidual(
          rows, classes, values.pointer, values.stride, labels, nil, 0, target.pointer,
          target.stride, nil, 0, nil, 0)
      }
    }
    return result
  }

  fileprivate func withProbitRows(
    _ labels: [Int32],
    _ body: (
      _ rows: Int, _ classes: Int, _ logits: SharedRows<Element>, _ labels: UnsafePointer<Int32>
    ) -> Void
  ) {
    unsafe labels.withUnsafeBufferPointer { labels in
      guard let label = labels.baseAddress, rowCount > 0 else { return }
      withSharedRows { unsafe body(rowCount, columnCount, $0, label) }
    }
  }
}
