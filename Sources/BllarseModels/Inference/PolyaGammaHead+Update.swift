public import BllarseNumerics
import Synchronization

extension PolyaGammaHead {
  /// What an update or a fit reports.
  public struct UpdateInfo: Sendable, Equatable {
    /// The most iterations that a question took.
    public var iterations: Int
    /// Whether the tolerance was reached; true for a fixed number of iterations.
    public var converged: Bool
    /// The evidence lower bound of the batch, all questions together, at the start of each iteration,
    /// and after the last if asked for; it never falls, up to rounding.
    public var evidenceLowerBounds: [Double]
  }

  /// Updates the posterior by a batch, with a fixed number of coordinate-ascent iterations.
  ///
  /// The prior of the batch is the running posterior, mean and precision, after forgetting:
  /// `Λ ← (1 - a)·Λ + a·Λ₀`, `η ← (1 - a)·η`. The natural mean becomes `η + Xᵀκ`, so without forgetting
  /// it does not depend on how rows are split into batches.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - iterations: how many steps, at least 1.
  ///   - forgettingRate: a, in `0...1`.
  ///   - start: the mean of the weights from which the iterations start, D x C; the prior's by default.
  ///   - reportsBounds: whether to evaluate the bound after the last iteration, for one more pass.
  /// - Returns: iterations and bounds.
  /// - Throws: `NumericsError` for rows or labels that cannot be, with the first of them, before anything
  ///   changes; `notPositiveDefinite` if rounding made a precision indefinite.
  /// - Complexity: each iteration C·(2·N·D² + D³/3); memory C·D² for the posterior, D² and N a thread.
  /// - Note: Same result as the Python original, given the same prior and start.
  @discardableResult
  public mutating func update(
    features: FeatureMatrix, labels: [Int32], iterations: Int, forgettingRate: Double = 0,
    start: Matrix<Double>? = nil, reportsBounds: Bool = false
  ) throws(NumericsError) -> UpdateInfo {
    try TrainingRows.check(
      features, labels: labels, featureCount: configuration.featureCount,
      classCount: configuration.classCount, parallelism: parallelism)
    try NumericsError.requireUpdate(iterations: iterations, forgettingRate: forgettingRate)
    if let start {
      try TrainingRows.checkStart(
        start, rowCount: naturalMean.rowCount, columnCount: naturalMean.columnCount)
    }
    return try update(
      checked: features, labels: labels, iterations: iterations, forgettingRate: forgettingRate,
      start: start, reportsBounds: reportsBounds)
  }

  /// Updates the posterior by a batch that was checked.
  package mutating func update(
    checked features: FeatureMatrix, labels: [Int32], iterations: Int, forgettingRate: Double = 0,
    start: Matrix<Double>? = nil, reportsBounds: Bool = false
  ) throws(NumericsError) -> UpdateInfo {
    if forgettingRate > 0 { forget(forgettingRate) }
    return try ascend(
      features, labels, start: start,
      .init(iterations: iterations, tolerance: nil, reportsLastBound: reportsBounds))
  }

  /// Fits all rows at once, until the bound stops rising, and makes that the posterior.
  ///
  /// What the posterior held before is replaced.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - tolerance: a question is done when two iterations in a row gain less than this fraction of its
  ///     bound's magnitude.
  ///   - iterationLimit: the fit ends after so many iterations, converged or not.
  /// - Returns: iterations and bounds.
  /// - Throws: `NumericsError` for rows or labels that cannot be, with the first of them, before anything
  ///   changes; `notPositiveDefinite` if rounding made a precision indefinite.
  @discardableResult
  public mutating func fit(
    features: FeatureMatrix, labels: [Int32], tolerance: Double = 1e-6, iterationLimit: Int = 500
  ) throws(NumericsError) -> UpdateInfo {
    try TrainingRows.check(
      features, labels: labels, featureCount: configuration.featureCount,
      classCount: configuration.classCount, parallelism: parallelism)
    try NumericsError.require(tolerance > 0, "the tolerance", tolerance, "more than 0")
    return try fit(
      checked: features, labels: labels, tolerance: tolerance, iterationLimit: iterationLimit)
  }

  /// Fits rows that were checked.
  package mutating func fit(
    checked features: FeatureMatrix, labels: [Int32], tolerance: Double, iterationLimit: Int = 500
  ) throws(NumericsError) -> UpdateInfo {
    reset()
    return try ascend(
      features, labels, start: nil,
      .init(iterations: iterationLimit, tolerance: tolerance, reportsLastBound: true))
  }

  private mutating func forget(_ rate: Double) {
    let diagonal = [Double](
      repeating: rate * configuration.priorPrecision, count: configuration.designColumnCount)
    for column in precisions.indices {
      precisions[column].scale(by: 1 - rate)
      precisions[column].addToDiagonal(diagonal)
    }
    naturalMean.scale(by: 1 - rate)
  }

  private mutating func ascend(
    _ features: FeatureMatrix, _ labels: [Int32], start: Matrix<Double>?,
    _ limit: LogisticAscent<Scalar>.Limit
  ) throws(NumericsError) -> UpdateInfo {
    let solutions = try solveColumns(features, labels, start, limit)
    for (column, solution) in solutions.enumerated() {
      precisions[column] = solution.precision
      for (row, value) in solution.naturalMean.enumerated() { naturalMean[row, column] = value }
    }
    let count = solutions.map(\.bounds.count).max() ?? 0
    let bounds = (0..<count).map { step in
      solutions.reduce(0) {
        $0 + ($1.bounds.isEmpty ? 0 : $1.bounds[min(step, $1.bounds.count - 1)])
      }
    }
    let iterations = solutions.map(\.iterations).max() ?? 0
    return UpdateInfo(
      iterations: iterations,
      converged: limit.tolerance == nil || iterations < limit.iterations,
      evidenceLowerBounds: bounds)
  }

  /// Solves the questions: several at a time on one thread each where there are enough of them, else one
  /// after the other on all threads.
  private func solveColumns(
    _ features: FeatureMatrix, _ labels: [Int32], _ start: Matrix<Double>?,
    _ limit: LogisticAscent<Scalar>.Limit
  ) throws(NumericsError) -> [LogisticAscent<Scalar>.Solution] {
    typealias Outcome = Result<LogisticAscent<Scalar>.Solution, NumericsError>
    var design = try design(features)
    design.makeResident(limit: residentDesignLimit, parallelism: parallelism)
    let whole = design
    let columns = configuration.columnCount
    let inParallel = columns >= parallelism.threadCount && parallelism.threadCount > 1
    let inner = inParallel ? parallelism.with(threadCount: 1) : parallelism

    @Sendable func solve(_ column: Int) -> Outcome {
      Outcome { () throws(NumericsError) in
        try problem(whole, labels, column, inner)
          .run(from: start?.column(column), limit)
      }
    }
    let outcomes = Mutex([Outcome?](repeating: nil, count: columns))
    if inParallel {
      let workers = parallelism.threadCount
      parallelism.run { worker in
        for column in stride(from: worker, to: columns, by: workers) {
          let outcome = solve(column)
          outcomes.withLock { $0[column] = outcome }
        }
      }
    } else {
      parallelism.withBLAS {
        for column in 0..<columns { outcomes.withLock { $0[column] = solve(column) } }
      }
    }
    var solutions: [LogisticAscent<Scalar>.Solution] = []
    for outcome in outcomes.withLock({ $0 }) {
      if let outcome { solutions.append(try outcome.get()) }
    }
    return solutions
  }

  private func problem(
    _ design: DesignMatrix<Scalar>, _ labels: [Int32], _ column: Int, _ inner: Parallelism
  ) throws(NumericsError) -> LogisticAscent<Scalar> {
    var (design, labels) = (design, labels)
    var counts = labels.map { Coding.asks(label: Int($0), column: column) ? 1.0 : 0.0 }
    let rows = counts.indices.filter { counts[$0] > 0 }
    // Rows that are not asked cost as much as others: leave them out where a copy is affordable.
    if !rows.isEmpty, rows.count < counts.count, design.features.byteCount <= residentDesignLimit {
      design = try self.design(design.features.gatheringRows(rows))
      design.makeResident(limit: residentDesignLimit, parallelism: inner)
      labels = rows.map { labels[$0] }
      counts = [Double](repeating: 1, count: rows.count)
    }
    let responses = zip(labels, counts).map { (Int($0) == column ? 1 : 0) - 0.5 * $1 }
    return LogisticAscent(
      design: design, counts: counts, responses: responses, priorPrecision: precisions[column],
      priorNaturalMean: naturalMean.column(column), parallelism: inner)
  }
}
