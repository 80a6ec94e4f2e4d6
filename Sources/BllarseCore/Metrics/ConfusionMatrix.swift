public import BllarseNumerics

/// How often each class was predicted for each label.
public struct ConfusionMatrix: Sendable, Equatable {
  /// The number of classes.
  public let classCount: Int
  private var counts: [Int]

  /// Counts predictions.
  ///
  /// - Parameters:
  ///   - scores: N x K; the largest of a row (of equals the first) is its prediction.
  ///   - labels: N class indices in `0..<K`.
  /// - Throws: `NumericsError` when labels and rows differ in number, or a label is no class.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public init<Scalar: BLASScalar>(scores: Matrix<Scalar>, labels: [Int32]) throws(NumericsError) {
    try TrainingRows.matchLabels(
      labels, rowCount: scores.rowCount, classCount: scores.columnCount)
    classCount = scores.columnCount
    counts = [Int](repeating: 0, count: scores.columnCount * scores.columnCount)
    for (row, label) in labels.enumerated() {
      let best = scores.withRow(row) { values in
        var best = 0
        for k in values.indices where values[k] > values[best] { best = k }
        return best
      }
      counts[Int(label) * classCount + best] += 1
    }
  }

  /// How many rows with this label were predicted as this class.
  public subscript(label label: Int, predicted predicted: Int) -> Int {
    precondition(
      (0..<classCount).contains(label) && (0..<classCount).contains(predicted),
      "label \(label), prediction \(predicted), \(classCount) classes")
    return counts[label * classCount + predicted]
  }

  /// The share of the rows of each label that were predicted right; NaN for a label without rows.
  public var recall: [Double] {
    (0..<classCount).map { label in
      Double(self[label: label, predicted: label])
        / Double((0..<classCount).reduce(0) { $0 + self[label: label, predicted: $1] })
    }
  }

  /// The share of the predictions of each class that were right; NaN for a class never predicted.
  public var precision: [Double] {
    (0..<classCount).map { predicted in
      Double(self[label: predicted, predicted: predicted])
        / Double((0..<classCount).reduce(0) { $0 + self[label: $1, predicted: predicted] })
    }
  }

  /// The mean recall of the labels that have rows: accuracy in which every class weighs the same.
  public var balancedAccuracy: Double {
    let known = recall.filter { !$0.isNaN }
    return known.reduce(0, +) / Double(known.count)
  }
}
