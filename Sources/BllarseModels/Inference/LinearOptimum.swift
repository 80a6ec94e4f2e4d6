package import BllarseNumerics
import Glibc

extension CrossEntropyLoss: TrainableLoss {
  package static func batchLoss(smoothing: Double) -> LinearBatchPass<Float>.Loss {
    .crossEntropy(smoothing: smoothing)
  }

  /// The optimum of `Σ log softmax(X·W)_y - λ/2·‖W‖²`, biases free.
  ///
  /// Without a given λ, the one with the best evidence is taken, as `softmax` with `--prior evidence` and the
  /// scaling `global` does.
  package static func optimum(
    _ rows: CentredDesign, labels: [Int32], distributions: ClassDistributions?, classCount: Int,
    smoothing: Double, penalty: Double?, execution: Execution
  ) throws(NumericsError) -> PenalisedOptimum {
    let problem = PenalisedSoftmax(
      rows, labels: labels, distributions, classCount: classCount, smoothing: smoothing,
      execution: execution)
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
    _ rows: CentredDesign, labels: [Int32], _ distributions: ClassDistributions?, classCount: Int,
    smoothing: Double, execution: Execution
  ) {
    var design = rows.design
    design.makeResident(limit: residentDesignLimit, execution: execution)
    let gram = design.gram(rowWeights: nil, execution: execution)
    let exactPass = SoftmaxPass(
      design: rows.doubleDesign, labels: labels, classCount: classCount, execution: execution)
    var linearTerm = exactPass.linearTerm(smoothing: smoothing)
    if let distributions {
      // Targets (1 - s)·Y + s/K are (1 - s)·(Y - E) more than the smoothed labels E.
      var term = exactPass.linearTerm(distributions)
      term.scale(by: 1 - smoothing)
      if let smoothed = linearTerm { term.add(smoothed) }
      linearTerm = term
    }
    quick = LaplaceProblem(
      pass: SoftmaxPass(
        design: design, labels: labels, classCount: classCount, execution: execution),
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

extension SquaredErrorLoss: TrainableLoss {
  package static func batchLoss(smoothing: Double) -> LinearBatchPass<Float>.Loss {
    .squaredError
  }

  /// The optimum of `½·‖Y - X·W‖² + λ/2·‖W‖²`, biases free: ridge regression, from one eigendecomposition
  /// of the Gram matrix of the centred rows, or of the features where there are fewer of these.
  ///
  /// Without a given λ, the evidence of the Gaussian linear model chooses it, its noise variance profiled
  /// out. With eigenvalues e, orthonormal directions u_j of the rows' space and `c_j = u_jᵀY` for centred Y,
  ///
  ///     RSS(λ) = ‖Y‖² - Σ_j ‖c_j‖² + Σ_j ‖c_j‖²·λ/(e_j + λ)
  ///     log p(λ) = -(N-1)K/2·log RSS(λ) + K/2·Σ_j log(λ/(e_j + λ)) + constant.
  ///
  /// - Note: RSS(λ) is minus twice the logarithm of the likelihood of Y with the weights integrated out, but for
  ///   factors; written as a sum of positive terms it has no cancellation where the fit is close.
  package static func optimum(
    _ rows: CentredDesign, labels: [Int32], distributions: ClassDistributions?, classCount: Int,
    smoothing: Double, penalty given: Double?, execution: Execution
  ) throws(NumericsError) -> PenalisedOptimum {
    let count = Double(labels.count)
    var shares = [Double](repeating: 0, count: classCount)
    if let distributions {
      shares = distributions.classTotals(weights: nil).map { $0 / count }
    } else {
      for label in labels { shares[Int(label)] += 1 / count }
    }
    let ridge = try RidgeProblem(
      rows, labels: labels, distributions, shares: shares, execution: execution)
    // ‖Y‖² of the centred targets.
    var total = shares.reduce(0) { $0 + count * $1 * (1 - $1) }
    if let distributions {
      total = 0
      for row in 0..<labels.count {
        for k in 0..<classCount {
          let difference = Double(distributions.probabilities[row, k]) - shares[k]
          total += difference * difference
        }
      }
    }
    // Rows whose space is everything but their mean leave nothing; rounding would.
    let outside =
      Double(ridge.values.count) >= count - 1
      ? 0 : max(total - ridge.squares.reduce(0, +), 1e-12 * total)

    func logEvidence(_ penalty: Double) -> Double {
      var residual = outside
      var volume = 0.0
      for (value, square) in zip(ridge.values, ridge.squares) {
        residual += square * penalty / (value + penalty)
        volume += log(penalty / (value + penalty))
      }
      return 0.5 * Double(classCount) * (volume - (count - 1) * log(residual))
    }
    let range = -14.0...21.0  // of log λ', for features of mean variance 1
    var penalty =
      given.map(rows.scaledPenalty)
      ?? exp(maximum(in: range) { logEvidence(exp($0)) })
    // Where features outnumber rows the evidence may rise to a plateau, on which rounding picks any place.
    if given == nil,
      logEvidence(exp(range.lowerBound)) >= logEvidence(penalty) - 1e-6
    {
      penalty = exp(range.lowerBound)
    }
    let slopes = ridge.slopes(penalty)
    var weights = Matrix<Double>.zeros(slopes.rowCount + 1, classCount)
    weights.replaceBlock(row: 0, column: 0, with: slopes)
    for k in 0..<classCount { weights[slopes.rowCount, k] = shares[k] }
    let isSearched = given == nil
    return PenalisedOptimum(
      weights: weights, penalty: penalty,
      logEvidence: isSearched ? logEvidence(penalty) : nil, iterations: 1,
      end: isSearched
        ? SearchEnd(penalty, of: exp(range.lowerBound)...exp(range.upperBound)) : nil)
  }

  /// The maximum of a function: the best of a grid, then golden sections around it.
  private static func maximum(
    in range: ClosedRange<Double>, _ function: (Double) -> Double
  ) -> Double {
    let step = (range.upperBound - range.lowerBound) / 70
    let grid = (0...70).map { range.lowerBound + Double($0) * step }
    let best = grid.max { function($0) < function($1) } ?? range.lowerBound
    let ratio = 0.618_033_988_749_894_8
    var (low, high) = (
      max(best - step, range.lowerBound), min(best + step, range.upperBound)
    )
    for _ in 0..<40 {
      let left = high - ratio * (high - low)
      let right = low + ratio * (high - low)
      if function(left) > function(right) { high = right } else { low = left }
    }
    return 0.5 * (low + high)
  }
}

/// What ridge regressions with all penalties have in common: the directions in which the rows vary, and how
/// much of the targets lies along each.
private struct RidgeProblem {
  /// e, the squared lengths of the rows along the directions that they vary in.
  let values: [Double]
  /// ‖c_j‖².
  let squares: [Double]
  /// √e_j·c_j, (R, K).
  private let products: Matrix<Double>
  /// The directions among the design's columns, (R, P); `nil` for the columns themselves.
  private let vectors: Matrix<Double>?

  init(
    _ rows: CentredDesign, labels: [Int32], _ distributions: ClassDistributions?,
    shares: [Double], execution: Execution
  ) throws(NumericsError) {
    let (size, classCount) = (rows.design.columnCount - 1, shares.count)
    func target(_ row: Int, _ k: Int) -> Double {
      distributions.map { Double($0.probabilities[row, k]) } ?? (Int(labels[row]) == k ? 1 : 0)
    }
    if let basis = rows.basis {
      // c = U·Y; the rows of U sum to 0, so that Y need not be centred.
      var targets = Matrix<Double>.zeros(labels.count, classCount)
      for row in labels.indices {
        for k in 0..<classCount { targets[row, k] = target(row, k) - shares[k] }
      }
      let along = basis.eigenvectors.multiplied(by: targets)
      values = basis.eigenvalues
      vectors = nil
      squares = (0..<size).map { j in along.row(j).reduce(0) { $0 + $1 * $1 } }
      var products = along
      for (j, value) in values.enumerated() {
        products.withMutableRow(j) { row in for k in row.indices { row[k] *= value.squareRoot() } }
      }
      self.products = products
      return
    }
    // In double precision: columns that nearly repeat one another differ in small eigenvalues.
    let design = DesignMatrix<Double>(
      rows.design.features, transform: rows.design.transform, hasBias: false)
    let gram = design.gram(rowWeights: nil, execution: execution)
    var crossed = Matrix<Double>.zeros(size, classCount)  // XᵀY, centred
    for k in 0..<classCount {
      let column = design.transposeMultiplied(
        by: labels.indices.map { target($0, k) - shares[k] }, execution: execution)
      for row in 0..<size { crossed[row, k] = column[row] }
    }
    try execution.checkCancellation()
    let eigen = try execution.withBLAS { () throws(NumericsError) in try SymmetricEigen(gram) }
    let resolution = 1e-13 * max(eigen.values.last ?? 0, 0)
    let kept = eigen.values.indices.filter { eigen.values[$0] > resolution }
    let vectors = eigen.rowVectors.gatheringRows(kept)
    let products = vectors.multiplied(by: crossed)
    values = kept.map { eigen.values[$0] }
    squares = kept.indices.map { j in
      products.row(j).reduce(0) { $0 + $1 * $1 } / eigen.values[kept[j]]
    }
    self.products = products
    self.vectors = vectors
  }

  /// The weights under a penalty, without biases, P x K.
  func slopes(_ penalty: Double) -> Matrix<Double> {
    var scaled = products
    for (j, value) in values.enumerated() {
      scaled.withMutableRow(j) { row in for k in row.indices { row[k] /= value + penalty } }
    }
    return vectors.map { $0.multiplied(by: scaled, transposing: true) } ?? scaled
  }
}
