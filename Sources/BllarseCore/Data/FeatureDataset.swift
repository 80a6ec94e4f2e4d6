public import BllarseNumerics

/// Checked features and targets in named splits: what a head is fitted and evaluated on.
///
/// A value of this type holds what every head relies on: each split has rows, as many targets as rows,
/// and finite features; all splits have the same number of features; every label is a class and the
/// training split has at least two of them, or every target value is a number and they differ, or rows have labels of
/// the same number.
public struct FeatureDataset: Sendable {
  /// What the data set is called, "digits".
  public let name: String
  /// The file it came from, for messages.
  public let file: String?
  /// The splits' names in their order: "train", "test", "validation" and any others.
  public let splitNames: [String]
  /// The classes, target values or labels that there are.
  public let outputs: Outputs
  /// The number of classes.
  public var classCount: Int { outputs.count }
  /// The classes' names, `classCount` of them; their numbers when nobody named them.
  public var classNames: [String] { outputs.names }

  private var splits: [String: FeatureSplit]

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
  ///   - targetNames: the names of target values, or of labels of sets, where splits have these; "y", or numbers, when
  ///     `nil`.
  ///   - execution: the threads to check with.
  /// - Throws: `DataError`, naming split, row and column: no rows, widths that differ, features that are
  ///   NaN, infinite or so large that sums of squares overflow, labels that are no class, one class only, target
  ///   values that are no numbers, or all the same.
  /// - Complexity: one pass over all features.
  public init(
    name: String, file: String? = nil, splits: [(name: String, split: FeatureSplit)],
    classCount: Int? = nil, classNames: [String]? = nil, targetNames: [String]? = nil,
    execution: Execution = .available
  ) throws(DataError) {
    outputs = try DatasetValidation(file: file).check(
      splits.map {
        DatasetValidation.Outline(
          name: $0.name, rowCount: $0.split.rowCount, featureCount: $0.split.featureCount,
          targets: $0.split.targets,
          values: RowValues(weights: $0.split.weights, groups: $0.split.groups))
      }, announced: classCount, classNames: classNames, targetNames: targetNames)
    for (name, split) in splits {
      let range =
        name == SplitRoles.training
        ? FeatureRange(fitting: split.rowCount, columnCount: split.featureCount)
        : FeatureRange(predicting: split.featureCount)
      try range.check(
        split.features, file: file, key: "\(name) split features", execution: execution)
    }
    (self.name, self.file) = (name, file)
    splitNames = splits.map(\.name)
    self.splits = Dictionary(uniqueKeysWithValues: splits.map { ($0.name, $0.split) })
  }

  /// The data set with subsets of the rows of some splits, which need no check of their own; the classes stay
  /// those of all rows.
  func limited(to subsets: [String: RowSubset]) -> FeatureDataset {
    var copy = self
    for (name, subset) in subsets { copy.splits[name] = splits[name]?.rows(subset) }
    return copy
  }

  /// Makes sure that the training rows that are taken and count show two classes and two groups.
  ///
  /// - Throws: `DataError.Code.insufficientData`.
  func checkRowsThatCount() throws(DataError) {
    guard let train = splits[SplitRoles.training],
      train.weights != nil || train.groups != nil || outputs.task != .classification
    else { return }
    try RowValues(weights: train.weights, groups: train.groups).check(
      targets: train.targets, file: file, key: SplitRoles.training)
  }

  /// The split of a name, if there is one.
  public subscript(name: String) -> FeatureSplit? { splits[name] }

  /// The split of a name.
  ///
  /// - Throws: `DataError.Code.missingKey`, with the names that are there.
  public func split(_ name: String) throws(DataError) -> FeatureSplit {
    try DataError.find(splits[name], "split", "\(name) split", in: file, among: splitNames)
  }

  /// What the user should know of labels that all training rows have, or none; `nil` when there are none.
  var constantLabelNote: String? {
    guard let train = splits[SplitRoles.training], case .labelSets(let sets) = train.targets else {
      return nil
    }
    let constant = (0..<sets.labelCount).filter { label in
      ConstantLabel.value(of: sets.classes(of: label), weights: train.weights) != nil
    }
    guard !constant.isEmpty else { return nil }
    let names = constant.prefix(5).map { outputs.names[$0].quoted() }.joined(separator: ", ")
    return "\(constant.count) of \(outputs) "
      + (constant.count == 1 ? "is the same in" : "are the same in")
      + " all training rows, and predicted by that alone: \(names)"
      + (constant.count > 5 ? ", …" : "")
  }

  /// What the user should know of classes that no training row has; `nil` when there are none.
  var unseenClassNote: String? {
    guard let train = splits[SplitRoles.training], train.targets.task == .classification else {
      return nil
    }
    var isSeen = [Bool](repeating: false, count: classCount)
    if case .distributions(let distributions) = train.targets {
      isSeen = distributions.classTotals(weights: train.weights).map { $0 > 0 }
    } else {
      for (row, label) in train.labels.enumerated() where (train.weights?[row] ?? 1) > 0 {
        isSeen[Int(label)] = true
      }
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
}

/// The checks behind ``FeatureDataset``.
struct DatasetValidation {
  /// What is checked of a split without its features.
  struct Outline {
    let name: String
    let rowCount: Int
    let featureCount: Int
    let targets: Targets
    var values = RowValues()
  }

  let file: String?

  private func fault(
    _ code: DataError.Code, _ key: String?, row: Int? = nil, _ found: String, _ expected: String?,
    _ advice: String? = nil
  ) -> DataError {
    DataError(
      code, file: file, key: key, row: row, found: found, expected: expected, advice: advice)
  }

  /// Checks all but the features, and tells what the targets are: classes as announced, as there are names or as
  /// the labels show, or values, or labels of sets.
  ///
  /// - Throws: `DataError` that names split and row.
  func check(
    _ splits: [Outline], announced: Int?, classNames: [String]?, targetNames: [String]?
  ) throws(DataError) -> Outputs {
    try checkShapes(splits)
    switch splits.first?.targets {
    case .values(let first)?:
      let names =
        targetNames ?? (first.columnCount == 1 ? ["y"] : (0..<first.columnCount).map(String.init))
      for split in splits { try check(split, names: names) }
      return Outputs(.regression, names)
    case .labelSets(let first)?:
      let names = targetNames ?? (0..<first.labelCount).map(String.init)
      for split in splits { try check(split, labelNames: names) }
      return Outputs(.multilabel, names)
    case .classes?, .distributions?, nil:
      let count = try checkLabels(splits, announced: announced, names: classNames)
      return Outputs(classCount: count, names: classNames)
    }
  }

  private func check(_ split: Outline, labelNames names: [String]) throws(DataError) {
    let count = if case .labelSets(let sets) = split.targets { sets.labelCount } else { 0 }
    guard count == names.count, Set(names).count == count else {
      throw fault(
        .wrongShape, "\(split.name) split labels", "there are \(count) labels",
        "\(names.count), as there are names, each of its own: \(names.joined(separator: ", "))")
    }
    guard split.name == SplitRoles.training else { return }
    try split.values.check(targets: split.targets, file: file, key: split.name)
  }

  private func checkLabels(
    _ splits: [Outline], announced: Int?, names: [String]?
  ) throws(DataError) -> Int {
    let labelled: [(outline: Outline, labels: [Int32])] = splits.map { split in
      guard split.targets.task == .classification else { return (split, []) }
      return (split, split.targets.labels)
    }
    let columns = try distributionColumns(splits, announced: announced ?? names?.count)
    let classCount = try classCount(labelled, announced: announced ?? columns, names: names)
    let isAnnounced = announced != nil || names != nil || columns != nil
    for (split, labels) in labelled {
      if let row = labels.firstIndex(where: { $0 < 0 || Int($0) >= classCount }) {
        // A class of which there is no training row.
        let isUnseen = !isAnnounced && split.name != SplitRoles.training && labels[row] >= 0
        throw fault(
          .invalidLabel, "\(split.name) split labels", row: row,
          "the label is \(labels[row])",
          "a class index in 0..<\(classCount)" + (isUnseen ? ", as the training rows show" : ""),
          "correct or remove the row"
            + (isUnseen ? ", or list all classes in the metadata class_names" : ""))
      }
      guard split.name == SplitRoles.training else { continue }
      try split.values.check(targets: split.targets, file: file, key: split.name)
    }
    return classCount
  }

  /// The columns of class probabilities, which every split that has some must have, and as many as classes were
  /// announced; `nil` where there are labels only.
  private func distributionColumns(
    _ splits: [Outline], announced: Int?
  ) throws(DataError) -> Int? {
    var known: (count: Int, source: String)?
    if let announced { known = (announced, "as many as classes are announced in the metadata") }
    var columns: Int?
    for split in splits {
      guard case .distributions(let distributions) = split.targets else { continue }
      let count = distributions.classCount
      if let known, known.count != count {
        throw fault(
          .wrongShape, "\(split.name) split targets",
          "there are probabilities of \(count) classes", "\(known.count), \(known.source)",
          "store a column for each class, in the order of the classes")
      }
      columns = count
      known = (count, "as in \(split.name)")
    }
    return columns
  }

  /// The largest magnitude of a target value: sums of squares over rows stay finite in double precision.
  private static var largestValue: Double { 1e100 }

  private func check(_ split: Outline, names: [String]) throws(DataError) {
    guard case .values(let values) = split.targets, values.columnCount == names.count,
      Set(names).count == names.count
    else {
      let found = if case .values(let values) = split.targets { values.columnCount } else { 0 }
      throw fault(
        .wrongShape, "\(split.name) split targets", "there are \(found) targets a row",
        "\(names.count), as there are names, each of its own: \(names.joined(separator: ", "))")
    }
    for row in 0..<values.rowCount {
      let column = values.withRow(row) { entries in
        entries.indices.first { !(entries[$0].magnitude <= Self.largestValue) }
      }
      guard let column else { continue }
      let value = values[row, column]
      throw DataError(
        value.isFinite ? .outOfRange : .notFinite, file: file, key: "\(split.name) split targets",
        row: row, column: values.columnCount > 1 ? column : nil, found: "the target is \(value)",
        expected: value.isFinite ? "at most 1e100 in magnitude" : "a finite number",
        advice: "correct or remove the row")
    }
    guard split.name == SplitRoles.training else { return }
    try split.values.check(targets: split.targets, file: file, key: split.name)
  }

  private func checkShapes(_ splits: [Outline]) throws(DataError) {
    guard let first = splits.first else {
      throw fault(.missingKey, nil, "there is no split", "train")
    }
    var names: Set<String> = []
    for split in splits {
      let (key, width) = ("\(split.name) split", split.featureCount)
      if !names.insert(split.name).inserted {
        throw fault(.malformedFile, key, "the split occurs twice", nil)
      }
      if split.rowCount == 0 {
        throw fault(
          .insufficientData, key, "there are no rows", "at least one row",
          "add rows or leave the split out")
      }
      if width == 0 {
        throw fault(.wrongShape, key, "the rows have no features", "at least one column")
      }
      if width != first.featureCount {
        throw fault(
          .wrongShape, key, "the rows have \(width) features",
          "\(first.featureCount) as in \(first.name)", "make all splits with the same backbone")
      }
    }
  }

  private func classCount(
    _ splits: [(outline: Outline, labels: [Int32])], announced: Int?, names: [String]?
  ) throws(DataError) -> Int {
    if let announced, let names, announced != names.count {
      throw fault(
        .wrongShape, "class_names", "there are \(names.count) names",
        "\(announced), one for each class")
    }
    if let announced = announced ?? names?.count {
      guard announced < 2 else { return announced }
      throw fault(
        .insufficientData, nil, "\(announced) classes were announced", "at least two classes")
    }
    // A class that the training rows do not show cannot be learnt: their labels count the classes.
    let counted = splits.filter { $0.outline.name == SplitRoles.training }
    let sources = counted.isEmpty ? splits : counted
    let largest = max(0, sources.compactMap { $0.labels.max() }.max() ?? 0)
    let rows = sources.reduce(0) { $0 + $1.outline.rowCount }
    for (split, labels) in sources where Int(largest) >= max(rows, 2) {
      guard let row = labels.firstIndex(of: largest) else { continue }
      throw fault(
        .invalidLabel, "\(split.name) split labels", row: row,
        "the label is \(largest), which makes more classes than there are rows",
        "class indices from 0 on", "number the classes from 0 without gaps")
    }
    return max(Int(largest) + 1, 2)
  }
}

extension RowValues {
  /// Refuses rows that do not show two classes or more, or two values of each target, or a label that some have and some
  /// have not, and two groups, among those that count.
  func check(targets: Targets, file: String?, key: String) throws(DataError) {
    if let weights {
      try RowWeights.requirePositive(weights, file: file, key: "\(key) split weights")
    }
    let first = weights.flatMap { $0.firstIndex { $0 > 0 } } ?? 0
    let count = targets.rowCount
    guard first < count else { return }
    func differs(_ isOther: (Int) -> Bool) -> Bool {
      (0..<count).contains { (weights?[$0] ?? 1) > 0 && isOther($0) }
    }
    let rows = weights == nil ? "\(count) rows" : "rows of positive weight"
    switch targets {
    case .classes(let labels):
      try DataError.require(
        differs({ labels[$0] != labels[first] }), .insufficientData, file: file,
        key: "\(key) split labels", found: "all \(rows) have the label \(labels[first])",
        expected: "at least two classes", advice: "add rows of another class")
    case .distributions(let distributions):
      let totals = distributions.classTotals(weights: weights)
      let seen = totals.indices.filter { totals[$0] > 0 }
      try DataError.require(
        seen.count > 1, .insufficientData, file: file, key: "\(key) split targets",
        found: "all \(rows) have the class \(seen.first ?? 0) with probability 1",
        expected: "at least two classes", advice: "add rows of another class")
    case .values(let values):
      for column in 0..<values.columnCount {
        let value = values[first, column]
        guard !differs({ values[$0, column] != value }) else { continue }
        throw DataError(
          .insufficientData, file: file, key: "\(key) split targets",
          column: values.columnCount > 1 ? column : nil,
          found: "all \(rows) have the target \(value)", expected: "targets that differ",
          advice: "add rows of other targets, or leave the target out")
      }
    case .labelSets(let sets):
      let varies = (0..<sets.labelCount).contains { label in
        differs { sets[$0, label] != sets[first, label] }
      }
      try DataError.require(
        varies, .insufficientData, file: file, key: "\(key) split labels",
        found: "all \(rows) have the same labels", expected: "a label that some rows have",
        advice: "add rows with other labels")
    }
    guard let groups, !differs({ groups[$0] != groups[first] }) else { return }
    throw DataError(
      .insufficientData, file: file, key: "\(key) split groups",
      found: "all \(rows) are of one group", expected: "at least two groups",
      advice: "leave the groups out, or take rows of more of them")
  }
}

/// How large features may be: their squares, and the sums of these, must stay finite in single precision.
///
///     fitted rows   |x| ≤ sqrt(M / (N·D))     the Gram matrix of all rows
///     other rows    |x| ≤ sqrt(M / D)         the squared norm of one row
///
/// with M the largest number of single precision, 3.4e38, and the bound rounded down to a power of ten. The
/// range of a row that is only predicted does not depend on the rows beside it.
struct FeatureRange: Sendable, Equatable {
  let bound: Double
  /// What stays finite, for messages.
  private let sum: String

  init(fitting rowCount: Int, columnCount: Int) {
    self.init(termCount: Double(rowCount) * Double(columnCount), sum: "of squares over all rows")
  }

  init(predicting columnCount: Int) {
    self.init(termCount: Double(columnCount), sum: "of a row's squares")
  }

  private init(termCount: Double, sum: String) {
    bound = FeatureMatrix.largestValue(termCount: termCount)
    self.sum = sum
  }

  func check(
    _ features: FeatureMatrix, file: String?, key: String, execution: Execution = .available
  ) throws(DataError) {
    guard let (row, column) = features.firstValue(beyond: bound, execution: execution) else {
      return
    }
    throw fault(features.value(row, column), file: file, key: key, row: row, column: column)
  }

  /// What is wrong with a value that is NaN, infinite, or beyond the bound.
  func fault(
    _ value: Double, file: String?, key: String, row: Int, column: Int
  ) -> DataError {
    guard value.isFinite else {
      return DataError(
        .notFinite, file: file, key: key, row: row, column: column, found: "the value is \(value)",
        expected: "a finite number", advice: "remove the row or replace the value")
    }
    return DataError(
      .outOfRange, file: file, key: key, row: row, column: column,
      // In the digits of the precision that it has.
      found: "the value is " + (Double(Float(value)) == value ? "\(Float(value))" : "\(value)"),
      expected: "at most \(bound) in magnitude, so that sums \(sum) stay finite",
      advice: "remove the row, or divide the column by its scale in every split")
  }
}
