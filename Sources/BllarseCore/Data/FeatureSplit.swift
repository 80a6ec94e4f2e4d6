public import BllarseNumerics

/// The rows of one split: features and the class of each row.
public struct FeatureSplit: Sendable {
  /// N x D, in the precision in which they are stored.
  public let features: FeatureMatrix
  /// The class of each row, N.
  public let labels: [Int32]

  /// The number of rows.
  public var rowCount: Int { labels.count }
  /// The number of features of a row.
  public var featureCount: Int { features.columnCount }

  /// Joins features and labels.
  ///
  /// - Parameters:
  ///   - features: N x D.
  ///   - labels: N class indices.
  ///   - name: what a message calls the split, "train".
  /// - Throws: `DataError.Code.wrongShape` when there are not as many labels as rows.
  public init(features: FeatureMatrix, labels: [Int32], name: String = "data") throws(DataError) {
    try Self.require(labels.count, rowCount: features.rowCount, name: name)
    self.features = features
    self.labels = labels
  }

  /// Refuses another number of labels than rows.
  static func require(_ labelCount: Int, rowCount: Int, name: String) throws(DataError) {
    guard rowCount == labelCount else {
      throw DataError(
        .wrongShape, key: "\(name) split",
        found: "there are \(rowCount) rows of features and \(labelCount) labels",
        expected: "one label a row")
    }
  }

  /// A view of a range of rows, sharing the features' memory.
  public func rows(_ range: Range<Int>) -> FeatureSplit {
    FeatureSplit(features.rows(range), Array(labels[range]))
  }

  /// A copy of some rows, in the given order.
  func gatheringRows(_ rows: [Int]) -> FeatureSplit {
    FeatureSplit(features.gatheringRows(rows), rows.map { labels[$0] })
  }

  private init(_ features: FeatureMatrix, _ labels: [Int32]) {
    self.features = features
    self.labels = labels
  }
}
