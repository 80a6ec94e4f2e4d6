import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension SquaredErrorLoss: TrainableLoss {
  static func batchLoss(_ configuration: RunConfiguration) -> LinearBatchPass<Float>.Loss {
    .squaredError
  }

  /// The optimum of `½·‖Y - X·W‖² + λ/2·‖W‖²`, biases free: ridge regression, from one eigendecomposition
  /// of the centred Gram matrix.
  ///
  /// Without a given λ, the evidence of the Gaussian linear model chooses it, its noise variance profiled
  /// out. With eigenvalues e, and `c = U·XᵀY` for centred X and Y,
  ///
  ///     log p(λ) = -(N-1)K/2·log(‖Y‖² - Σ_j ‖c_j‖²/(e_j + λ)) + K/2·Σ_j log(λ/(e_j + λ)) + constant.
  static func optimum(
    _ design: DesignMatrix<Float>, labels: [Int32], classCount: Int,
    _ configuration: RunConfiguration, parallelism: Parallelism
  ) throws(NumericsError) -> PenalisedOptimum {
    let size = design.columnCount - 1
    let count = Double(labels.count)
    let gram = design.gram(parallelism: parallelism)  // the last row holds column sums
    let means = gram.row(size).dropLast().map { $0 / count }
    var shares = [Double](repeating: 0, count: classCount)
    for label in labels { shares[Int(label)] += 1 / count }

    var centred = Matrix<Double>.zeros(size, size)
    for row in 0..<size {
      for column in 0..<size {
        centred[row, column] = gram[row, column] - count * means[row] * means[column]
      }
    }
    var products = Matrix<Double>.zeros(size, classCount)  // XᵀY, centred
    for k in 0..<classCount {
      let column = design.transposeMultiplied(
        by: labels.map { Int($0) == k ? 1 : 0 }, parallelism: parallelism)
      for row in 0..<size { products[row, k] = column[row] - count * means[row] * shares[k] }
    }
    try parallelism.checkCancellation()
    let eigen = try parallelism.withBLAS { () throws(NumericsError) in
      try SymmetricEigen(centred)
    }
    let values = eigen.values.map { max($0, 0) }
    let rotated = eigen.rowVectors.multiplied(by: products)  // c, (D, K)
    let squares = (0..<size).map { j in rotated.row(j).reduce(0) { $0 + $1 * $1 } }
    let total = shares.reduce(0) { $0 + count * $1 * (1 - $1) }

    func logEvidence(_ penalty: Double) -> Double {
      var residual = total
      var volume = 0.0
      for j in 0..<size {
        residual -= squares[j] / (values[j] + penalty)
        volume += log(penalty / (values[j] + penalty))
      }
      return 0.5 * Double(classCount)
        * (volume - (count - 1) * log(max(residual, 1e-12 * total)))
    }
    let penalty = configuration.penalty ?? exp(maximum(in: -14...21) { logEvidence(exp($0)) })
    var scaled = rotated
    for j in 0..<size {
      for k in 0..<classCount { scaled[j, k] /= values[j] + penalty }
    }
    let slopes = eigen.rowVectors.multiplied(by: scaled, transposing: true)
    var weights = Matrix<Double>.zeros(size + 1, classCount)
    weights.replaceBlock(row: 0, column: 0, with: slopes)
    for k in 0..<classCount {
      weights[size, k] = shares[k]
      for row in 0..<size { weights[size, k] -= means[row] * slopes[row, k] }
    }
    return PenalisedOptimum(
      weights: weights, penalty: penalty,
      logEvidence: configuration.penalty == nil ? logEvidence(penalty) : nil, iterations: 1)
  }

  /// The maximum of a function: the best of a grid, then golden sections around it.
  private static func maximum(
    in range: ClosedRange<Double>, _ function: (Double) -> Double
  ) -> Double {
    let step = (range.upperBound - range.lowerBound) / 70
    let grid = (0...70).map { range.lowerBound + Double($0) * step }
    let best = grid.max { function($0) < function($1) } ?? range.lowerBound
    let ratio = 0.618_033_988_749_894_8
    var (low, high) = (best - step, best + step)
    for _ in 0..<40 {
      let left = high - ratio * (high - low)
      let right = low + ratio * (high - low)
      if function(left) > function(right) { high = right } else { low = left }
    }
    return 0.5 * (low + high)
  }
}
