public import BllarseNumerics

/// Checked features and labels in named splits: what a head is fitted and evaluated on.
///
/// A value of this type holds what every head relies on: each split has rows, as many labels as rows,
/// and finite features; all splits have the same number of features; every label is a class; the
/// training split has at least two classes.
public struct FeatureDataset: Sendable {
  /// What the data set is called, "digits".
  public let name: String
  /// The file it came from, for messages.
  public let file: String?
  /// The splits' names in their order: "train", "test", "validation" and any others.
  public let splitNames: [String]
  /// The number of classes.
  public let classCount: Int
  /// The classes' names, `classCount` of them; their numbers when nobody named them.
  public let classNames: [String]

  private let splits: [String: FeatureSplit]

  /// The number of features of a row.
  public var featureCount: Int { splits.values.first?.featureCount ?? 0 }

  /// Checks splits and joins them.
  ///
  /// - Parameters:
  ///   - name: what the data set is called.
  ///   - file: the file it came from, for messages.
  ///   - splits: at least one; "train" is checked for two classes and tells the number of classes.
  ///   - classCount: the number of classes; by default the largest label of "train" (of all splits when
  ///     there is no "train") plus one.
  ///   - classNames: the classes' names; they tell the number of classes, too.
  ///   - parallelism: the threads to check with.
  /// - Throws: `DataError`, naming split, row and column: no rows, widths that differ, features that are
  ///   NaN, infinite or so large that sums of squares overflow, labels that are no class, one class only.
  /// - Complexity: one pass over all features.
  public init(
    name: String, file: String? = nil, splits: [(name: String, split: FeatureSplit)],
    classCount: Int? = nil, classNames: [String]? = nil, parallelism: Parallelism = .available
  ) throws(DataError) {
    let validation = DatasetValidation(file: file, parallelism: parallelism)
    let classCount = try validation.check(
      splits.map {
        DatasetValidation.Outline(
          name: $0.name, rowCount: $0.split.rowCount, featureCount: $0.split.featureCount,
          labels: $0.split.labels,
          values: RowValues(weights: $0.split.weights, groups: $0.split.groups))
      }, announced: classCount, names: classNames)
    try validation.checkRange(splits)
    self.name = name
    self.file = file
    self.splitNames = splits.map(\.name)
    self.splits = Dictionary(uniqueKeysWithValues: splits.map { ($0.name, $0.split) })
    self.classCount = classCount
    self.classNames = classNames ?? (0..<classCount).map(String.init)
  }

  /// The same data with fewer rows, which need no check of their own.
  private init(_ whole: FeatureDataset, splits: [String: FeatureSplit]) {
    name = whole.name
    file = whole.file
    splitNames = whole.splitNames
    classCount = whole.classCount
    classNames = whole.classNames
    self.splits = splits
  }

  /// The data set with some of the rows of some splits; the classes stay those of all rows.
  ///
  /// - Parameter subset: the rows to take of a split, or `nil` for all of them.
  /// - Returns: the same splits.
  /// - Throws: what `subset` throws.
  func limited(
    to subset: (_ name: String, _ split: FeatureSplit) throws(DataError) -> RowSubset?
  ) throws(DataError) -> FeatureDataset {
    var limited = splits
    for (name, split) in splits {
      if let subset = try subset(name, split) { limited[name] = split.rows(subset) }
    }
    return FeatureDataset(self, splits: limited)
  }

  /// Makes sure that the training rows that are taken and count show two classes and two groups.
  ///
  /// - Throws: `DataError.Code.insufficientData`.
  func checkRowsThatCount() throws(DataError) {
    guard let train = splits[SplitRoles.training], train.weights != nil || train.groups != nil
    else {
      return
    }
    try RowValues(weights: train.weights, groups: train.groups).check(
      labels: train.labels, file: file, key: SplitRoles.training)
  }

  /// The split of a name, if there is one.
  public subscript(name: String) -> FeatureSplit? { splits[name] }

  /// The split of a name.
  ///
  /// - Throws: `DataError.Code.missingKey`, with the names that are there.
  public func split(_ name: String) throws(DataError) -> FeatureSplit {
    guard let split = splits[name] else {
      throw Self.missingSplit(name, file: file, among: splitNames)
    }
    return split
  }

  /// What the user should know of classes that no training row has; `nil` when there are none.
  var unseenClassNote: String? {
    guard let labels = splits[SplitRoles.training]?.labels else { return nil }
    var isSeen = [Bool](repeating: false, count: classCount)
    let weights = splits[SplitRoles.training]?.weights
    for (row, label) in labels.enumerated() where (weights?[row] ?? 1) > 0 {
      isSeen[Int(label)] = true
    }
    let unseen = isSeen.indices.filter { !isSeen[$0] }
    guard !unseen.isEmpty else { return nil }
    let names = unseen.prefix(5).map { index in
      classNames[index] == String(index) ? String(index) : "\(index) (\(classNames[index]))"
    }
    let list = names.joined(separator: ", ") + (unseen.count > names.count ? ", …" : "")
    return "no training row is of "
      + (unseen.count == 1
        ? "class \(list)" : "\(unseen.count) of the \(classCount) classes: \(list)")
      + "; predictions can give it next to nothing: add rows, or number the classes that there are "
      + "from 0 without gaps and list them in the metadata class_names"
  }

  static func missingSplit(_ name: String, file: String?, among names: [String]) -> DataError {
    DataError(
      .missingKey, file: file, key: "\(name) split",
      found: DataError.absence("split", among: names))
  }
}
