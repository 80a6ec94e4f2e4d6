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
