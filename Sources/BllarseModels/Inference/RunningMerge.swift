package import BllarseNumerics

/// The posterior of an epoch of merged batches after each of them.
///
/// Batches of fewer rows than the design has columns are fitted side by side, and merged all together at
/// the end of the epoch. What the Python original reports of a batch, and what a score in the middle of an
/// epoch needs, is the posterior in between: it is followed here, for the price of a factorisation a batch.
/// The fit does not depend on it.
package struct RunningMerge {
  private let start: IBProbitHead<Float>
  private let features: FeatureMatrix
  private let labels: [Int32]
  private let iterations: Int
  private let forgettingRate: Double

  /// Λ after the batches so far, D x D, in the lower triangle.
  private var precision: Matrix<Double>
  /// η after the batches so far, D x K.
  private var naturalMean: Matrix<Double>
  /// Λ⁻¹η after the last batch.
  private var mean: Matrix<Double>?

  /// - Parameters:
  ///   - head: at the start of the epoch.
  ///   - features: N x featureCount, the rows of the epoch.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - iterations: how many steps the fit of a batch takes.
  ///   - forgettingRate: in `0...1`, applied before each batch is merged.
  package init(
    _ head: IBProbitHead<Float>, features: FeatureMatrix, labels: [Int32], iterations: Int,
    forgettingRate: Double
  ) {
    start = head
    self.features = features
    self.labels = labels
    self.iterations = iterations
    self.forgettingRate = forgettingRate
    precision = head.posterior.precision
    naturalMean = head.posterior.naturalMean
  }

  /// The posterior after the batches so far.
  package var posterior: GaussianPosterior {
    var full = precision
    full.mirrorLowerTriangle()
    return GaussianPosterior(precision: full, naturalMean: naturalMean)
  }

  /// The head after the batches so far.
  package var head: IBProbitHead<Float> {
    var head = start
    head.posterior = posterior
    head.solvedMean = mean
    return head
  }

  /// Takes up a posterior that an epoch over the same rows had come to.
  package mutating func restore(_ posterior: GaussianPosterior) {
    (precision, naturalMean, mean) = (posterior.precision, posterior.naturalMean, nil)
  }

  /// Merges a batch.
  ///
  /// - Parameters:
  ///   - rows: the rows of the batch.
  ///   - begin: where its iterations start.
  /// - Returns: the mean loss of its rows under the posterior that holds it.
  /// - Throws: `NumericsError.notPositiveDefinite` if a NaN made a precision indefinite.
  package mutating func merge(
    _ rows: ArraySlice<Int>, start begin: IBProbitHead<Float>.Start
  ) throws(NumericsError) -> Double {
    let batch = (features: features.gatheringRows(rows), labels: rows.map { labels[$0] })
    let design = try start.design(batch.features)
    let eta = begin == .zero ? nil : start.naturalMean(of: begin)
    let prior = start.configuration.priorPrecision
    // 1. The batch alone.
    let pass = ProbitBatchPass(
      design: design, labels: batch.labels, classCount: start.configuration.classCount,
      priorPrecision: prior, iterations: iterations, parallelism: start.parallelism)
    let natural = try pass.naturalMeans(
      of: [.init(rows: Array(0..<rows.count)[...], weight: 1)]
    ) { _ in eta }
    // 2. Λ ← Λ₀ + (1 - a)(Λ - Λ₀) + XᵀX,   η ← (1 - a)·η + η_batch.
    let keep = 1 - forgettingRate
    precision.addLowerGram(
      of: Matrix<Double>(design.matrix(rows: 0..<rows.count)), keeping: keep)
    precision.addToDiagonal(
      [Double](repeating: forgettingRate * prior, count: precision.rowCount))
    naturalMean.scale(by: keep)
    naturalMean.add(natural)
    // 3. Its loss.
    let solved = try Cholesky(precision).solve(naturalMean)
    mean = solved
    var plugIn = start
    plugIn.solvedMean = solved
    return try plugIn.originalLoss(batch.features, batch.labels)
  }
}

extension IBProbitHead {
  /// The mean loss of rows as the Python original takes it: of the mixture, under the posterior mean.
  ///
  /// The mean is kept, for those who ask next.
  ///
  /// - Throws: `NumericsError.notPositiveDefinite` if rounding made the precision indefinite.
  package mutating func originalLoss(
    _ features: FeatureMatrix, _ labels: [Int32]
  ) throws(NumericsError) -> Double {
    solvedMean = try mean()
    let losses = try lossesAndLogits(features: features, labels: labels, loss: .mixture).losses
    return losses.reduce(0, +) / Double(max(losses.count, 1))
  }
}
