package import BllarseNumerics

extension CrossEntropyLoss: TrainableLoss {
  package static func batchLoss(smoothing: Double) -> LinearBatchPass<Float>.Loss {
    .crossEntropy(smoothing: smoothing)
  }

  /// The optimum of `Σ log softmax(X·W)_y - λ/2·‖W‖²`, biases free.
  ///
  /// Without a given λ, the one with the best evidence is taken, as `softmax` with `--prior evidence` and the
  /// scaling `global` does.
  package static func optimum(
    _ rows: CentredDesign, labels: [Int32], classCount: Int, smoothing: Double, penalty: Double?,
    parallelism: Parallelism
  ) throws(NumericsError) -> PenalisedOptimum {
    let problem = PenalisedSoftmax(
      rows, labels: labels, classCount: classCount, smoothing: smoothing,
      parallelism: parallelism)
    if let penalty {
      return try problem.optimum(rows.scaledPenalty(penalty))
    }
    return try problem.optimumByEvidence()
  }
}

/// Softmax regression on all rows, centred and scaled, with one L2 strength.
private struct PenalisedSoftmax {
  /// In single precision, for all steps but the last.
  private let quick: LaplaceProblem<SoftmaxPass<Float>>
  /// In double precision, whose rows are widened block by block, in cache: quicker than to read them from memory.
  private let exact: LaplaceProblem<SoftmaxPass<Double>>

  /// Of the biases: so weak that they are as good as free, and enough to fix their common shift.
  private static var biasPrecision: Double { 1e-6 }
  /// The distance to the optimum, in nats, at which the fit ends.
  private static var tolerance: Double { 1e-9 }

  init(
    _ rows: CentredDesign, labels: [Int32], classCount: Int, smoothing: Double,
    parallelism: Parallelism
  ) {
    var design = rows.design
    design.makeResident(limit: residentDesignLimit, parallelism: parallelism)
    let gram = design.gram(rowWeights: nil, parallelism: parallelism)
    let exactPass = SoftmaxPass(
      design: rows.doubleDesign, labels: labels, classCount: classCount, parallelism: parallelism)
    let linearTerm = exactPass.linearTerm(smoothing: smoothing)
    quick = LaplaceProblem(
      pass: SoftmaxPass(
        design: design, labels: labels, classCount: classCount, parallelism: parallelism),
      gram: gram, biasPrecision: Self.biasPrecision, linearTerm: linearTerm)
    exact = LaplaceProblem(
      pass: exactPass, gram: gram, biasPrecision: Self.biasPrecision, linearTerm: linearTerm)
  }

  /// The optimum under a penalty.
  func optimum(_ penalty: Double) throws(NumericsError) -> PenalisedOptimum {
    let prior = quick.prior(penalty)
    let rough = try quick.solve(
      prior, from: .zeros(prior.rowCount, prior.columnCount), isFinal: true)
    let solution = try polish(prior, from: rough.weights)
    return PenalisedOptimum(
      weights: solution.weights, penalty: penalty, logEvidence: nil,
      iterations: rough.iterations + solution.iterations)
  }

  /// The optimum under the penalty with the best evidence.
  func optimumByEvidence() throws(NumericsError) -> PenalisedOptimum {
    let choice = try EvidenceChoice(problem: quick).precision()
    let solution = try polish(exact.prior(choice.precision), from: choice.weights)
    return PenalisedOptimum(
      weights: solution.weights, penalty: choice.precision,
      logEvidence: exact.logEvidence(
        solution, try exact.kronecker(solution.logits, precision: choice.precision)),
      iterations: choice.iterations + solution.iterations, end: choice.end)
  }

  /// The last digits of the objective, which single precision does not have.
  private func polish(
    _ prior: Matrix<Double>, from start: Matrix<Double>
  ) throws(NumericsError) -> ConcaveSolver<SoftmaxPass<Double>>.Solution {
    try exact.solve(prior, from: start, within: Self.tolerance, iterationLimit: 500)
  }
}

extension SoftmaxPass {
  /// What targets `(1 - s)·Y + s/K` in place of Y add to the gradient: `s·Xᵀ(1/K - Y)`, whatever the weights.
  ///
  /// - Parameter smoothing: s, the share of a label that is spread over all classes.
  /// - Returns: D x K; `nil` for s = 0.
  func linearTerm(smoothing: Double) -> Matrix<Double>? {
    guard smoothing > 0 else { return nil }
    var logits = Matrix<Scalar>.zeros(design.rowCount, classCount)
    // At zero weights the residuals are Y - 1/K.
    var term = restart(at: .zeros(design.columnCount, classCount), logits: &logits).products
    term.scale(by: -smoothing)
    return term
  }
}
