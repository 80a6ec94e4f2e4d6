package import BllarseNumerics

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
