public import BllarseNumerics
import Synchronization

/// How a class becomes yes-no questions, each answered by a logistic regression of its own.
public protocol BinaryCoding: Sendable {
  /// The name of the head with this coding: "IBPolyaGamma".
  static var kind: String { get }
  /// The number of questions about `classCount` classes.
  static func columnCount(classCount: Int) -> Int
  /// Whether a row of this class is asked a question; the answer is yes when `label == column`.
  static func asks(label: Int, column: Int) -> Bool
}

/// One question a class, "is it this one?".
public enum OneAgainstRest: BinaryCoding {
  /// "IBPolyaGamma".
  public static var kind: String { "IBPolyaGamma" }
  /// K.
  public static func columnCount(classCount: Int) -> Int { classCount }
  /// Every row is asked every question.
  public static func asks(label: Int, column: Int) -> Bool { true }
}

/// Questions in the order of the classes, "is it this one?", given that it is none before.
///
/// The order of the classes matters; frequent ones first fits best.
///
/// - Note: Source: Linderman, Johnson and Adams (2015).
public enum StickBreaking: BinaryCoding {
  /// "MultinomialPolyaGamma".
  public static var kind: String { "MultinomialPolyaGamma" }
  /// K - 1: who is none of the others is the last.
  public static func columnCount(classCount: Int) -> Int { classCount - 1 }
  /// A row is asked until the answer is yes.
  public static func asks(label: Int, column: Int) -> Bool { label >= column }
}

/// Independent binary logistic regressions, one class against the rest, with a Gaussian posterior each.
public typealias IBPolyaGammaHead<Scalar: BLASScalar> = PolyaGammaHead<Scalar, OneAgainstRest>

/// Multinomial logistic regression by stick-breaking, with a Gaussian posterior for each break.
public typealias MultinomialPolyaGammaHead<Scalar: BLASScalar> = PolyaGammaHead<
  Scalar, StickBreaking
>

/// Bayesian logistic regressions, fitted by closed-form variational updates with Polya-Gamma variables.
///
/// Each yes-no question of the coding has weights `w ~ N(0, Λ₀⁻¹)` and a Gaussian posterior with a
/// precision of its own, kept in natural parameters. An update takes the running posterior, mean and
/// precision, as the prior of the batch.
///
/// `Scalar` is the precision of the data and of the products with it: `Float` for work, `Double` for
/// reference. Natural parameters, factorisations and sums are always in double precision.
///
/// - Note: Source: Polson, Scott and Windle (2013). Same result as the Python original, but for the
///   stream of updates of its stick-breaking head, which keeps the precision of earlier batches and
///   drops their mean; this one keeps both.
public struct PolyaGammaHead<Scalar: BLASScalar, Coding: BinaryCoding>: Sendable {
  /// What does not change while the head is fitted.
  public let configuration: HeadShape
  /// The posterior precision of each question, C matrices of D x D.
  public package(set) var precisions: [Matrix<Double>]
  /// The posterior natural mean of each question, a column each, D x C.
  public package(set) var naturalMean: Matrix<Double>
  /// C, the number of questions.
  public var columnCount: Int { naturalMean.columnCount }

  /// A head that has seen no data: its posterior is the prior.
  public init(_ configuration: HeadShape) {
    self.configuration = configuration
    (precisions, naturalMean) = Self.prior(configuration)
  }

  /// A head with a given posterior.
  ///
  /// - Parameters:
  ///   - configuration: as the head was made with.
  ///   - precisions: C matrices of D x D, positive definite.
  ///   - naturalMean: D x C.
  public init(
    _ configuration: HeadShape, precisions: [Matrix<Double>], naturalMean: Matrix<Double>
  ) {
    let size = configuration.designColumnCount
    let columns = Coding.columnCount(classCount: configuration.classCount)
    precondition(
      precisions.count == columns && naturalMean.rowCount == size
        && naturalMean.columnCount == columns
        && precisions.allSatisfy { $0.rowCount == size && $0.columnCount == size },
      "\(precisions.count) precisions and a natural mean of \(naturalMean.rowCount) x "
        + "\(naturalMean.columnCount) for a head of \(size) x \(columns)")
    self.configuration = configuration
    self.precisions = precisions
    self.naturalMean = naturalMean
  }

  /// Returns the posterior to the prior.
  public mutating func reset() { (precisions, naturalMean) = Self.prior(configuration) }

  /// The mean of the weights, D x C; the bias is the last row.
  ///
  /// - Throws: `NumericsError.notPositiveDefinite` if rounding made a precision indefinite.
  public func mean(execution: Execution = .available) throws(NumericsError) -> Matrix<Double> {
    try columns(rowCount: naturalMean.rowCount, execution) { cholesky, column in
      cholesky.solve(naturalMean.column(column))
    }
  }

  /// The design matrix of features under this head's transform.
  ///
  /// - Throws: `NumericsError.sizeMismatch` when the features are not `featureCount` a row.
  public func design(_ features: FeatureMatrix) throws(NumericsError) -> DesignMatrix<Scalar> {
    try configuration.design(features)
  }

  /// A matrix from what `body` makes of each question's factored precision.
  private func columns(
    rowCount: Int, _ execution: Execution,
    _ body: (Cholesky<Double>, _ column: Int) -> [Double]
  ) throws(NumericsError) -> Matrix<Double> {
    var result = Matrix<Double>.zeros(rowCount, columnCount)
    for (column, precision) in precisions.enumerated() {
      let cholesky = try execution.withBLAS { () throws(NumericsError) in
        try Cholesky(precision)
      }
      result.replaceBlock(
        row: 0, column: column,
        with: Matrix(rows: rowCount, columns: 1, elements: body(cholesky, column)))
    }
    return result
  }

  private static func prior(
    _ configuration: HeadShape
  ) -> (precisions: [Matrix<Double>], naturalMean: Matrix<Double>) {
    let size = configuration.designColumnCount
    let columns = Coding.columnCount(classCount: configuration.classCount)
    return (
      [Matrix<Double>](
        repeating: .diagonal(configuration.priorPrecision, size: size), count: columns),
      .zeros(size, columns)
    )
  }
}

// MARK: - Fits and updates

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
  ///   - execution: the threads to work with, and what tells them to stop.
  /// - Returns: iterations and bounds.
  /// - Throws: `NumericsError` for rows or labels that cannot be, with the first of them;
  ///   `notPositiveDefinite` if rounding made a precision indefinite. The head is unchanged then.
  /// - Complexity: each iteration C·(2·N·D² + D³/3); memory C·D² for the posterior, D² and N a thread.
  /// - Note: Same result as the Python original, given the same prior and start.
  @discardableResult
  public mutating func update(
    features: FeatureMatrix, labels: [Int32], iterations: Int, forgettingRate: Double = 0,
    start: Matrix<Double>? = nil, reportsBounds: Bool = false,
    execution: Execution = .available
  ) throws(NumericsError) -> UpdateInfo {
    try configuration.check(features, labels, execution)
    try NumericsError.requireUpdate(iterations: iterations, forgettingRate: forgettingRate)
    if let start {
      try TrainingRows.checkStart(
        start, rowCount: naturalMean.rowCount, columnCount: naturalMean.columnCount)
    }
    return try ascend(
      features, labels, start: start, forgettingRate: forgettingRate,
      .init(iterations: iterations, tolerance: nil, reportsLastBound: reportsBounds), execution)
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
  ///   - execution: the threads to work with, and what tells them to stop.
  /// - Returns: iterations and bounds.
  /// - Throws: `NumericsError` for rows or labels that cannot be, with the first of them, before anything
  ///   changes; `notPositiveDefinite` if rounding made a precision indefinite.
  @discardableResult
  public mutating func fit(
    features: FeatureMatrix, labels: [Int32], tolerance: Double = 1e-6, iterationLimit: Int = 500,
    execution: Execution = .available
  ) throws(NumericsError) -> UpdateInfo {
    try fit(
      features: features, labels, nil, tolerance: tolerance, iterationLimit: iterationLimit,
      execution: execution)
  }

  /// Fits class probabilities, all rows at once, until the bound stops rising, and makes that the posterior.
  ///
  /// A question is asked of a row with the probability b of the classes that it tells apart, and answered by that of
  /// its own class, y: the bound is linear in both, so that it is that of copies of the row with these weights.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - distributions: N x classCount.
  ///   - tolerance: as of ``fit(features:labels:tolerance:iterationLimit:execution:)``.
  ///   - iterationLimit: the same.
  ///   - execution: the same.
  /// - Returns: iterations and bounds.
  /// - Throws: as ``fit(features:labels:tolerance:iterationLimit:execution:)``, and for probabilities of another number of
  ///   classes.
  @discardableResult
  public mutating func fit(
    features: FeatureMatrix, distributions: ClassDistributions, tolerance: Double = 1e-6,
    iterationLimit: Int = 500, execution: Execution = .available
  ) throws(NumericsError) -> UpdateInfo {
    guard distributions.classCount == configuration.classCount else {
      throw .sizeMismatch(
        of: "class probabilities of a row", found: distributions.classCount,
        expected: configuration.classCount, reason: "one for each class")
    }
    return try fit(
      features: features, distributions.labels,
      distributions.areCertain ? nil : distributions, tolerance: tolerance,
      iterationLimit: iterationLimit, execution: execution)
  }

  private mutating func fit(
    features: FeatureMatrix, _ labels: [Int32], _ distributions: ClassDistributions?,
    tolerance: Double, iterationLimit: Int, execution: Execution
  ) throws(NumericsError) -> UpdateInfo {
    try configuration.check(features, labels, execution)
    try NumericsError.require(tolerance > 0, "the tolerance", tolerance, "more than 0")
    reset()
    return try ascend(
      features, labels, distributions, start: nil, forgettingRate: 0,
      .init(iterations: iterationLimit, tolerance: tolerance, reportsLastBound: true), execution)
  }

  private mutating func ascend(
    _ features: FeatureMatrix, _ labels: [Int32], _ distributions: ClassDistributions? = nil,
    start: Matrix<Double>?, forgettingRate: Double, _ limit: LogisticAscent<Scalar>.Limit,
    _ execution: Execution
  ) throws(NumericsError) -> UpdateInfo {
    let solutions = try solveColumns(
      features, labels, distributions, start, forgettingRate, limit, execution)
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
    _ features: FeatureMatrix, _ labels: [Int32], _ distributions: ClassDistributions?,
    _ start: Matrix<Double>?, _ forgettingRate: Double, _ limit: LogisticAscent<Scalar>.Limit,
    _ execution: Execution
  ) throws(NumericsError) -> [LogisticAscent<Scalar>.Solution] {
    typealias Outcome = Result<LogisticAscent<Scalar>.Solution, NumericsError>
    var design = try design(features)
    design.makeResident(limit: residentDesignLimit, execution: execution)
    let whole = design
    let columns = columnCount
    let inParallel = columns >= execution.threadCount && execution.threadCount > 1
    let inner = inParallel ? execution.with(threadCount: 1) : execution

    @Sendable func solve(_ column: Int) -> Outcome {
      Outcome { () throws(NumericsError) in
        try problem(whole, labels, distributions, column, forgettingRate, inner)
          .run(from: start?.column(column), limit)
      }
    }
    let outcomes = Mutex([Outcome?](repeating: nil, count: columns))
    if inParallel {
      let workers = execution.threadCount
      execution.run { worker in
        for column in stride(from: worker, to: columns, by: workers) {
          let outcome = solve(column)
          outcomes.withLock { $0[column] = outcome }
        }
      }
    } else {
      execution.withBLAS {
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
    _ design: DesignMatrix<Scalar>, _ labels: [Int32], _ distributions: ClassDistributions?,
    _ column: Int, _ forgettingRate: Double, _ inner: Execution
  ) throws(NumericsError) -> LogisticAscent<Scalar> {
    var design = design
    var counts = labels.map { Coding.asks(label: Int($0), column: column) ? 1.0 : 0.0 }
    var answers = labels.map { Int($0) == column ? 1.0 : 0.0 }
    if let targets = distributions?.probabilities {
      let asked = (0..<targets.columnCount).filter { Coding.asks(label: $0, column: column) }
      counts = labels.indices.map { row in asked.reduce(0) { $0 + Double(targets[row, $1]) } }
      answers = labels.indices.map { Double(targets[$0, column]) }
    }
    let rows = counts.indices.filter { counts[$0] > 0 }
    // Rows that are not asked cost as much as others: leave them out where a copy is affordable.
    if !rows.isEmpty, rows.count < counts.count, design.features.byteCount <= residentDesignLimit {
      design = try self.design(design.features.gatheringRows(rows))
      design.makeResident(limit: residentDesignLimit, execution: inner)
      answers = rows.map { answers[$0] }
      counts = rows.map { counts[$0] }
    }
    let responses = zip(answers, counts).map { $0 - 0.5 * $1 }
    // Λ ← (1 - a)·Λ + a·Λ₀, η ← (1 - a)·η.
    var precision = precisions[column]
    if forgettingRate > 0 {
      precision.scale(by: 1 - forgettingRate)
      precision.addToDiagonal(
        [Double](
          repeating: forgettingRate * configuration.priorPrecision, count: precision.rowCount))
    }
    return LogisticAscent(
      design: design, counts: counts, responses: responses, priorPrecision: precision,
      priorNaturalMean: naturalMean.column(column).map { (1 - forgettingRate) * $0 },
      execution: inner)
  }
}

// MARK: - Predictions

extension PolyaGammaHead {
  /// The logits of the questions at the posterior mean, `f = X·m`.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - execution: the threads to work with.
  /// - Returns: N x C.
  /// - Throws: `NumericsError` for labels that cannot be or rows of another width, `notPositiveDefinite` if
  ///   rounding made a precision indefinite.
  public func logits(
    _ features: FeatureMatrix, execution: Execution = .available
  ) throws(NumericsError) -> Matrix<Double> {
    let design = try design(features)
    return try columns(rowCount: features.rowCount, execution) { cholesky, column in
      design.multiplied(by: cholesky.solve(naturalMean.column(column)), execution: execution)
    }
  }

  /// The variances of the logits, `v = xᵀP⁻¹x`.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - execution: the threads to work with.
  /// - Returns: N x C.
  /// - Throws: `NumericsError` for labels that cannot be or rows of another width, `notPositiveDefinite` if
  ///   rounding made a precision indefinite.
  public func logitVariances(
    _ features: FeatureMatrix, execution: Execution = .available
  ) throws(NumericsError) -> Matrix<Double> {
    var design = try design(features)
    design.makeResident(limit: residentDesignLimit, execution: execution)
    return try columns(rowCount: features.rowCount, execution) { cholesky, _ in
      design.quadraticForms(cholesky, execution: execution)
    }
  }

  /// Means and variances of the logits of rows.
  ///
  /// - Parameters:
  ///   - features: n x featureCount, finite.
  ///   - execution: the threads to work with.
  /// - Returns: n x C.
  /// - Throws: as ``logits(_:execution:)``.
  public func latent(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> LatentMoments {
    LatentMoments(
      means: try logits(features, execution: execution),
      variances: try logitVariances(features, execution: execution))
  }
}

extension LatentMoments {
  /// The logits `g = f / sqrt(1 + π·v/8)`, for which `σ(g)` is close to the mean of `σ` over the
  /// posterior.
  ///
  /// - Note: Source: MacKay (1992), "The evidence framework applied to classification networks".
  package var moderated: Matrix<Double> {
    means.combined(with: variances) { f, v in f / (1 + 0.125 * Double.pi * v).squareRoot() }
  }
}

extension PolyaGammaHead where Coding == OneAgainstRest {
  /// Losses and logits of a set of rows, as the Python original computes them: those of the probit head
  /// with the logistic function in place of the normal one.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - loss: which of the four.
  /// - Returns: one loss a row, in nats, and logits (N x K): `log σ(f)` for the marginals, else `f`.
  /// - Throws: `NumericsError` for labels that cannot be or rows of another width, `notPositiveDefinite` if
  ///   rounding made a precision indefinite.
  public func lossesAndLogits(
    features: FeatureMatrix, labels: [Int32], loss: BinaryLoss
  ) throws(NumericsError) -> (losses: [Double], logits: Matrix<Double>) {
    try TrainingRows.matchLabels(
      labels, rowCount: features.rowCount, classCount: configuration.classCount)
    let logits = try logits(features)
    return BinaryMixture(logistic: logits).losses(loss, arguments: logits, labels: labels)
  }
}

/// Which loss, and with it which logits, a stick-breaking head computes; numbered as in the Python
/// original.
public enum StickBreakingLoss: Int, Sendable, Equatable, CaseIterable {
  /// The negative logarithm of the class's probability at the posterior mean.
  case plugIn = 0
  /// The negative of a lower bound on its posterior mean (that of Jaakkola and Jordan).
  case expectedBound = 1
}

extension PolyaGammaHead where Coding == StickBreaking {
  /// Losses and logits of a set of rows, as the Python original computes them.
  ///
  ///     logit_k = f_k - Σ_{j ≤ k} s_j  (k < K),   logit_K = -Σ_j s_j
  ///
  /// with `s = log(1 + e^f)` for the plug-in, and its upper bound `f/2 + c/2 + log(1 + e^-c)`,
  /// `c = sqrt(f² + v)`, for the expectation.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - loss: which of the two.
  /// - Returns: one loss a row, in nats, and logits (N x K).
  /// - Throws: `NumericsError` for labels that cannot be or rows of another width, `notPositiveDefinite` if
  ///   rounding made a precision indefinite.
  public func lossesAndLogits(
    features: FeatureMatrix, labels: [Int32], loss: StickBreakingLoss
  ) throws(NumericsError) -> (losses: [Double], logits: Matrix<Double>) {
    try TrainingRows.matchLabels(
      labels, rowCount: features.rowCount, classCount: configuration.classCount)
    let means = try logits(features)
    let variances =
      loss == .plugIn
      ? Matrix<Double>.zeros(means.rowCount, means.columnCount) : try logitVariances(features)
    let logits = Self.stickLogits(means, variances)
    return (labels.indices.map { -logits[$0, Int(labels[$0])] }, logits)
  }

  /// The logits of the classes from the questions' means and variances, N x C each.
  package static func stickLogits(
    _ means: Matrix<Double>, _ variances: Matrix<Double>
  ) -> Matrix<Double> {
    let columns = means.columnCount
    var result = Matrix<Double>.zeros(means.rowCount, columns + 1)
    for row in 0..<means.rowCount {
      var rest = 0.0  // the logarithm of what is left of the stick
      for column in 0..<columns {
        let (f, v) = (means[row, column], variances[row, column])
        let c = (f * f + v).squareRoot()
        rest -= 0.5 * (f + c) + SpecialFunctions.softplus(-c)
        result[row, column] = f + rest
      }
      result[row, columns] = rest
    }
    return result
  }
}
