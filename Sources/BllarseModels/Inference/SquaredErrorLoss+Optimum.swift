package import BllarseNumerics
import Glibc

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
    _ rows: CentredDesign, labels: [Int32], classCount: Int, smoothing: Double,
    penalty given: Double?, parallelism: Parallelism
  ) throws(NumericsError) -> PenalisedOptimum {
    let count = Double(labels.count)
    var shares = [Double](repeating: 0, count: classCount)
    for label in labels { shares[Int(label)] += 1 / count }
    let ridge = try RidgeProblem(rows, labels: labels, shares: shares, parallelism: parallelism)
    let total = shares.reduce(0) { $0 + count * $1 * (1 - $1) }
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
    _ rows: CentredDesign, labels: [Int32], shares: [Double], parallelism: Parallelism
  ) throws(NumericsError) {
    let (size, classCount) = (rows.design.columnCount - 1, shares.count)
    if let basis = rows.basis {
      // c = U·Y; the rows of U sum to 0, so that Y need not be centred.
      var targets = Matrix<Double>.zeros(labels.count, classCount)
      for (row, label) in labels.enumerated() {
        for k in 0..<classCount { targets[row, k] = (Int(label) == k ? 1 : 0) - shares[k] }
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
    let gram = design.gram(rowWeights: nil, parallelism: parallelism)
    var crossed = Matrix<Double>.zeros(size, classCount)  // XᵀY, centred
    for k in 0..<classCount {
      let column = design.transposeMultiplied(
        by: labels.map { (Int($0) == k ? 1 : 0) - shares[k] }, parallelism: parallelism)
      for row in 0..<size { crossed[row, k] = column[row] }
    }
    try parallelism.checkCancellation()
    let eigen = try parallelism.withBLAS { () throws(NumericsError) in try SymmetricEigen(gram) }
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
