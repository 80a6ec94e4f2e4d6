package import BllarseNumerics

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
