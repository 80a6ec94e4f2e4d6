public import BllarseNumerics

/// A file of features: a safetensors file with `X_train`, `y_train`, `X_test`, `y_test` and, if wanted,
/// `X_val`, `y_val` and further pairs `X_NAME`, `y_NAME`.
///
/// Features are (N, D) and stay in half, single or double precision, mapped; labels are N integers of
/// any type. The metadata may hold `class_names` (a JSON list of texts) or `num_classes`.
public struct FeatureFile: Sendable {
  /// The file.
  public let file: SafetensorsFile

  /// Opens a file.
  ///
  /// - Throws: `DataError` when it is missing or not a sound safetensors file.
  public init(path: String) throws(DataError) {
    file = try SafetensorsFile(path: path)
  }

  /// The splits that have features, in the order train, validation, test, then by name.
  public var splitNames: [String] {
    let order = ["train", "validation", "test"]
    func rank(_ name: String) -> Int { order.firstIndex(of: name) ?? order.count }
    return file.tensors.map(\.name).filter { $0.hasPrefix("X_") }
      .map { FeatureFile.splitName(String($0.dropFirst(2))) }
      .sorted { (rank($0), $0) < (rank($1), $1) }
  }

  /// The features of a split, without labels.
  ///
  /// - Throws: `DataError`: there are none, they are no matrix, or a value is not finite.
  public func features(_ split: String) throws(DataError) -> FeatureMatrix {
    let key = "X_" + FeatureFile.suffix(split)
    let features = try file.features(key)
    if let (row, column) = features.firstNonFinite {
      throw DataError(
        .notFinite, file: file.path, key: key, row: row, column: column,
        found: "the value is \(features.value(row, column))", expected: "a finite number",
        advice: "remove the row or replace the value")
    }
    return features
  }

  /// Reads and checks all splits that have features and labels.
  ///
  /// - Parameters:
  ///   - required: splits that must be there.
  ///   - classCount: the number of classes, when it is known otherwise (from a checkpoint).
  ///   - parallelism: the threads to check with.
  /// - Returns: the data set, named after the file.
  /// - Throws: `DataError`, naming tensor, row and column.
  public func dataset(
    requiring required: [String] = ["train", "test"], classCount: Int? = nil,
    parallelism: Parallelism = .available
  ) throws(DataError) -> FeatureDataset {
    var splits: [(name: String, split: FeatureSplit)] = []
    for name in splitNames {
      let suffix = FeatureFile.suffix(name)
      guard file.contains("y_" + suffix) || required.contains(name) else { continue }
      let features = try file.features("X_" + suffix)
      let labels = try file.labels("y_" + suffix)
      do throws(DataError) {
        splits.append((name, try FeatureSplit(features: features, labels: labels, name: name)))
      } catch { throw error.inFile(file.path) }
    }
    for name in required where !splits.contains(where: { $0.name == name }) {
      _ = try file.tensor("X_" + FeatureFile.suffix(name))  // says what there is
    }
    let (announced, names) = try announcedClasses()
    return try FeatureDataset(
      name: FeatureFile.stem(file.path), file: file.path, splits: splits,
      classCount: names == nil ? classCount ?? announced : announced, classNames: names,
      parallelism: parallelism)
  }

  private func announcedClasses() throws(DataError) -> (count: Int?, names: [String]?) {
    var (count, names): (Int?, [String]?) = (nil, nil)
    if let text = file.metadata["class_names"] {
      names = ClassNames.parse(text)
      guard names != nil else {
        throw DataError(
          .wrongType, file: file.path, key: "metadata class_names",
          found: "the value is \(text.quoted())", expected: "a JSON list of texts")
      }
    }
    if let text = file.metadata["num_classes"] {
      count = Int(text)
      guard count != nil else {
        throw DataError(
          .wrongType, file: file.path, key: "metadata num_classes",
          found: "the value is \(text.quoted())", expected: "a number")
      }
    }
    return (count, names)
  }

  static func splitName(_ suffix: String) -> String { suffix == "val" ? "validation" : suffix }
  static func suffix(_ splitName: String) -> String {
    splitName == "validation" ? "val" : splitName
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
    guard let json = try? JSONText(parsing: text), case .array(let elements) = json else {
      return nil
    }
    var names: [String] = []
    for element in elements {
      guard case .string(let name) = element else { return nil }
      names.append(name)
    }
    return names
  }

  /// The JSON list of names.
  package static func format(_ names: [String]) -> String {
    "[" + names.map { JSONText.quote($0) }.joined(separator: ",") + "]"
  }
}
