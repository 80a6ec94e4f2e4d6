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
    let features = try FeatureMatrix(rows: rows)
    let split = try FeatureSplit(features: features, labels: labels.map(Int32.init(clamping:)))
    let data = try FeatureDataset(
      name: "rows", splits: [(name: "train", split: split)], classCount: classCount)
    self.init(
      Configuration(
        featureCount: features.columnCount, classCount: data.classCount,
        priorPrecision: priorPrecision))
    try fit(features: features, labels: split.labels)
  }

  /// The class probabilities of rows.
  ///
  /// - Parameter rows: rows of as many finite numbers as the head was fitted to.
  /// - Returns: K probabilities a row.
  /// - Throws: `DataError` that names row and column of what cannot be used.
  public func probabilities(_ rows: [[Float]]) throws -> [[Float]] {
    let features = try FeatureMatrix(rows: rows)
    guard rows.isEmpty || features.columnCount == configuration.featureCount else {
      throw DataError(
        .wrongShape, found: "a row has \(features.columnCount) features",
        expected: "\(configuration.featureCount), as the head was fitted to")
    }
    guard !rows.isEmpty else { return [] }
    let probabilities = try logProbabilities(features).exponentials()
    return (0..<rows.count).map { probabilities.row($0) }
  }
}

extension FeatureMatrix {
  /// Copies rows of equally many finite numbers.
  init(rows: [[Float]]) throws(DataError) {
    let width = rows.first?.count ?? 0
    let range = FeatureRange(predicting: width)
    for (index, row) in rows.enumerated() {
      guard row.count == width else {
        throw DataError(
          .wrongShape, key: "features", row: index, found: "the row has \(row.count) values",
          expected: "\(width), as row 0 has")
      }
      if let column = row.firstIndex(where: { !(Double($0).magnitude <= range.bound) }) {
        throw range.fault(
          Double(row[column]), file: nil, key: "features", row: index, column: column)
      }
    }
    self.init(
      Matrix<Float>(rows: rows.count, columns: width, elements: rows.flatMap { $0 }))
  }
}
