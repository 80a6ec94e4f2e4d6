public import BllarseNumerics

extension IBProbitHead {
  /// The natural mean from which the iterations of an update start.
  public enum Start: Sendable, Equatable {
    /// Zero weights.
    case zero
    /// Standard normal numbers over the square root of D, from a stream of this seed and index, as
    /// the reference starts; with few iterations the start matters.
    case seeded(UInt64, index: UInt64 = 0)
    /// A natural mean, D x K.
    case naturalMean(Matrix<Double>)
  }

  /// What an update reports.
  public struct UpdateInfo: Sendable, Equatable {
    /// The number of fixed-point iterations.
    public var iterations: Int
    /// The evidence lower bounds of the batch, in nats: empty unless asked for.
    ///
    /// One at the start of each iteration, with q(z) refreshed, and one after the last; they never fall,
    /// up to rounding.
    public var evidenceLowerBounds: [Double]
  }

  /// Fits a batch by coordinate ascent and merges it into the posterior.
  ///
  /// The batch is fitted alone under the prior, by `iterations` steps
  ///
  ///     M = X·V·η,   Z = M + S·r(S·M),   η ← XᵀZ,      V = (Λ₀ + XᵀX)⁻¹
  ///
  /// and then merged, with forgetting rate a:
  ///
  ///     Λ ← Λ₀ + (1 - a)(Λ - Λ₀) + XᵀX,   η ← (1 - a)·η + η_batch.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - iterations: how many steps, at least 1.
  ///   - forgettingRate: a, in `0...1`.
  ///   - start: where the steps begin.
  ///   - reportsBounds: whether to compute the evidence lower bounds, for the price of one more pass.
  /// - Returns: iterations and bounds.
  /// - Throws: `NumericsError` for rows or labels that cannot be, with the first of them;
  ///   `notPositiveDefinite` if rounding made `Λ₀ + XᵀX` indefinite. The head is unchanged then.
  /// - Complexity: N·D² + D³/3 once, and 4·N·D·K + 2·D²·K for each step.
  /// - Note: Same result as the Python original, given the same start.
  @discardableResult
  public mutating func update(
    features: FeatureMatrix, labels: [Int32], iterations: Int, forgettingRate: Double = 0,
    start: Start = .zero, reportsBounds: Bool = false
  ) throws(NumericsError) -> UpdateInfo {
    try checkUpdate(features, labels, iterations: iterations, forgettingRate: forgettingRate)
    try check(start)
    return try update(
      checked: features, labels: labels, iterations: iterations, forgettingRate: forgettingRate,
      start: start, reportsBounds: reportsBounds)
  }

  /// Updates the posterior by a batch that was checked.
  @specialized(where Scalar == Float)
  package mutating func update(
    checked features: FeatureMatrix, labels: [Int32], iterations: Int, forgettingRate: Double,
    start: Start, reportsBounds: Bool = false
  ) throws(NumericsError) -> UpdateInfo {
    if features.rowCount < configuration.designColumnCount && !reportsBounds {
      let total = try runEpoch(
        MergedEpoch(
          self, features: features, labels: labels, order: Array(0..<features.rowCount),
          batchSize: features.rowCount, iterations: iterations, forgettingRate: forgettingRate)
      ) { _ in start }
      return UpdateInfo(iterations: total, evidenceLowerBounds: [])
    }
    var design = try design(features)
    design.makeResident(limit: residentDesignLimit, parallelism: parallelism)
    let gram = design.gram(parallelism: parallelism)
    let fit = try CoordinateAscent(
      pass: ProbitPass(
        design: design, labels: labels, classCount: configuration.classCount,
        parallelism: parallelism),
      gram: gram, priorPrecision: configuration.priorPrecision)
    let (natural, bounds) = try fit.run(
      from: naturalMean(of: start), iterations: iterations, reportsBounds: reportsBounds)
    merge(gram: gram, naturalMean: natural, forgettingRate: forgettingRate)
    return UpdateInfo(iterations: iterations, evidenceLowerBounds: bounds)
  }

  /// Fits batches one after the other, each alone, and merges them into the posterior: an epoch.
  ///
  /// The result is that of ``update(features:labels:iterations:forgettingRate:start:reportsBounds:)``
  /// for each batch in turn. Batches of fewer rows than the design has columns are fitted in their own
  /// N x N space, in parallel, and the precision is one weighted Gram matrix of the whole epoch; the
  /// mean is not solved for.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - order: the rows of the epoch, in order, each at most once.
  ///   - batchSize: rows of a batch; the last may have fewer.
  ///   - iterations: how many steps a batch takes, at least 1.
  ///   - forgettingRate: in `0...1`, applied before each batch is merged.
  ///   - start: where the steps of a batch begin, by its position in the epoch.
  /// - Returns: the iterations of all batches; no bounds.
  /// - Throws: `NumericsError` for rows, labels or an order that cannot be, with the first place;
  ///   `notPositiveDefinite` if rounding made a batch's precision indefinite.
  /// - Complexity: N·D² for the epoch, and batchSize²·(D + iterations·K) for each batch.
  @discardableResult
  public mutating func update(
    features: FeatureMatrix, labels: [Int32], order: [Int], batchSize: Int, iterations: Int,
    forgettingRate: Double = 0, start: @Sendable (_ batch: Int) -> Start = { _ in .zero }
  ) throws(NumericsError) -> UpdateInfo {
    try checkUpdate(features, labels, iterations: iterations, forgettingRate: forgettingRate)
    try NumericsError.require(batchSize >= 1, "the batch size", Double(batchSize), "1 or more")
    try TrainingRows.checkOrder(order, rowCount: features.rowCount)
    for batch in 0..<(order.count + batchSize - 1) / batchSize { try check(start(batch)) }
    let total = try runEpoch(
      MergedEpoch(
        self, features: features, labels: labels, order: order, batchSize: batchSize,
        iterations: iterations, forgettingRate: forgettingRate), start: start)
    return UpdateInfo(iterations: total, evidenceLowerBounds: [])
  }

  /// Takes all steps of an epoch, and returns the iterations of its batches.
  private mutating func runEpoch(
    _ merged: MergedEpoch<Scalar>, start: @Sendable (_ batch: Int) -> Start
  ) throws(NumericsError) -> Int {
    var epoch = merged
    var total = 0
    for step in 0..<epoch.steps.count { total += try epoch.run(step, &self, start: start) }
    return total
  }

  private func checkUpdate(
    _ features: FeatureMatrix, _ labels: [Int32], iterations: Int, forgettingRate: Double
  ) throws(NumericsError) {
    try TrainingRows.check(
      features, labels: labels, featureCount: configuration.featureCount,
      classCount: configuration.classCount, parallelism: parallelism)
    try NumericsError.requireUpdate(iterations: iterations, forgettingRate: forgettingRate)
  }

  /// Refuses a start of another shape than the weights.
  private func check(_ start: Start) throws(NumericsError) {
    guard case .naturalMean(let matrix) = start else { return }
    try TrainingRows.checkStart(
      matrix, rowCount: configuration.designColumnCount, columnCount: configuration.classCount)
  }

  /// Adds a batch's natural parameters to the posterior, after letting it forget.
  mutating func merge(gram: Matrix<Double>, naturalMean: Matrix<Double>, forgettingRate: Double) {
    let keep = 1 - forgettingRate
    let prior = configuration.priorPrecision
    let size = posterior.size
    posterior.precision.scale(by: keep)
    posterior.precision.add(gram)
    posterior.precision.addToDiagonal([Double](repeating: forgettingRate * prior, count: size))
    posterior.naturalMean.scale(by: keep)
    posterior.naturalMean.add(naturalMean)
  }

  func naturalMean(of start: Start) -> Matrix<Double> {
    let (size, classes) = (configuration.designColumnCount, configuration.classCount)
    switch start {
    case .zero:
      return .zeros(size, classes)
    case .seeded(let seed, let index):
      var generator = Philox(seed: seed, purpose: .initialisation, index: index)
      let scale = 1 / Double(size).squareRoot()
      return Matrix(
        rows: size, columns: classes,
        elements: generator.normals(count: size * classes).map { $0 * scale })
    case .naturalMean(let matrix):
      precondition(
        matrix.rowCount == size && matrix.columnCount == classes,
        "a start of \(matrix.rowCount) x \(matrix.columnCount), not \(size) x \(classes)")
      return matrix
    }
  }
}

/// A design matrix of at most this many bytes is kept in memory during a fit.
package let residentDesignLimit = 128 << 20

/// `base` to a power that is not negative.
package func power(_ base: Double, _ exponent: Int) -> Double {
  var result = 1.0
  var (square, rest) = (base, exponent)
  while rest > 0 {
    if rest & 1 == 1 { result *= square }
    square *= square
    rest >>= 1
  }
  return result
}
