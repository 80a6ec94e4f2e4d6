public import BllarseNumerics
import Glibc

/// How an ordered probit regression is fitted.
public struct OrderedProbitConfiguration: Sendable, Equatable {
  /// The prior precision of every weight; that of the largest Laplace evidence when `nil`.
  public var priorPrecision: Double?
  /// How features are scaled.
  public var scaling = FeatureScaling.columns

  /// Takes what is default.
  public init() {}

  /// Takes a precision, and what is default.
  public init(priorPrecision: Double?) { self.priorPrecision = priorPrecision }
}

/// What a fit of an ordered probit regression says of itself.
public struct OrderedProbitReport: Sendable, Equatable {
  /// Newton steps, over all precisions that were tried.
  public let iterations: Int
  /// The log posterior, up to a constant, before each step of the last climb, and at its end: it never falls.
  public let history: [Double]
  /// The estimated distance to the maximum, in nats.
  public let gap: Double
  /// Whether the last climb reached it.
  public let converged: Bool
  /// The Laplace log evidences of the precisions that were tried, by log10 of the precision, ascending.
  public let evidences: [(exponent: Double, logEvidence: Double)]
  /// Classes without training rows.
  public let emptyClasses: [Int]
  /// The end of the range of precisions that the evidence chose.
  package let end: SearchEnd?

  /// Compares all numbers.
  public static func == (a: OrderedProbitReport, b: OrderedProbitReport) -> Bool {
    a.iterations == b.iterations && a.history == b.history && a.gap == b.gap
      && a.converged == b.converged && a.emptyClasses == b.emptyClasses && a.end == b.end
      && a.evidences.elementsEqual(b.evidences, by: ==)
  }
}

/// Ordered probit regression: K classes that have an order are K intervals of one latent value.
///
///     y = k  iff  b_k < f + e <= b_{k+1},   f = xᵀw,   e ~ N(0, 1),   b_0 = -∞ < b_1 < … < b_K = ∞
///
/// with `w ~ N(0, I/λ)` on scaled features, without a bias, and a flat prior of the cutpoints (see
/// ``OrderedProbitProblem`` for classes without rows). The maximum of the posterior in (w, b) is found by Newton's method
/// in double precision; the posterior is Laplace's Gaussian there, and λ that of the largest Laplace evidence, or given.
///
/// - Note: Sources: McCullagh, "Regression models for ordinal data", JRSS B 1980; Pratt, JASA 1981, for concavity.
public struct OrderedProbitHead: Sendable {
  /// How features become inputs.
  package let transform: InputTransform<Float>
  /// w of the scaled features, D.
  public let weights: [Double]
  /// b_1 to b_{K-1}, ascending.
  public let cutpoints: [Double]
  /// λ.
  public let priorPrecision: Double
  /// `log p(y | λ)` by Laplace's method, with density 1 for the cutpoints.
  public let logEvidence: Double
  /// The factor of the posterior precision of (b, w), the weights those of the inputs: their order is K - 1 + P.
  package let factor: Cholesky<Double>
  /// The factor of the inverse covariance of the weights alone.
  private let weightFactor: Cholesky<Double>
  /// What its fit says; `nil` for a head that was read.
  public let report: OrderedProbitReport?

  /// K.
  public var classCount: Int { cutpoints.count + 1 }
  /// D.
  public var featureCount: Int { transform.featureCount }

  /// Takes a posterior as it is.
  package init(
    transform: InputTransform<Float>, weights: [Double], cutpoints: [Double],
    priorPrecision: Double, logEvidence: Double, factor: Cholesky<Double>,
    report: OrderedProbitReport? = nil
  ) {
    self.transform = transform
    (self.weights, self.cutpoints) = (weights, cutpoints)
    (self.priorPrecision, self.logEvidence) = (priorPrecision, logEvidence)
    (self.factor, self.report) = (factor, report)
    // With the cutpoints first, the rest of the factor is that of the weights' marginal precision.
    let rest = cutpoints.count..<factor.size
    weightFactor = Cholesky(factor: factor.factor.rows(rest).columns(rest).compact())
  }

  /// Fits a head.
  ///
  /// - Parameters:
  ///   - features: N x D, finite.
  ///   - labels: a class in `0..<classCount` for each row, in the order of the classes.
  ///   - classCount: K, at least 2.
  ///   - weights: how often each row counts, numbers that are not negative; `nil` for once.
  ///   - configuration: how.
  ///   - execution: the threads to work with; they do not change a bit of the sums.
  /// - Throws: `NumericsError` with the first row at fault, for a precision that cannot be, and where rounding makes the
  ///   Hessian indefinite; `cancelled`.
  /// - Complexity: some 5 Newton steps for each of some 8 precisions, N·P² + P³/3 operations each, P the smaller of D and N.
  public init(
    fitting features: FeatureMatrix, labels: [Int32], classCount: Int, weights: [Double]? = nil,
    _ configuration: OrderedProbitConfiguration = .init(), execution: Execution = .available
  ) throws(NumericsError) {
    try TrainingRows.check(
      features, labels: labels, classCount: classCount, weights: weights, execution: execution)
    if let precision = configuration.priorPrecision {
      try NumericsError.require(
        precision > 0 && precision.isFinite, "the prior precision", precision, "a positive number")
    }

    // 1. The rows, in the smaller of two spaces.
    let scaling = configuration.scaling.transform(
      of: features, weights: weights, execution: execution)
    let rows = DesignMatrix<Double>(features, transform: scaling, hasBias: false)
    var design = rows
    var space: RowSpaceBasis?
    if features.columnCount > features.rowCount {
      let found = try RowSpaceBasis(rows, execution: execution)
      // Rows that are all the same leave one coordinate, which is 0.
      let isEmpty = found.eigenvalues.isEmpty
      space = isEmpty ? nil : found
      design = DesignMatrix(
        FeatureMatrix(isEmpty ? Matrix<Double>.zeros(features.rowCount, 1) : found.coordinates),
        transform: .identity, hasBias: false)
    }
    design.makeResident(limit: residentDesignLimit, execution: execution)
    let problem = OrderedProbitProblem(
      design, labels: labels, classCount: classCount, rowWeights: weights, execution: execution)

    // 2. The precision.
    var (search, iterations) = (EvidenceSearch(), 0)
    var point = problem.start
    var precision = configuration.priorPrecision ?? 1
    if configuration.priorPrecision == nil {
      let exponent = try search.maximize(from: 1) { (exponent) throws(NumericsError) in
        let optimum = try problem.maximize(
          from: point, precision: pow(10, exponent), tolerance: Self.searchTolerance)
        iterations += optimum.history.count - 1
        point = optimum.point
        return optimum.logEvidence
      }
      precision = pow(10, exponent)
    }

    // 3. The posterior.
    let optimum = try problem.maximize(
      from: point, precision: precision, tolerance: Self.tolerance)
    let inputs = optimum.point.weights
    let isWide = features.columnCount > features.rowCount
    let basis: Matrix<Float>? =
      space?.vectors(
        of: DesignMatrix<Float>(features, transform: scaling, hasBias: false), execution: execution)
      ?? (isWide ? Matrix.zeros(features.columnCount, 1) : nil)
    let range = EvidenceSearch.range
    self.init(
      transform: InputTransform(
        featureCount: features.columnCount, scaling: configuration.scaling, features: scaling,
        basis: basis),
      weights: space?.featureWeights(
        Matrix(rows: inputs.count, columns: 1, elements: inputs), rows, execution: execution
      ).elements ?? (isWide ? [Double](repeating: 0, count: features.columnCount) : inputs),
      cutpoints: optimum.point.cutpoints, priorPrecision: precision,
      logEvidence: optimum.logEvidence, factor: optimum.factor,
      report: OrderedProbitReport(
        iterations: iterations + optimum.history.count - 1, history: optimum.history,
        gap: optimum.gap, converged: optimum.converged,
        evidences: search.values.sorted { $0.key < $1.key }.map { ($0.key, $0.value) },
        emptyClasses: problem.priorRows.indices.filter { problem.priorRows[$0] > 0 },
        end: configuration.priorPrecision == nil
          ? SearchEnd(precision, of: pow(10, range.lowerBound)...pow(10, range.upperBound)) : nil))
  }

  /// Distances to the maximum, in nats: where precisions are compared, and at the end (below rounding).
  private static let (searchTolerance, tolerance) = (1e-8, 1e-14)

  // MARK: - Predictions

  /// Rows that are scaled at a time.
  private static let blockSize = 4096

  /// Means and variances of the latent values of rows, under the posterior of the weights.
  ///
  /// - Parameters:
  ///   - features: n x D, finite.
  ///   - execution: the threads to work with.
  /// - Returns: n numbers each; variances are not negative.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  public func latent(
    _ features: FeatureMatrix, execution: Execution = .available
  ) throws(NumericsError) -> (means: [Double], variances: [Double]) {
    try TrainingRows.checkFeatureCount(features, featureCount)
    var (means, variances) = ([Double](), [Double]())
    for first in stride(from: 0, to: features.rowCount, by: Self.blockSize) {
      let rows = features.rows(first..<min(first + Self.blockSize, features.rowCount))
      means += DesignMatrix<Double>(rows, transform: transform.features, hasBias: false)
        .multiplied(by: weights, execution: execution)
      guard transform.basis != nil else {
        variances += DesignMatrix<Float>(rows, transform: transform.features, hasBias: false)
          .quadraticForms(weightFactor, execution: execution)
        continue
      }
      let (inputs, outside) = execution.withBLAS { transform.inputs(rows) }
      let inside = DesignMatrix<Float>(
        FeatureMatrix(inputs.columns(0..<inputs.columnCount - 1)), transform: .identity,
        hasBias: false
      ).quadraticForms(weightFactor, execution: execution)
      variances += zip(inside, outside ?? []).map { $0 + $1 / priorPrecision }
    }
    return (means, variances)
  }

  /// The logarithms of the predictive class probabilities.
  ///
  ///     p_k = Φ((b_{k+1} - m)/s) - Φ((b_k - m)/s),   s² = 1 + v,
  ///
  /// with m and v the moments of ``latent(_:execution:)`` and the cutpoints at their mode. v is the variance of the weights
  /// under the joint posterior, with that of the cutpoints integrated out; one scale for all cutpoints of a row keeps them
  /// in order, so that no probability is negative.
  ///
  /// - Parameters:
  ///   - features: n x D, finite.
  ///   - execution: the threads to work with.
  /// - Returns: n x K; the exponentials of a row sum to 1.
  /// - Throws: as ``latent(_:execution:)``.
  public func logPredictive(
    _ features: FeatureMatrix, execution: Execution = .available
  ) throws(NumericsError) -> Matrix<Double> {
    let (means, variances) = try latent(features, execution: execution)
    let cutpoints = cutpoints
    let elements = execution.map(means.count, blockSize: 512) { range in
      range.flatMap { row in
        let scale = (1 + variances[row]).squareRoot()
        let scaled = cutpoints.map { ($0 - means[row]) / scale }
        return (0...cutpoints.count).map { k in
          let hasBoth = k > 0 && k < cutpoints.count
          return NormalInterval(
            lower: k > 0 ? scaled[k - 1] : -.infinity,
            upper: k < cutpoints.count ? scaled[k] : .infinity,
            width: hasBoth ? (cutpoints[k] - cutpoints[k - 1]) / scale : nil
          ).logProbability
        }
      }
    }
    return Matrix(rows: means.count, columns: classCount, elements: elements)
  }

  /// The covariance of the cutpoints under the posterior, with the weights integrated out, K - 1 x K - 1.
  public var cutpointCovariance: Matrix<Double> {
    var columns = Matrix<Double>.zeros(factor.size, cutpoints.count)
    for k in cutpoints.indices { columns[k, k] = 1 }
    return factor.solve(columns).rows(0..<cutpoints.count).compact()
  }
}
