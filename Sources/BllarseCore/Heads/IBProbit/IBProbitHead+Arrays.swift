import BllarseNumerics

/// For callers who have plain arrays.
extension IBProbitHead where Scalar == Float {
  /// Fits a head to rows of features, to the optimum.
  ///
  /// - Parameters:
  ///   - rows: N rows of equally many finite numbers.
  ///   - labels: a class, counted from 0, for each row.
  ///   - classCount: K; one more than the largest label when `nil`.
  ///   - priorPrecision: the prior precision of every weight.
  /// - Throws: `DataError` that names row and column of what cannot be used, `NumericsError` when the
  ///   precision is numerically indefinite.
  public init(
    fitting rows: [[Float]], labels: [Int], classCount: Int? = nil, priorPrecision: Double = 1
  ) throws {
    guard priorPrecision > 0, priorPrecision.isFinite else {
      throw NumericsError.invalidParameter(
        "the prior precision", value: priorPrecision, expected: "a finite number above 0")
    }
    let data = try FeatureDataset(rows: rows, labels: labels, classCount: classCount)
    let split = try data.split("train")
    self.init(
      HeadShape(
        featureCount: data.featureCount, classCount: data.classCount,
        transform: .standardLayerNorm, priorPrecision: priorPrecision))
    try fit(features: split.features, labels: split.labels)
  }
}
