package import BllarseNumerics

/// An epoch of batches that are fitted alone and merged, step by step: between two steps the epoch can be
/// stored, and a copy of what it had come to goes on with the same bits.
///
/// Batches of at least as many rows as the design has columns are merged one after the other, one a step.
/// Smaller ones are fitted in their own N x N space, some at a time in parallel, and their natural means
/// added up with the weights that forgetting leaves them at the end of the epoch; the last steps form the
/// weighted Gram matrix of all rows, and merge both.
package struct MergedEpoch<Scalar: BLASScalar>: Sendable {
  let features: FeatureMatrix
  let labels: [Int32]
  /// The rows of the epoch, in order, each at most once.
  let order: [Int]
  let batchSize: Int
  let iterations: Int
  let forgettingRate: Double
  let execution: Execution
  package let steps: Steps

  /// Σ of the weighted natural means of the batches so far, D x K; `nil` before the first.
  package private(set) var naturalMean: Matrix<Double>?
  /// The weighted Gram matrix of the rows so far, D x D; `nil` before the first.
  package private(set) var gram: Matrix<Double>?

  /// - Parameters:
  ///   - head: describes the design.
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - order: the rows of the epoch, in order, each at most once.
  ///   - batchSize: rows of a batch, at least 1; the last may have fewer.
  ///   - iterations: how many steps the fit of a batch takes, at least 1.
  ///   - forgettingRate: in `0...1`, applied before each batch is merged.
  ///   - execution: the threads to work with.
  package init(
    _ head: IBProbitHead<Scalar>, features: FeatureMatrix, labels: [Int32], order: [Int],
    batchSize: Int, iterations: Int, forgettingRate: Double, execution: Execution
  ) {
    self.features = features
    self.labels = labels
    self.order = order
    self.batchSize = batchSize
    self.iterations = iterations
    self.forgettingRate = forgettingRate
    self.execution = execution
    steps = Steps(
      head.configuration, rowCount: order.count, batchSize: batchSize, iterations: iterations,
      threadCount: execution.threadCount)
  }

  /// Takes up what an epoch over the same rows had come to.
  package mutating func restore(naturalMean: Matrix<Double>?, gram: Matrix<Double>?) {
    self.naturalMean = naturalMean
    self.gram = gram
  }

  /// Takes a step.
  ///
  /// - Parameters:
  ///   - step: in `0..<steps.count`, each in turn.
  ///   - head: what batches are merged into; small ones all together in the last step.
  ///   - start: where the fit of a batch begins, by its position in the epoch.
  /// - Returns: the iterations of the batches of the step.
  /// - Throws: `NumericsError.notPositiveDefinite` if a NaN made a batch's precision indefinite.
  @specialized(where Scalar == Float)
  package mutating func run(
    _ step: Int, _ head: inout IBProbitHead<Scalar>,
    start: @Sendable (_ batch: Int) -> IBProbitHead<Scalar>.Start
  ) throws(NumericsError) -> Int {
    if steps.isSequential {
      let rows = rows(of: step)
      _ = try head.update(
        features: features.gatheringRows(rows), labels: rows.map { labels[$0] },
        iterations: iterations, forgettingRate: forgettingRate, start: start(step),
        execution: execution)
      return iterations
    }
    if step < steps.batchSteps {
      let batches = steps.batches(step)
      try addNaturalMeans(batches, head, start)
      return iterations * batches.count
    }
    try addGram(steps.gramRows(step, of: features.rowCount), head)
    if step == steps.count - 1, let gram, let naturalMean {
      head.merge(
        gram: gram, naturalMean: naturalMean,
        forgettingRate: 1 - power(1 - forgettingRate, steps.batchCount))
      restore(naturalMean: nil, gram: nil)
    }
    return 0
  }

  /// The rows of a batch.
  package func rows(of batch: Int) -> ArraySlice<Int> {
    order[batch * batchSize..<min((batch + 1) * batchSize, order.count)]
  }

  /// What a batch counts for at the end of the epoch: it is forgotten once for every later batch.
  private func weight(of batch: Int) -> Double {
    power(1 - forgettingRate, steps.batchCount - 1 - batch)
  }

  private mutating func addNaturalMeans(
    _ batches: Range<Int>, _ head: IBProbitHead<Scalar>,
    _ start: @Sendable (_ batch: Int) -> IBProbitHead<Scalar>.Start
  ) throws(NumericsError) {
    let pass = ProbitBatchPass(
      design: try head.design(features), labels: labels, classCount: head.configuration.classCount,
      priorPrecision: head.configuration.priorPrecision, iterations: iterations,
      execution: execution)
    let sum = try pass.naturalMeans(
      of: batches.map { ProbitBatchPass<Scalar>.Batch(rows: rows(of: $0), weight: weight(of: $0)) }
    ) { index in
      let start = start(batches.lowerBound + index)
      return start == .zero ? nil : head.naturalMean(of: start)
    }
    if naturalMean == nil { naturalMean = sum } else { naturalMean?.add(sum) }
  }

  /// Adds rows in the order in which they are stored, which is the order in which they are read fastest.
  private mutating func addGram(
    _ range: Range<Int>, _ head: IBProbitHead<Scalar>
  ) throws(NumericsError) {
    var weights = [Double](repeating: 0, count: features.rowCount)
    for batch in 0..<steps.batchCount {
      let weight = weight(of: batch)
      for row in rows(of: batch) { weights[row] = weight }
    }
    let part = try head.design(features.rows(range)).gram(
      rowWeights: Array(weights[range]), execution: execution)
    if gram == nil { gram = part } else { gram?.add(part) }
  }
}

extension MergedEpoch {
  /// How an epoch is divided into steps of some milliseconds each.
  package struct Steps: Sendable, Equatable {
    /// Whether batches are merged one after the other.
    package let isSequential: Bool
    /// The batches of the epoch.
    package let batchCount: Int
    /// The steps that fit batches.
    package let batchSteps: Int
    /// All steps.
    package let count: Int
    private let batchesOfStep: Int
    private let gramRowsOfStep: Int

    /// Multiplications of a step of batches, and of a step of the Gram matrix.
    private static var batchBudget: Int { 250_000_000 }
    private static var gramBudget: Int { 20_000_000_000 }

    package init(
      _ configuration: HeadShape, rowCount: Int, batchSize: Int,
      iterations: Int, threadCount: Int
    ) {
      let (columns, classes) = (configuration.designColumnCount, configuration.classCount)
      isSequential = batchSize >= columns
      batchCount = (rowCount + batchSize - 1) / batchSize
      guard !isSequential else {
        (batchesOfStep, gramRowsOfStep) = (1, 0)
        batchSteps = batchCount
        count = batchCount
        return
      }
      let cost =
        batchSize
        * (batchSize * (columns + batchSize + iterations * classes) + 2 * columns * classes)
      // Adding up what the threads found costs as much as some batches.
      batchesOfStep = max(8 * threadCount, Self.batchBudget / cost)
      batchSteps = (batchCount + batchesOfStep - 1) / batchesOfStep
      // Whole blocks of the Gram matrix.
      gramRowsOfStep = max(1, Self.gramBudget / (columns * columns) / 2048) * 2048
      count = batchSteps + max(1, (rowCount + gramRowsOfStep - 1) / gramRowsOfStep)
    }

    /// The batches of a step.
    package func batches(_ step: Int) -> Range<Int> {
      step * batchesOfStep..<min((step + 1) * batchesOfStep, batchCount)
    }

    /// The rows that a step adds to the Gram matrix, of all that are stored.
    func gramRows(_ step: Int, of rowCount: Int) -> Range<Int> {
      let first = min((step - batchSteps) * gramRowsOfStep, rowCount)
      return first..<(step == count - 1 ? rowCount : min(first + gramRowsOfStep, rowCount))
    }
  }
}

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
  private let execution: Execution

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
  ///   - execution: the threads to work with.
  package init(
    _ head: IBProbitHead<Float>, features: FeatureMatrix, labels: [Int32], iterations: Int,
    forgettingRate: Double, execution: Execution
  ) {
    start = head
    self.features = features
    self.labels = labels
    self.iterations = iterations
    self.forgettingRate = forgettingRate
    self.execution = execution
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
      priorPrecision: prior, iterations: iterations, execution: execution)
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
    return try plugIn.originalLoss(batch.features, batch.labels, execution)
  }
}
