public import BllarseNumerics

/// The rows of one split: features and the class of each row, and perhaps how often each counts and
/// which belong together.
public struct FeatureSplit: Sendable {
  /// N x D, in the precision in which they are stored.
  public let features: FeatureMatrix
  /// The class of each row, N.
  public let labels: [Int32]
  /// How often each row counts in a fit, N numbers that are not negative; `nil` for once.
  public let weights: [Double]?
  /// The group of each row, N numbers from 0 without gaps; `nil` where each row is one of its own.
  ///
  /// Rows of one group are left out of a fit together.
  public let groups: [Int]?

  /// The number of rows.
  public var rowCount: Int { labels.count }
  /// The number of features of a row.
  public var featureCount: Int { features.columnCount }

  /// Joins features and labels, and what else is known of the rows.
  ///
  /// - Parameters:
  ///   - features: N x D.
  ///   - labels: N class indices.
  ///   - weights: N numbers from 0 to 1e12, not all 0: a weight of 2 is a row that is there twice.
  ///   - groups: N numbers, the same for rows that belong together.
  ///   - name: what a message calls the split, "train".
  /// - Throws: `DataError`: there are not as many labels, weights or groups as rows, or a weight is none.
  public init(
    features: FeatureMatrix, labels: [Int32], weights: [Double]? = nil, groups: [Int]? = nil,
    name: String = "data"
  ) throws(DataError) {
    try Self.require(labels.count, rowCount: features.rowCount, name: name)
    if let weights {
      try RowWeights.check(weights, rowCount: labels.count, file: nil, key: "\(name) split weights")
    }
    if let groups {
      try RowGroups.requireCount(
        groups.count, rowCount: labels.count, file: nil, key: "\(name) split groups")
    }
    self.init(features, labels, weights, groups.map(RowGroups.dense))
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
    FeatureSplit(
      features.rows(range), Array(labels[range]), weights.map { Array($0[range]) },
      groups.map { RowGroups.dense(Array($0[range])) })
  }

  /// A copy of some rows, in the given order.
  func gatheringRows(_ rows: [Int]) -> FeatureSplit {
    FeatureSplit(
      features.gatheringRows(rows), rows.map { labels[$0] },
      weights.map { weights in rows.map { weights[$0] } },
      groups.map { groups in RowGroups.dense(rows.map { groups[$0] }) })
  }

  private init(
    _ features: FeatureMatrix, _ labels: [Int32], _ weights: [Double]?, _ groups: [Int]?
  ) {
    self.features = features
    self.labels = labels
    self.weights = weights
    self.groups = groups
  }
}

extension FeatureSplit {
  /// What the user should know of weights.
  var weightNotes: [String] {
    let count = weights?.count { $0 == 0 } ?? 0
    guard count > 0 else { return [] }
    return [
      count == 1
        ? "1 training row has the weight 0 and counts for nothing"
        : "\(count) training rows have the weight 0 and count for nothing"
    ]
  }
}
