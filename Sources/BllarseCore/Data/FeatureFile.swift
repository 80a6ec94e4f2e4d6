public import BllarseNumerics

/// Features in named splits, as a file or a directory holds them.
///
/// - a safetensors file with the tensors `X_train`, `y_train`, `X_test`, `y_test` and, if wanted,
///   `X_val`, `y_val` and further pairs `X_NAME`, `y_NAME`;
/// - an npz file with arrays of these names;
/// - a directory with `X_train.npz`, `y_train.npz` and so on, each with one array `data`, or the same as
///   npy files, and perhaps `metadata.json`: the cache of the Python original's text experiments.
///
/// Features are (N, D) and stay in half, single or double precision, mapped where they are not
/// compressed; labels are N integers of any type. The metadata may hold `class_names` (a JSON list of
/// texts) and `num_classes`. `val` is the split "validation"; every other split keeps its name.
public struct FeatureFile: Sendable {
  let source: FeatureArrays
  /// The splits that have features, and the arrays' suffixes.
  private let suffixes: [(split: String, suffix: String)]

  /// The file or directory, as the caller named it.
  public var path: String { source.path }

  /// Opens a file or a directory.
  ///
  /// - Throws: `DataError` when it is missing or its format is damaged.
  public init(path: String) throws(DataError) {
    source = try FeatureFormat.open(path)
    let suffixes = source.names.filter { $0.hasPrefix("X_") }.map { String($0.dropFirst(2)) }
    let order = ["train", "validation", "test"]
    func rank(_ name: String) -> Int { order.firstIndex(of: name) ?? order.count }
    self.suffixes = suffixes.map { ($0 == "val" ? "validation" : $0, $0) }.sorted {
      (rank($0.split), $0.split) < (rank($1.split), $1.split)
    }
  }

  /// The splits that have features, in the order train, validation, test, then by name.
  public var splitNames: [String] { suffixes.map(\.split) }

  /// The features of a split, without labels.
  ///
  /// - Throws: `DataError`: there are none, they are no matrix, or a value is not finite or too large.
  public func features(_ split: String) throws(DataError) -> FeatureMatrix {
    let tensor = try source.tensor("X_" + suffix(split))
    let features = try tensor.features()
    try FeatureRange(predicting: features.columnCount).check(
      features, file: tensor.path, key: tensor.name)
    return features
  }

  /// Reads and checks all splits that have features and labels, with weights and groups of the training rows
  /// where they are named.
  ///
  /// Required are by default "train" and the test split; the number of classes may be known otherwise (from a
  /// checkpoint).
  ///
  /// - Throws: `DataError`, naming tensor, row and column.
  public func dataset(
    requiring required: [String]? = nil, classCount: Int? = nil,
    with arrays: RowArrays = RowArrays(),
    execution: Execution = .available
  ) throws(DataError) -> FeatureDataset {
    let required =
      required ?? [SplitRoles.training, SplitRoles.defaultTest(of: splitNames) ?? "test"]
    let read = try readSplits(requiring: required, with: arrays) { (name) throws(DataError) in
      let features = try source.tensor("X_" + suffix(name)).features()
      return (features.rowCount, features)
    }
    let (announced, classNames) = try announcedClasses()
    return try FeatureDataset(
      name: FeatureFile.stem(path), file: path,
      splits: read.map { (name, features, labels, values) throws(DataError) in
        let split = try FeatureSplit(
          features: features, labels: labels, weights: values.weights, groups: values.groups,
          name: name)
        return (name, split)
      },
      classCount: classNames == nil ? classCount ?? announced : announced, classNames: classNames,
      execution: execution)
  }

  /// Reads the splits that have labels, and those that must be there, with what `features` gives of each.
  ///
  /// - Throws: `DataError`; that a split is missing comes after the faults of the others.
  private func readSplits<Features>(
    requiring required: [String], with arrays: RowArrays,
    _ features: (_ name: String) throws(DataError) -> (rowCount: Int, features: Features)
  ) throws(DataError) -> [(
    name: String, features: Features, labels: [Int32], values: RowValues
  )] {
    let names = Set(source.names)
    var splits: [(name: String, features: Features, labels: [Int32], values: RowValues)] = []
    for (name, suffix) in suffixes where names.contains("y_" + suffix) || required.contains(name) {
      let (rowCount, features) = try features(name)
      let labels = try source.tensor("y_" + suffix).labels()
      do throws(DataError) {
        try FeatureSplit.require(labels.count, rowCount: rowCount, name: name)
      } catch { throw error.inFile(path) }
      let values =
        name == SplitRoles.training ? try values(of: arrays, rowCount: rowCount) : RowValues()
      splits.append((name, features, labels, values))
    }
    for name in required where !suffixes.contains(where: { $0.split == name }) {
      _ = try source.header("X_" + suffix(name))  // says what there is
    }
    return splits
  }

  private func suffix(_ split: String) -> String {
    suffixes.first { $0.split == split }?.suffix ?? (split == "validation" ? "val" : split)
  }

  private func announcedClasses() throws(DataError) -> (count: Int?, names: [String]?) {
    var (count, names): (Int?, [String]?) = (nil, nil)
    if let text = source.metadata["class_names"] {
      names = ClassNames.parse(text)
      try DataError.require(
        names != nil, .wrongType, file: path, key: "metadata class_names",
        found: "the value is \(text.quoted())", expected: "a JSON list of texts")
    }
    if let text = source.metadata["num_classes"] {
      count = Int(text)
      try DataError.require(
        count != nil, .wrongType, file: path, key: "metadata num_classes",
        found: "the value is \(text.quoted())", expected: "a number")
    }
    return (count, names)
  }

  /// The file's name without directory and extension.
  static func stem(_ path: String) -> String {
    let name = path.split(separator: "/").last.map(String.init) ?? path
    guard let dot = name.lastIndex(of: "."), dot > name.startIndex else { return name }
    return String(name[..<dot])
  }
}

/// Class names as the metadata of a file hold them: a JSON list of texts.
package enum ClassNames {
  /// The names in a JSON list of texts, or `nil` when it is none.
  package static func parse(_ text: String) -> [String]? { (try? JSON.parse(text))?.texts }

  /// The JSON list of names.
  package static func format(_ names: [String], separator: String = ",") -> String {
    "[" + names.map { JSON.string($0).compact }.joined(separator: separator) + "]"
  }
}

extension JSON {
  /// The texts of a list of them.
  var texts: [String]? {
    guard let elements = arrayValue else { return nil }
    let texts = elements.compactMap(\.stringValue)
    return texts.count == elements.count ? texts : nil
  }
}

/// What is known of stored features before they are read: sizes and labels.
struct FeatureHeader: Sendable {
  /// A split, its rows, and the bytes of its features.
  typealias Split = (name: String, rowCount: Int, byteCount: Int)

  /// The file, unless the features are yet to be made.
  let file: String?
  /// All splits with features.
  let names: [String]
  /// The splits with features and labels.
  let splits: [Split]
  let featureCount: Int
  let classCount: Int

  subscript(name: String) -> Split? { splits.first { $0.name == name } }
}

extension FeatureFile {
  /// Reads sizes and labels and checks them, as ``dataset(requiring:classCount:with:execution:)`` does before
  /// it looks at the features.
  ///
  /// - Throws: `DataError`, naming tensor and row.
  func header(
    requiring required: [String] = [], with arrays: RowArrays = RowArrays()
  ) throws(DataError) -> FeatureHeader {
    let read = try readSplits(requiring: required, with: arrays) { (name) throws(DataError) in
      let features = try header(of: name)
      return (features.shape[0], features)
    }
    let (announced, names) = try announcedClasses()
    let classCount = try DatasetValidation(file: path).check(
      read.map {
        .init(
          name: $0.name, rowCount: $0.features.shape[0], featureCount: $0.features.shape[1],
          labels: $0.labels, values: $0.values)
      }, announced: announced, names: names)
    return FeatureHeader(
      file: path, names: splitNames,
      splits: read.map { name, features, _, _ in
        (name, features.shape[0], features.shape.reduce(features.type.size, *))
      }, featureCount: read.first?.features.shape[1] ?? 0, classCount: classCount)
  }

  /// The sizes of the features of a split, with or without labels.
  ///
  /// - Throws: `DataError`: there are none, or they are no matrix.
  func header(of split: String) throws(DataError) -> ArrayHeader {
    let header = try source.header("X_" + suffix(split))
    guard header.shape.count == 2 else {
      throw header.wrongShape(expected: "a matrix (rows, features)")
    }
    return header
  }
}

/// The names of arrays that say more of the training rows than their classes.
///
/// An array NAME is stored as `NAME_train`, or as `NAME` with as many rows as the training split. There is
/// nothing to be said of the rows of other splits: every scored row counts once.
public struct RowArrays: Sendable, Hashable {
  /// How often each row counts in the fit: numbers that are not negative.
  public var weights: String?
  /// Which rows belong together, and are left out together: integers, or rows of bytes.
  public var groups: String?

  /// Names arrays.
  public init(weights: String? = nil, groups: String? = nil) {
    (self.weights, self.groups) = (weights, groups)
  }
}

/// What such arrays hold.
struct RowValues: Sendable, Equatable {
  var weights: [Double]?
  var groups: [Int]?
}

extension FeatureFile {
  /// Reads and checks the arrays of the training rows.
  ///
  /// - Throws: `DataError` that names array and row: there is no such array, it has another number of rows,
  ///   or a value is no weight or no group.
  func values(of arrays: RowArrays, rowCount: Int) throws(DataError) -> RowValues {
    var values = RowValues()
    if let name = arrays.weights {
      let tensor = try trainingArray(name, "weight", rowCount: rowCount)
      let weights: [Double] = try tensor.array()
      try RowWeights.check(weights, rowCount: rowCount, file: tensor.path, key: tensor.name)
      values.weights = weights
    }
    if let name = arrays.groups {
      do throws(DataError) {
        values.groups = try trainingArray(name, "group", rowCount: rowCount).groups()
      } catch {
        guard error.code == .wrongType else { throw error }
        // Names, as NumPy stores them, are no numbers.
        var fault = error
        fault.expected = "integers"
        fault.advice = "number the groups, with numpy.unique(groups, return_inverse=True)[1]"
        throw fault
      }
    }
    return values
  }

  /// The array that holds one entry a training row under a name.
  private func trainingArray(
    _ name: String, _ noun: String, rowCount: Int
  ) throws(DataError) -> StoredTensor {
    let names = source.names
    let candidates = [name + "_" + SplitRoles.training, name]
    guard let found = candidates.first(where: names.contains) else {
      throw DataError(
        .missingKey, file: path, key: candidates[0],
        found: DataError.absence("array", among: names),
        expected: "one \(noun) a training row, in \(candidates[0]) or \(name)")
    }
    let header = try source.header(found)
    let isList = header.shape.count == 1 || header.shape.count == 2 && header.shape[1] == 1
    guard header.shape.first == rowCount, isList || noun == "group" && header.shape.count == 2
    else {
      throw header.wrongShape(
        expected: "one \(noun) for each of the \(rowCount) training rows")
    }
    return try source.tensor(found)
  }
}
