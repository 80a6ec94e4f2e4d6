import BllarseNumerics

/// For callers who have plain arrays.
extension Head {
  /// The class probabilities of rows.
  ///
  /// - Parameter rows: rows of as many finite numbers as the head was fitted to.
  /// - Returns: K probabilities a row.
  /// - Throws: `DataError` that names row and column of what cannot be used.
  public func probabilities(_ rows: [[Float]]) throws -> [[Float]] {
    guard !rows.isEmpty else { return [] }
    let features = try FeatureMatrix(rows: rows)
    guard features.columnCount == featureCount else {
      throw DataError(
        .wrongShape, found: "a row has \(features.columnCount) features",
        expected: "\(featureCount), as the head was fitted to")
    }
    let probabilities = try logProbabilities(features).exponentials()
    return (0..<rows.count).map { probabilities.row($0) }
  }
}

extension FeatureDataset {
  /// Checks training rows.
  ///
  /// - Throws: `DataError` that names row and column of what cannot be used.
  init(rows: [[Float]], labels: [Int], classCount: Int?) throws(DataError) {
    if let row = labels.firstIndex(where: { Int32(exactly: $0) == nil }) {
      throw DataError(
        .invalidLabel, key: "labels", row: row, found: "the label is \(labels[row])",
        expected: "a class index, from 0 on", advice: "number the classes from 0 without gaps")
    }
    let split = try FeatureSplit(
      features: try FeatureMatrix(rows: rows), labels: labels.map(Int32.init(clamping:)))
    try self.init(name: "rows", splits: [(name: "train", split: split)], classCount: classCount)
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
