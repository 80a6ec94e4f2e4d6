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
  let source: FeatureSource
  /// The splits that have features, and the arrays' suffixes.
  private let suffixes: [(split: String, suffix: String)]

  /// The file or directory, as the caller named it.
  public var path: String { source.path }

  /// Opens a file or a directory.
  ///
  /// - Throws: `DataError` when it is missing or its format is damaged.
  public init(path: String) throws(DataError) {
    source = try FeatureSource(path: path)
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
    let range = FeatureRange(predicting: features.columnCount)
    if let (row, column) = features.firstValue(beyond: range.bound) {
      throw range.fault(
        features.value(row, column), file: tensor.path, key: tensor.name, row: row, column: column)
    }
    return features
  }

  /// Reads and checks all splits that have features and labels.
  ///
  /// - Parameters:
  ///   - required: splits that must be there; by default "train" and the test split.
  ///   - classCount: the number of classes, when it is known otherwise (from a checkpoint).
  ///   - arrays: the names of weights and groups of the training rows.
  ///   - parallelism: the threads to check with.
  /// - Returns: the data set, named after the file.
  /// - Throws: `DataError`, naming tensor, row and column.
  public func dataset(
    requiring required: [String]? = nil, classCount: Int? = nil,
    with arrays: RowArrays = RowArrays(),
    parallelism: Parallelism = .available
  ) throws(DataError) -> FeatureDataset {
    let required =
      required ?? [SplitRoles.training, SplitRoles.defaultTest(of: splitNames) ?? "test"]
    var splits: [(name: String, split: FeatureSplit)] = []
    for name in readableSplits(requiring: required) {
      let features = try source.tensor("X_" + suffix(name)).features()
      let labels = try labels(name)
      let values =
        name == SplitRoles.training
        ? try values(of: arrays, rowCount: features.rowCount) : RowValues()
      do throws(DataError) {
        splits.append(
          (
            name,
            try FeatureSplit(
              features: features, labels: labels, weights: values.weights, groups: values.groups,
              name: name)
          ))
      } catch { throw error.inFile(path) }
    }
    try requireSplits(required)
    let (announced, classNames) = try announcedClasses()
    return try FeatureDataset(
      name: FeatureFile.stem(path), file: path, splits: splits,
      classCount: classNames == nil ? classCount ?? announced : announced, classNames: classNames,
      parallelism: parallelism)
  }

  /// Makes sure that splits are there; asked after the others are read, whose faults come first.
  ///
  /// - Throws: `DataError.Code.missingKey` or `.missingFile`, with the names that are there.
  func requireSplits(_ required: [String]) throws(DataError) {
    for name in required where !suffixes.contains(where: { $0.split == name }) {
      _ = try source.header("X_" + suffix(name))  // says what there is
    }
  }

  /// The splits that have features and labels, or features and are required to have labels.
  func readableSplits(requiring required: [String]) -> [String] {
    let names = Set(source.names)
    return suffixes.filter { names.contains("y_" + $0.suffix) || required.contains($0.split) }
      .map(\.split)
  }

  /// The labels of a split.
  func labels(_ split: String) throws(DataError) -> [Int32] {
    try source.tensor("y_" + suffix(split)).labels()
  }

  func suffix(_ split: String) -> String {
    suffixes.first { $0.split == split }?.suffix ?? (split == "validation" ? "val" : split)
  }

  func announcedClasses() throws(DataError) -> (count: Int?, names: [String]?) {
    var (count, names): (Int?, [String]?) = (nil, nil)
    if let text = source.metadata["class_names"] {
      names = ClassNames.parse(text)
      guard names != nil else {
        throw DataError(
          .wrongType, file: path, key: "metadata class_names",
          found: "the value is \(text.quoted())", expected: "a JSON list of texts")
      }
    }
    if let text = source.metadata["num_classes"] {
      count = Int(text)
      guard count != nil else {
        throw DataError(
          .wrongType, file: path, key: "metadata num_classes",
          found: "the value is \(text.quoted())", expected: "a number")
      }
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
  package static func parse(_ text: String) -> [String]? {
    guard let elements = try? JSON.parse(text).arrayValue else { return nil }
    let names = elements.compactMap(\.stringValue)
    return names.count == elements.count ? names : nil
  }

  /// The JSON list of names.
  package static func format(_ names: [String], separator: String = ",") -> String {
    "[" + names.map { JSON.string($0).compact }.joined(separator: separator) + "]"
  }
}

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
    self.weights = weights
    self.groups = groups
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
  /// - Parameters:
  ///   - arrays: their names.
  ///   - rowCount: the number of training rows.
  /// - Returns: what was named.
  /// - Throws: `DataError` that names array and row: there is no such array, it has another number of rows,
  ///   or a value is no weight or no group.
  func values(of arrays: RowArrays, rowCount: Int) throws(DataError) -> RowValues {
    var values = RowValues()
    if let name = arrays.weights {
      let tensor = try source.tensor(try trainingArray(name, "weight", rowCount: rowCount))
      let weights: [Double] = try tensor.array()
      try RowWeights.check(weights, rowCount: rowCount, file: tensor.path, key: tensor.name)
      values.weights = weights
    }
    if let name = arrays.groups {
      do throws(DataError) {
        let tensor = try source.tensor(try trainingArray(name, "group", rowCount: rowCount))
        values.groups = try tensor.groups()
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
  ) throws(DataError) -> String {
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
      throw StoredTensor.wrongShape(
        header.shape, path: header.path, name: header.name,
        expected: "one \(noun) for each of the \(rowCount) training rows")
    }
    return found
  }
}

extension StoredTensor {
  /// Groups, one for each entry of the first dimension, numbered from 0 in the order of their first rows.
  ///
  /// Integers of any type, floating-point numbers without a fraction, or rows of integers (texts as bytes)
  /// that are the same in every place.
  fileprivate func groups() throws(DataError) -> [Int] {
    switch type {
    case .float8e4m3, .float8e5m2, .float16, .bfloat16, .float32, .float64:
      guard shape.count == 1 || shape[1] == 1 else {
        throw wrongShape(expected: "one group a row (rows)")
      }
      let values: [Double] = try array()
      var groups: [Int] = []
      groups.reserveCapacity(values.count)
      for (row, value) in values.enumerated() {
        guard let group = Int(exactly: value) else {
          throw DataError(
            .wrongType, file: path, key: name, row: row, found: "the group is \(value)",
            expected: "integers")
        }
        groups.append(group)
      }
      return RowGroups.dense(groups)
    case .bool, .uint8, .int8, .int16, .uint16, .int32, .uint32, .int64, .uint64:
      defer { withExtendedLifetime(owner) {} }
      let rows = shape[0]
      let size = rows == 0 ? 0 : bytes.count / rows
      func entry(_ row: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[row * size..<(row + 1) * size])
      }
      // Numbers are told apart by their bits, which takes less memory than lists.
      guard size > 8 else {
        return RowGroups.dense(
          (0..<rows).map { row in entry(row).reduce(0 as UInt64) { $0 << 8 | UInt64($1) } })
      }
      return RowGroups.dense((0..<rows).map { [UInt8](entry($0)) })
    }
  }
}
