import BllarseNumerics
import Synchronization

/// The checks behind ``FeatureDataset``.
struct DatasetValidation {
  typealias Splits = [(name: String, split: FeatureSplit)]

  /// What is checked of a split without its features.
  struct Outline {
    let name: String
    let rowCount: Int
    let featureCount: Int
    let labels: [Int32]
    var values = RowValues()
  }

  let file: String?
  let parallelism: Parallelism

  /// Rows, columns and names.
  func checkShapes(_ splits: [Outline]) throws(DataError) {
    guard let first = splits.first else {
      throw DataError(.missingKey, file: file, found: "there is no split", expected: "train")
    }
    var names: Set<String> = []
    for split in splits {
      let name = split.name
      guard names.insert(name).inserted else {
        throw DataError(
          .malformedFile, file: file, key: "\(name) split", found: "the split occurs twice")
      }
      guard split.rowCount > 0 else {
        throw DataError(
          .insufficientData, file: file, key: "\(name) split", found: "there are no rows",
          expected: "at least one row", advice: "add rows or leave the split out")
      }
      guard split.featureCount > 0 else {
        throw DataError(
          .wrongShape, file: file, key: "\(name) split", found: "the rows have no features",
          expected: "at least one column")
      }
      guard split.featureCount == first.featureCount else {
        throw DataError(
          .wrongShape, file: file, key: "\(name) split",
          found: "the rows have \(split.featureCount) features",
          expected: "\(first.featureCount) as in \(first.name)",
          advice: "make all splits with the same backbone")
      }
    }
  }

  /// The number of classes, as announced or as the labels show.
  func classCount(
    _ splits: [Outline], announced: Int?, names: [String]?
  ) throws(DataError) -> Int {
    if let announced, let names, announced != names.count {
      throw DataError(
        .wrongShape, file: file, key: "class_names", found: "there are \(names.count) names",
        expected: "\(announced), one for each class")
    }
    if let announced = announced ?? names?.count {
      guard announced >= 2 else {
        throw DataError(
          .insufficientData, file: file, found: "\(announced) classes were announced",
          expected: "at least two classes")
      }
      return announced
    }
    // A class that the training rows do not show cannot be learnt: their labels count the classes.
    let counted = splits.filter { $0.name == "train" }
    let sources = counted.isEmpty ? splits : counted
    var largest: Int32 = 0
    for split in sources { largest = max(largest, split.labels.max() ?? 0) }
    let rows = sources.reduce(0) { $0 + $1.rowCount }
    if Int(largest) >= max(rows, 2) {
      for split in sources {
        guard let row = split.labels.firstIndex(of: largest) else { continue }
        throw DataError(
          .invalidLabel, file: file, key: "\(split.name) split labels", row: row,
          found: "the label is \(largest), which makes more classes than there are rows",
          expected: "class indices from 0 on",
          advice: "number the classes from 0 without gaps")
      }
    }
    return max(Int(largest) + 1, 2)
  }

  /// Every label is a class, and the training rows show two classes or more.
  ///
  /// - Parameters:
  ///   - splits: all of them.
  ///   - classCount: the number of classes.
  ///   - isAnnounced: whether that was given; otherwise the training rows told it.
  /// - Throws: `DataError` that names split and row.
  func checkLabels(
    _ splits: [Outline], classCount: Int, isAnnounced: Bool
  ) throws(DataError) {
    for split in splits {
      let name = split.name
      if let row = split.labels.firstIndex(where: { $0 < 0 || Int($0) >= classCount }) {
        // A class of which there is no training row.
        let isUnseen = !isAnnounced && name != "train" && split.labels[row] >= 0
        throw DataError(
          .invalidLabel, file: file, key: "\(name) split labels", row: row,
          found: "the label is \(split.labels[row])",
          expected: "a class index in 0..<\(classCount)"
            + (isUnseen ? ", as the training rows show" : ""),
          advice: "correct or remove the row"
            + (isUnseen ? ", or list all classes in the metadata class_names" : ""))
      }
      if name == "train" {
        try split.values.check(labels: split.labels, file: file, key: name)
      }
    }
  }

  /// All of these.
  ///
  /// - Returns: the number of classes.
  func check(
    _ splits: [Outline], announced: Int?, names: [String]?
  ) throws(DataError) -> Int {
    try checkShapes(splits)
    let classCount = try classCount(splits, announced: announced, names: names)
    try checkLabels(
      splits, classCount: classCount, isAnnounced: announced != nil || names != nil)
    return classCount
  }

  /// No feature is NaN, infinite, or so large that what is computed from it would be.
  func checkRange(_ splits: Splits) throws(DataError) {
    for (name, split) in splits {
      let range =
        name == SplitRoles.training
        ? FeatureRange(fitting: split.rowCount, columnCount: split.featureCount)
        : FeatureRange(predicting: split.featureCount)
      guard
        let (row, column) = split.features.firstValue(
          beyond: range.bound, parallelism: parallelism)
      else {
        continue
      }
      throw range.fault(
        split.features.value(row, column), file: file, key: "\(name) split features", row: row,
        column: column)
    }
  }
}

extension RowValues {
  /// Rows that count show two classes or more, and two groups.
  ///
  /// - Parameters:
  ///   - labels: of all rows.
  ///   - file: the file, for messages.
  ///   - key: the split.
  /// - Throws: `DataError.Code.insufficientData`.
  func check(labels: [Int32], file: String?, key: String) throws(DataError) {
    if let weights {
      try RowWeights.requirePositive(weights, file: file, key: "\(key) split weights")
    }
    let first = weights.flatMap { $0.firstIndex { $0 > 0 } } ?? 0
    guard first < labels.count else { return }
    func differs(_ isOther: (Int) -> Bool) -> Bool {
      labels.indices.contains { (weights?[$0] ?? 1) > 0 && isOther($0) }
    }
    let rows = weights == nil ? "\(labels.count) rows" : "rows of positive weight"
    guard differs({ labels[$0] != labels[first] }) else {
      throw DataError(
        .insufficientData, file: file, key: "\(key) split labels",
        found: "all \(rows) have the label \(labels[first])",
        expected: "at least two classes", advice: "add rows of another class")
    }
    guard let groups, !differs({ groups[$0] != groups[first] }) else { return }
    throw DataError(
      .insufficientData, file: file, key: "\(key) split groups",
      found: "all \(rows) are of one group", expected: "at least two groups",
      advice: "leave the groups out, or take rows of more of them")
  }
}
