public import BllarseNumerics
import Glibc

extension EvidenceHead {
  /// Fits a head.
  ///
  /// - Parameters:
  ///   - features: N x D, finite, N at least 1.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - weights: how often each row counts, numbers that are not negative; `nil` for once.
  ///   - groups: rows of one number are left out together, as rows with equal features are.
  ///   - configuration: what is given, and what is left to the data.
  ///   - parallelism: how threads are used.
  /// - Throws: `NumericsError`: there are no rows, a label is no class, a feature is not finite, a weight is negative or
  ///   there are not as many labels, weights or groups as rows; or rounding made a precision indefinite.
  /// - Complexity: some tens of passes over the features, 4·N·D·K operations each; ten times that where rows are
  ///   few. A Gram matrix, N·D², for each scaling, and for the covariance; an eigendecomposition, 9·D³.
  public init(
    fitting features: FeatureMatrix, labels: [Int32], weights: [Double]? = nil,
    groups: [Int]? = nil, _ configuration: EvidenceConfiguration,
    parallelism: Parallelism = .available
  ) throws(NumericsError) {
    try TrainingRows.check(
      features, labels: labels, featureCount: nil, classCount: configuration.classCount,
      weights: weights, parallelism: parallelism)
    if let groups, groups.count != labels.count {
      throw .sizeMismatch(
        of: "groups", found: groups.count, expected: labels.count, reason: "one for each row")
    }
    let fitted = try Self.fit(
      features, labels: labels, weights: weights, groups: groups, configuration,
      parallelism: parallelism)
    self = fitted.head
    report?.estimate = try fitted.estimate.map { estimate throws(NumericsError) in
      try EstimatedScores(estimate, parallelism: parallelism)
    }
  }
}

extension EstimatedScores {
  /// Scores predictions of left-out rows.
  ///
  /// - Throws: `NumericsError` when a prediction is not a number.
  init(_ estimate: LeftOutEstimate, parallelism: Parallelism) throws(NumericsError) {
    let (logs, labels) = (estimate.logProbabilities, estimate.labels)
    let evaluation = SplitScores(
      try Predictions(logProbabilities: logs, labels: labels, parallelism: parallelism))
    self.init(
      rows: labels.count, nll: estimate.nll, nllError: estimate.nllError, acc: evaluation.acc,
      ece: evaluation.ece, brier: evaluation.brier)
    if let weights = estimate.weights { setWeighted(logs, labels, weights) }
  }

  /// Accuracy and Brier score of rows that count differently; the calibration error stays that of rows.
  private mutating func setWeighted(
    _ logs: Matrix<Double>, _ labels: [Int32], _ weights: [Double]
  ) {
    let total = weights.reduce(0, +)
    (acc, brier) = (0, 0)
    for (row, label) in labels.enumerated() {
      let values = logs.row(row)
      let best = values.indices.max { values[$0] < values[$1] } ?? 0
      if best == Int(label) { acc += weights[row] / total }
      var square = 0.0
      for (k, value) in values.enumerated() {
        let difference = exp(value) - (k == Int(label) ? 1 : 0)
        square += difference * difference
      }
      brier += weights[row] * square / total
    }
  }
}

extension EvidenceHead {
  /// Fits the default head, softmax regression, to rows of features.
  ///
  /// - Parameters:
  ///   - rows: N rows of equally many finite numbers.
  ///   - labels: a class, counted from 0, for each row.
  ///   - classCount: K; one more than the largest label when `nil`.
  /// - Throws: `DataError` that names row and column of what cannot be used, `NumericsError` when rounding
  ///   makes a precision indefinite.
  public init(fitting rows: [[Float]], labels: [Int], classCount: Int? = nil) throws {
    let data = try FeatureDataset(rows: rows, labels: labels, classCount: classCount)
    let split = try data.split("train")
    try self.init(
      fitting: split.features, labels: split.labels,
      EvidenceConfiguration(classCount: data.classCount))
  }
}
