import BllarseNumerics

/// What is known of stored features before they are read: sizes and labels.
struct FeatureHeader: Sendable {
  /// The sizes of one split.
  struct Split: Sendable, Equatable {
    let name: String
    let rowCount: Int
    let featureCount: Int
    /// The bytes of its features.
    let byteCount: Int
    /// Whether they take memory of the process's own, not the mapped file's.
    let isCopied: Bool
  }

  /// The file, unless the features are yet to be made.
  let file: String?
  /// All splits with features.
  let names: [String]
  /// The splits with features and labels.
  let splits: [Split]
  let classCount: Int

  var featureCount: Int { splits.first?.featureCount ?? 0 }
  subscript(name: String) -> Split? { splits.first { $0.name == name } }
}

extension FeatureFile {
  /// Reads sizes and labels and checks them, as ``dataset(requiring:classCount:parallelism:)`` does before
  /// it looks at the features.
  ///
  /// - Parameters:
  ///   - required: splits that must be there, with labels.
  ///   - arrays: the names of weights and groups of the training rows.
  /// - Returns: the sizes and the number of classes.
  /// - Throws: `DataError`, naming tensor and row.
  func header(
    requiring required: [String] = [], with arrays: RowArrays = RowArrays()
  ) throws(DataError) -> FeatureHeader {
    var splits: [FeatureHeader.Split] = []
    var outlines: [DatasetValidation.Outline] = []
    for name in readableSplits(requiring: required) {
      let features = try header(of: name)
      let labels = try labels(name)
      let (rows, columns) = (features.shape[0], features.shape[1])
      do throws(DataError) {
        try FeatureSplit.require(labels.count, rowCount: rows, name: name)
      } catch { throw error.inFile(path) }
      let values =
        name == SplitRoles.training ? try values(of: arrays, rowCount: rows) : RowValues()
      outlines.append(
        .init(
          name: name, rowCount: rows, featureCount: columns, labels: labels, values: values))
      splits.append(
        .init(
          name: name, rowCount: rows, featureCount: columns,
          byteCount: rows * columns * features.type.size, isCopied: features.isCopied))
    }
    try requireSplits(required)
    let (announced, names) = try announcedClasses()
    let classCount = try DatasetValidation(file: path, parallelism: .available)
      .check(outlines, announced: announced, names: names)
    return FeatureHeader(file: path, names: splitNames, splits: splits, classCount: classCount)
  }

  /// The sizes of the features of a split, with or without labels.
  ///
  /// - Throws: `DataError`: there are none, or they are no matrix.
  func header(of split: String) throws(DataError) -> ArrayHeader {
    let header = try source.header("X_" + suffix(split))
    guard header.shape.count == 2 else {
      throw StoredTensor.wrongShape(
        header.shape, path: header.path, name: header.name, expected: "a matrix (rows, features)")
    }
    return header
  }
}
