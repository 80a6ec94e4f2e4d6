public import BllarseNumerics

/// What heads predict of a row.
public enum LearningTask: String, Sendable, CaseIterable {
  /// One of several classes.
  case classification
  /// One number, or several.
  case regression
  /// Any of several labels: none, some or all.
  case multilabel
}

/// What heads of a data set predict: how many classes, target values or labels there are, and what they are called.
public struct Outputs: Sendable, Equatable {
  /// What they are.
  public let task: LearningTask
  /// Their names, in their order.
  public let names: [String]
  /// Their number.
  public var count: Int { names.count }

  /// Names classes; by default they are called by their numbers.
  init(classCount: Int, names: [String]? = nil) {
    task = .classification
    self.names = names ?? (0..<classCount).map(String.init)
  }

  /// Classes, target values or labels that are called by their numbers.
  init(_ task: LearningTask, count: Int) { self.init(task, (0..<count).map(String.init)) }

  /// Names classes, target values or labels.
  init(_ task: LearningTask, _ names: [String]) { (self.task, self.names) = (task, names) }
}

extension Outputs: CustomStringConvertible {
  /// "10 classes", "1 target".
  public var description: String {
    switch task {
    case .classification: "\(count) classes"
    case .regression: count == 1 ? "1 target" : "\(count) targets"
    case .multilabel: count == 1 ? "1 label" : "\(count) labels"
    }
  }
}

/// What is known of rows, to be learnt or to be compared with predictions.
public enum Targets: Sendable {
  /// A class of each row, N.
  case classes([Int32])
  /// The probabilities of the classes of each row, N x K: what a teacher predicted, or how annotators voted.
  case distributions(ClassDistributions)
  /// Numbers of each row, N x T.
  case values(Matrix<Double>)
  /// The labels that each row has, N x L.
  case labelSets(LabelSets)

  /// What predicts such targets.
  public var task: LearningTask {
    switch self {
    case .classes, .distributions: .classification
    case .values: .regression
    case .labelSets: .multilabel
    }
  }

  /// A class of each row, N, of rows that have one; the most probable one where probabilities are known.
  var labels: [Int32] {
    switch self {
    case .classes(let labels): labels
    case .distributions(let distributions): distributions.labels
    case .values, .labelSets: preconditionFailure("rows without classes")
    }
  }
  /// Numbers of each row, N x T, of rows that have some.
  var values: Matrix<Double> {
    guard case .values(let values) = self else { preconditionFailure("rows without values") }
    return values
  }
  /// The labels of each row, N x L, of rows that have sets of them.
  var labelSets: LabelSets {
    guard case .labelSets(let sets) = self else { preconditionFailure("rows without label sets") }
    return sets
  }

  /// N.
  var rowCount: Int {
    switch self {
    case .classes(let labels): labels.count
    case .distributions(let distributions): distributions.rowCount
    case .values(let values): values.rowCount
    case .labelSets(let sets): sets.rowCount
    }
  }

  /// What one of them is called.
  var noun: String {
    switch self {
    case .classes: "label"
    case .distributions: "class distribution"
    case .values: "target"
    case .labelSets: "label set"
    }
  }

  /// The classes of rows, or one of all rows.
  fileprivate var strata: [Int32] {
    switch self {
    case .classes, .distributions: labels
    case .values, .labelSets: [Int32](repeating: 0, count: rowCount)
    }
  }

  /// How many classes rows show.
  fileprivate var classesShown: Int {
    softDistributions.map { $0.classTotals(weights: nil).count { $0 > 0 } } ?? Set(labels).count
  }

  fileprivate func rows(_ range: Range<Int>) -> Targets {
    switch self {
    case .classes(let labels): .classes(Array(labels[range]))
    case .distributions(let distributions): .distributions(distributions.rows(range))
    case .values(let values): .values(values.rows(range))
    case .labelSets(let sets): .labelSets(sets.rows(range))
    }
  }

  fileprivate func gatheringRows(_ rows: [Int]) -> Targets {
    switch self {
    case .classes(let labels): .classes(rows.map { labels[$0] })
    case .distributions(let distributions): .distributions(distributions.gatheringRows(rows))
    case .values(let values): .values(values.gatheringRows(rows))
    case .labelSets(let sets): .labelSets(sets.gatheringRows(rows))
    }
  }
}

/// The rows of one split: features and the targets of each row, and perhaps how often each counts and
/// which belong together.
public struct FeatureSplit: Sendable {
  /// N x D, in the precision in which they are stored.
  public let features: FeatureMatrix
  /// What is known of each row, N.
  public let targets: Targets
  /// How often each row counts in a fit, N numbers that are not negative; `nil` for once.
  public let weights: [Double]?
  /// The group of each row, N numbers from 0 without gaps; `nil` where each row is one of its own.
  ///
  /// Rows of one group are left out of a fit together.
  public let groups: [Int]?

  /// The class of each row, N, of rows that have one; the most probable one where probabilities are known.
  public var labels: [Int32] { targets.labels }
  /// The target values of each row, N x T, of rows that have some.
  public var values: Matrix<Double> { targets.values }
  /// The labels of each row, N x L, of rows that have sets of them.
  public var labelSets: LabelSets { targets.labelSets }

  /// The number of rows.
  public var rowCount: Int { features.rowCount }
  /// The number of features of a row.
  public var featureCount: Int { features.columnCount }

  /// Joins features and labels, and what else is known of the rows.
  ///
  /// - Parameters:
  ///   - features: N x D.
  ///   - labels: N class indices.
  ///   - weights: as of ``init(features:targets:weights:groups:name:)``.
  ///   - groups: N numbers, the same for rows that belong together.
  ///   - name: what a message calls the split, "train".
  /// - Throws: `DataError`: there are not as many labels, weights or groups as rows, or a weight is none.
  public init(
    features: FeatureMatrix, labels: [Int32], weights: [Double]? = nil, groups: [Int]? = nil,
    name: String = "data"
  ) throws(DataError) {
    try self.init(
      features: features, targets: .classes(labels), weights: weights, groups: groups, name: name)
  }

  /// Joins features and targets, and what else is known of the rows.
  ///
  /// - Parameters:
  ///   - features: N x D.
  ///   - targets: of N rows.
  ///   - weights: N numbers from 0 to 1e12, not all 0: a weight of 2 is a row that is there twice.
  ///   - groups: N numbers, the same for rows that belong together.
  ///   - name: what a message calls the split, "train".
  /// - Throws: `DataError`: there are not as many targets, weights or groups as rows, or a weight is none.
  public init(
    features: FeatureMatrix, targets: Targets, weights: [Double]? = nil, groups: [Int]? = nil,
    name: String = "data"
  ) throws(DataError) {
    let count = features.rowCount
    try Self.require(targets, rowCount: count, name: name)
    if let weights {
      try RowWeights.check(weights, rowCount: count, file: nil, key: "\(name) split weights")
    }
    if let groups, groups.count != count {
      throw .wrongCount(groups.count, "group", rowCount: count, key: "\(name) split groups")
    }
    self.init(features, targets, weights, groups?.dense)
  }

  static func require(_ targets: Targets, rowCount: Int, name: String) throws(DataError) {
    guard rowCount == targets.rowCount else {
      throw .wrongCount(
        targets.rowCount, targets.noun, rowCount: rowCount, key: "\(name) split")
    }
  }

  /// A view of a range of rows, sharing the features' memory.
  public func rows(_ range: Range<Int>) -> FeatureSplit {
    FeatureSplit(
      features.rows(range), targets.rows(range), weights.map { Array($0[range]) },
      groups.map { Array($0[range]).dense })
  }

  func gatheringRows(_ rows: [Int]) -> FeatureSplit {
    FeatureSplit(
      features.gatheringRows(rows), targets.gatheringRows(rows),
      weights.map { weights in rows.map { weights[$0] } },
      groups.map { groups in rows.map { groups[$0] }.dense })
  }

  /// The same rows with whether they have a label as two classes.
  func asking(for label: Int) -> FeatureSplit {
    FeatureSplit(features, .classes(labelSets.classes(of: label)), weights, groups)
  }

  init(
    _ features: FeatureMatrix, _ targets: Targets, _ weights: [Double]?, _ groups: [Int]?
  ) {
    (self.features, self.targets) = (features, targets)
    (self.weights, self.groups) = (weights, groups)
  }
}

extension FeatureSplit {
  /// What the user should know of weights.
  var weightNote: String? {
    let count = weights?.count { $0 == 0 } ?? 0
    return count == 0
      ? nil
      : count == 1
        ? "1 training row has the weight 0 and counts for nothing"
        : "\(count) training rows have the weight 0 and count for nothing"
  }
}

/// What is asked of row weights, wherever they come from.
enum RowWeights {
  /// The largest weight: sums over rows are products of weights, features and numbers of rows in single
  /// precision, which ends at 3e38.
  static let limit = 1e12

  /// Refuses another number of weights than rows, a weight that is not finite, negative or above
  /// ``limit``, and weights of which none is positive.
  static func check(
    _ weights: [Double], rowCount: Int, file: String?, key: String
  ) throws(DataError) {
    guard weights.count == rowCount else {
      throw .wrongCount(weights.count, "weight", rowCount: rowCount, file: file, key: key)
    }
    if let row = weights.firstIndex(where: { !($0 >= 0 && $0 <= limit) }) {
      let weight = weights[row]
      throw DataError(
        weight.isFinite ? .outOfRange : .notFinite, file: file, key: key, row: row,
        found: "the weight is \(weight)", expected: "a number from 0 to \(Int(limit))",
        advice: weight > limit && weight.isFinite
          ? "divide all weights by their mean"
          : "correct it, or give 0 for a row that is not to count")
    }
    try requirePositive(weights, file: file, key: key)
  }

  static func requirePositive(
    _ weights: [Double], file: String?, key: String
  ) throws(DataError) {
    try DataError.require(
      weights.contains(where: { $0 > 0 }), .insufficientData, file: file, key: key,
      found: "all \(weights.count) weights are 0", expected: "rows that count")
  }
}

extension Array where Element: Hashable {
  /// The elements numbered from 0 without gaps, in the order in which they first occur.
  var dense: [Int] {
    var numbers: [Element: Int] = [:]
    return map { element in
      let number = numbers[element] ?? numbers.count
      numbers[element] = number
      return number
    }
  }
}

/// Which rows of a split a run takes when it is to take only some.
struct RowSubset: Sendable, Equatable {
  /// The rows to take, in the order in which they are stored.
  let rows: [Int]

  init(first count: Int, of rowCount: Int) { rows = Array(0..<min(count, rowCount)) }

  /// Random rows, each class by its share of all rows.
  ///
  /// A class gets the whole part of its share, and the largest remainders get one row more; then a class
  /// that has got none gets one from the class that has most, as long as there are rows enough. With the
  /// same seed, a class's rows in a smaller subset are among those in a larger one.
  init(stratified count: Int, of labels: [Int32], seed: UInt64) {
    guard count < labels.count else {
      rows = Array(labels.indices)
      return
    }
    var members: [Int32: [Int]] = [:]
    for (row, label) in labels.enumerated() { members[label, default: []].append(row) }
    let classes = members.keys.sorted()
    let sizes = classes.map { members[$0]?.count ?? 0 }
    var chosen: [Int] = []
    for (index, quota) in Self.quotas(count, sizes).enumerated() {
      guard let rows = members[classes[index]] else { continue }
      var generator = Philox(
        seed: seed, purpose: .subset, index: UInt64(bitPattern: Int64(classes[index])))
      chosen += generator.permutation(count: rows.count).prefix(quota).map { rows[$0] }
    }
    rows = chosen.sorted()
  }

  /// How many rows each class gets of `count`, which are fewer than there are.
  static func quotas(_ count: Int, _ sizes: [Int]) -> [Int] {
    let total = sizes.reduce(0, +)
    // Whole numbers: sizes times count stay far below 2⁶³.
    var quotas = sizes.map { $0 * count / total }
    let byRemainder = sizes.indices.sorted {
      let (a, b) = (sizes[$0] * count % total, sizes[$1] * count % total)
      return a != b ? a > b : $0 < $1
    }
    for index in byRemainder.prefix(count - quotas.reduce(0, +)) { quotas[index] += 1 }
    for index in quotas.indices where quotas[index] == 0 && sizes[index] > 0 {
      guard let largest = quotas.indices.max(by: { quotas[$0] < quotas[$1] }), quotas[largest] > 1
      else { break }
      quotas[largest] -= 1
      quotas[index] += 1
    }
    return quotas
  }
}

// MARK: - As a run asks for it

extension RunConfiguration {
  /// The rows that the run takes of splits, whose targets are given: all of those that are not among them.
  ///
  /// - Returns: rows by split, and what the user should know about limits that are above what there is.
  /// - Throws: `DataError.Code.insufficientData` when the training rows taken are of one class.
  func subsets(
    _ splits: [(name: String, targets: Targets)], _ roles: SplitRoles, file: String?
  ) throws(DataError) -> (rows: [String: RowSubset], notes: [String]) {
    var (subsets, notes): ([String: RowSubset], [String]) = ([:], [])
    for (name, targets) in splits where name == SplitRoles.training {
      let count = targets.rowCount
      guard let limit = data.maxTrainSamples else { continue }
      if limit > count {
        notes.append("--max-train-samples \(limit): there are \(count) rows, all are taken")
      }
      guard limit < count else { continue }
      let subset =
        data.trainSubsetSeed.map { RowSubset(stratified: limit, of: targets.strata, seed: $0) }
        ?? RowSubset(first: limit, of: count)
      if targets.task == .classification {
        try DataError.require(
          targets.gatheringRows(subset.rows).classesShown > 1 || targets.classesShown < 2,
          .insufficientData, file: file, key: "\(name) split labels",
          found: "the \(subset.rows.count) rows of --max-train-samples are of one class",
          expected: "at least two classes",
          advice: data.trainSubsetSeed == nil
            ? "give --train-subset-seed, for random rows of every class" : "take more rows")
      }
      subsets[name] = subset
    }
    guard let limit = data.maxValidationSamples else { return (subsets, notes) }
    let validation = splits.filter { roles.isValidation($0.name) }.sorted { $0.name < $1.name }
    if validation.isEmpty {
      notes.append("--max-val-samples has no effect here: there is no validation split")
    }
    for (name, count) in validation.map({ ($0.name, $0.targets.rowCount) }) {
      if limit < count { subsets[name] = RowSubset(first: limit, of: count) }
      if limit > count {
        notes.append(
          "--max-val-samples \(limit): there are \(count) rows of \(name), all are taken")
      }
    }
    return (subsets, notes)
  }
}

extension SplitRoles {
  /// Whether `--max-val-samples` is about a split: the validation split, and those that such a file names
  /// so.
  fileprivate func isValidation(_ name: String) -> Bool {
    guard name != Self.training else { return false }
    return name == validation || Self.validationNames.contains(name) || name.hasPrefix("val_")
  }
}

extension FeatureSplit {
  /// The rows of a subset: a view where they are the first, otherwise a copy.
  func rows(_ subset: RowSubset) -> FeatureSplit {
    subset.rows.last.map { $0 == subset.rows.count - 1 } ?? true
      ? rows(0..<subset.rows.count) : gatheringRows(subset.rows)
  }
}

/// What a run does with the splits of a data set.
///
/// The head is fitted to "train". The test split is the one whose scores a run reports as `acc`, `nll`,
/// `ece` and `test`; the validation split chooses the best epoch and calibrates. Every other split is
/// scored too.
public struct SplitRoles: Sendable, Equatable {
  /// The split that heads are fitted to.
  public static let training = "train"
  /// Validation splits that need not be named, the most preferred first.
  static let validationNames = ["validation", "valid", "dev", "val_m"]

  /// The test split.
  public let test: String
  /// The validation split, if there is one.
  public let validation: String?

  /// Whether the rows that choose the best epoch are also those that are reported.
  public var isShared: Bool { validation == test }

  /// The test split where nobody names one: "test", or the matched rows of the Python original's text
  /// caches, "val_m", if there is one of them.
  static func defaultTest(of names: [String]) -> String? {
    ["test", "val_m"].first(where: names.contains)
  }

  /// Gives each split its part.
  ///
  /// - Parameters:
  ///   - names: the splits that are there.
  ///   - test: the test split; "test" or "val_m" when `nil`.
  ///   - validation: the validation split; when `nil`, the first of "validation", "valid", "dev" and
  ///     "val_m" that is not the test split. The text caches of the Python original have no test split:
  ///     "val_m" is then both, as it is there.
  ///   - file: the file they are in, for messages.
  /// - Throws: `DataError.Code.missingKey` for a name that is not there, or no test split.
  public init(
    of names: [String], test: String? = nil, validation: String? = nil, file: String? = nil
  ) throws(DataError) {
    let others = names.filter { $0 != Self.training }
    func named(_ name: String, by option: String) throws(DataError) -> String {
      // The file may call it X_val; its split is "validation".
      let name = name == "val" && !others.contains(name) ? "validation" : name
      try DataError.require(
        others.contains(name), name == Self.training ? .wrongType : .missingKey, file: file,
        key: "\(name) split",
        found: name == Self.training
          ? "\(option) names the rows that the head is fitted to" : "there is no such split",
        expected: Self.list(others), advice: "correct \(option)")
      return name
    }
    if let test {
      self.test = try named(test, by: "--test-split")
    } else if let test = Self.defaultTest(of: names) {
      self.test = test
    } else {
      throw DataError(
        .missingKey, file: file, key: "test split", found: DataError.absence("split", among: names),
        expected: "X_test and y_test",
        advice: others.isEmpty ? "add them" : "add them, or name another with --test-split")
    }
    if let validation {
      self.validation = try named(validation, by: "--validation-split")
    } else {
      let test = self.test
      let free = Self.validationNames.first { names.contains($0) && $0 != test }
      self.validation = free ?? (test == "val_m" ? test : nil)
    }
  }

  /// The parts where no head is fitted, and the test split may be any.
  init(scoring names: [String]) {
    test = Self.defaultTest(of: names) ?? names.last ?? "test"
    validation = nil
  }

  private static func list(_ names: [String]) -> String {
    switch names.count {
    case 0: "a split beside train"
    case 1: names[0]
    default: "one of " + names.joined(separator: ", ")
    }
  }
}

extension SplitRoles: CustomStringConvertible {
  /// What a run says about its splits, in one line.
  public var description: String {
    guard let validation else { return "test split: \(test); no validation split" }
    return isShared
      ? "test and validation split: \(test)"
      : "test split: \(test); validation split: \(validation)"
  }

  /// What the user should know about rows that serve twice; `nil` when none do.
  public var note: String? {
    guard isShared else { return nil }
    return
      "\(test) chooses the best epoch and is reported as test, so the scores of that epoch flatter; "
      + "--test-split or --validation-split names another split"
  }

  /// The name of the split whose rows calibrate predictions.
  ///
  /// - Throws: `DataError` when there is none, or it is the test split and nobody said so.
  func calibrationSplit(
    among names: [String], of file: String?, isChosen: Bool
  ) throws(DataError) -> String {
    guard let validation else {
      throw DataError(
        .missingKey, file: file, key: "validation split", found: "there is no such split",
        expected: "rows to calibrate on, beside " + names.joined(separator: " and "),
        advice: "add X_val and y_val, or name another split with --validation-split")
    }
    try DataError.require(
      !isShared || isChosen, .wrongType, file: file, key: "\(validation) split",
      found: "its rows are the test split too", expected: "other rows to calibrate on",
      advice: "name the splits with --validation-split and --test-split")
    return validation
  }
}

extension SplitRoles: Encodable {
  /// Writes which split is which.
  public func encode(to encoder: any Encoder) throws {
    let parts: [String: String?] = ["train": Self.training, "test": test, "validation": validation]
    try parts.encode(to: encoder)
  }
}
