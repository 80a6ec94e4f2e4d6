public import BllarseNumerics
import Glibc
import Synchronization

/// Features in named splits, as a file or a directory holds them.
///
/// - a safetensors file with the tensors `X_train`, `y_train`, `X_test`, `y_test` and, if wanted,
///   `X_val`, `y_val` and further pairs `X_NAME`, `y_NAME`;
/// - an npz file with arrays of these names;
/// - a directory with `X_train.npz`, `y_train.npz` and so on, each with one array `data`, or the same as
///   npy files, and perhaps `metadata.json`: the cache of the Python original's text experiments.
///
/// Features are (N, D) and stay in half, single or double precision, mapped where they are not
/// compressed; labels are N integers of any type. Floating-point numbers (N, K) in their place are class
/// probabilities, and fractions (N) those of class 1 of two. Target values, (N) or (N, T) numbers of any type, are in their
/// place for heads that predict these, zeros and ones (N, L) for sets of labels, and other arrays than `y_NAME` may be
/// named (``TargetArrays``). The metadata may hold `class_names`, `target_names` or `label_names` (a JSON list of texts)
/// and `num_classes`. `val` is the split "validation";
/// every other split keeps its name.
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

  /// Reads and checks all splits that have features and targets, with weights and groups of the training rows
  /// where they are named.
  ///
  /// Required are by default "train" and the test split; the number of classes may be known otherwise (from a
  /// checkpoint).
  ///
  /// - Throws: `DataError`, naming tensor, row and column.
  public func dataset(
    requiring required: [String]? = nil, classCount: Int? = nil,
    targets: TargetArrays = TargetArrays(), with arrays: RowArrays = RowArrays(),
    execution: Execution = .available
  ) throws(DataError) -> FeatureDataset {
    let required =
      required ?? [SplitRoles.training, SplitRoles.defaultTest(of: splitNames) ?? "test"]
    let read = try readSplits(requiring: required, targets, with: arrays) {
      (name) throws(DataError) in
      let features = try source.tensor("X_" + suffix(name)).features()
      return (features.rowCount, features)
    }
    let (announced, classNames) = try announcedClasses()
    return try FeatureDataset(
      name: FeatureFile.stem(path), file: path,
      splits: read.map { (name, features, targets, values) throws(DataError) in
        let split = try FeatureSplit(
          features: features, targets: targets, weights: values.weights, groups: values.groups,
          name: name)
        return (name, split)
      },
      classCount: classNames == nil ? classCount ?? announced : announced, classNames: classNames,
      targetNames: try targetNames(targets, read.first?.targets), execution: execution)
  }

  /// Reads the splits that have targets, and those that must be there, with what `features` gives of each.
  ///
  /// - Throws: `DataError`; that a split is missing comes after the faults of the others.
  private func readSplits<Features>(
    requiring required: [String], _ arrays: TargetArrays, with rowArrays: RowArrays,
    _ features: (_ name: String) throws(DataError) -> (rowCount: Int, features: Features)
  ) throws(DataError) -> [(
    name: String, features: Features, targets: Targets, values: RowValues
  )] {
    let names = Set(source.names)
    var splits: [(name: String, features: Features, targets: Targets, values: RowValues)] = []
    for (name, suffix) in suffixes {
      let array = arrays.name + "_" + suffix
      guard names.contains(array) || required.contains(name) else { continue }
      let (rowCount, features) = try features(name)
      let targets = try source.tensor(array).targets(of: arrays.task)
      do throws(DataError) {
        try FeatureSplit.require(targets, rowCount: rowCount, name: name)
      } catch { throw error.inFile(path) }
      let values =
        name == SplitRoles.training ? try values(of: rowArrays, rowCount: rowCount) : RowValues()
      splits.append((name, features, targets, values))
    }
    if splits.isEmpty, let suffix = suffixes.first?.suffix {
      _ = try source.header(arrays.name + "_" + suffix)  // says what there is
    }
    for name in required where !suffixes.contains(where: { $0.split == name }) {
      _ = try source.header("X_" + suffix(name))  // says what there is
    }
    return splits
  }

  private func suffix(_ split: String) -> String {
    suffixes.first { $0.split == split }?.suffix ?? (split == "validation" ? "val" : split)
  }

  /// What target values and labels of sets are called: by the metadata, else by their array, or their numbers; `nil` for
  /// classes.
  private func targetNames(
    _ arrays: TargetArrays, _ targets: Targets?
  ) throws(DataError) -> [String]? {
    let count: Int
    switch targets {
    case .classes?, .distributions?, nil: return nil
    case .values(let values)?: count = values.columnCount
    case .labelSets(let sets)?: count = sets.labelCount
    }
    let key = arrays.task.namesKey
    if arrays.name == TargetArrays().name, let text = source.metadata[key] {
      let names = ClassNames.parse(text)
      try DataError.require(
        names.map { $0.count == count && Set($0).count == count } ?? false, .wrongType, file: path,
        key: "metadata \(key)", found: "the value is \(text.quoted())",
        expected: "a JSON list of \(count) texts, none of them twice")
      return names
    }
    if arrays.task == .multilabel { return nil }
    return count == 1 ? [arrays.name] : (0..<count).map { "\(arrays.name)_\($0)" }
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

/// What is known of stored features before they are read: sizes and targets.
struct FeatureHeader: Sendable {
  /// A split, its rows, and the bytes of its features.
  typealias Split = (name: String, rowCount: Int, byteCount: Int)

  /// The file, unless the features are yet to be made.
  let file: String?
  /// All splits with features.
  let names: [String]
  /// The splits with features and targets.
  let splits: [Split]
  let featureCount: Int
  let outputs: Outputs
  /// How many copies of the training rows stand for class probabilities; `nil` where rows have labels, or values.
  var softCopies: Int?

  subscript(name: String) -> Split? { splits.first { $0.name == name } }

  /// The same rows with whether they have a label as two classes.
  var ofOneLabel: FeatureHeader {
    FeatureHeader(
      file: file, names: names, splits: splits, featureCount: featureCount,
      outputs: Outputs(classCount: 2))
  }
}

extension FeatureFile {
  /// Reads sizes and targets and checks them, as ``dataset(requiring:classCount:targets:with:execution:)`` does
  /// before it looks at the features.
  ///
  /// - Throws: `DataError`, naming tensor and row.
  func header(
    requiring required: [String] = [], targets: TargetArrays = TargetArrays(),
    with arrays: RowArrays = RowArrays()
  ) throws(DataError) -> FeatureHeader {
    let read = try readSplits(requiring: required, targets, with: arrays) {
      (name) throws(DataError) in
      let features = try header(of: name)
      return (features.shape[0], features)
    }
    let (announced, names) = try announcedClasses()
    let outputs = try DatasetValidation(file: path).check(
      read.map {
        .init(
          name: $0.name, rowCount: $0.features.shape[0], featureCount: $0.features.shape[1],
          targets: $0.targets, values: $0.values)
      }, announced: announced, classNames: names,
      targetNames: try targetNames(targets, read.first?.targets))
    return FeatureHeader(
      file: path, names: splitNames,
      splits: read.map { name, features, _, _ in
        (name, features.shape[0], features.shape.reduce(features.type.size, *))
      }, featureCount: read.first?.features.shape[1] ?? 0, outputs: outputs,
      softCopies: read.first { $0.name == SplitRoles.training }?.targets.softDistributions.map {
        RowCopies.count($0)
      })
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

/// Which arrays hold the targets of splits, and what they are.
public struct TargetArrays: Sendable, Hashable {
  /// What they are.
  public var task: LearningTask
  /// The arrays are `NAME_SPLIT`, "y_train".
  public var name: String

  /// Names arrays: labels in `y_SPLIT` when nothing is given.
  public init(_ task: LearningTask = .classification, name: String = "y") {
    (self.task, self.name) = (task, name)
  }
}

/// The names of arrays that say more of the training rows than their targets.
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

/// A format of files with features and labels: what such a file is known by, and how its arrays are read.
///
/// Runs, checks and predictions open features by ``all``, so that a format which a program registers is
/// read like the others:
///
///     try FeatureFormat.register(
///       FeatureFormat(name: "table", extensions: ["table"]) { (path) throws(DataError) in
///         let table = try Table(path: path)
///         return FeatureArrays(path: path, names: table.names) { (name) throws(DataError) in
///           StoredTensor(path: path, name: name, elements: table[name], shape: table.shape(name))
///         }
///       })
public struct FeatureFormat: Sendable {
  /// The name, "npz".
  public let name: String
  /// Whether a file, or a directory, which has no first bytes, is of this format.
  private let recognizes: @Sendable (_ path: String, _ start: [UInt8]) -> Bool
  private let open: @Sendable (_ path: String) throws(DataError) -> FeatureArrays

  /// Describes a format.
  ///
  /// - Parameters:
  ///   - name: as no other format is called.
  ///   - extensions: endings of the names of its files, without a dot; case does not matter.
  ///   - signature: the bytes that its files begin with; none where the name alone tells.
  ///   - open: opens a file, and throws `DataError` that names it where it is no sound one.
  public init(
    name: String, extensions: [String], signature: [UInt8] = [],
    open: @escaping @Sendable (_ path: String) throws(DataError) -> FeatureArrays
  ) {
    self.init(name, open: open) { path, start in
      !signature.isEmpty && start.starts(with: signature)
        || extensions.contains { path.lowercased().hasSuffix("." + $0.lowercased()) }
    }
  }

  private init(
    _ name: String, open: @escaping @Sendable (_ path: String) throws(DataError) -> FeatureArrays,
    recognizes: @escaping @Sendable (_ path: String, _ start: [UInt8]) -> Bool
  ) {
    (self.name, self.open, self.recognizes) = (name, open, recognizes)
  }
}

// MARK: - The list

extension FeatureFormat {
  private static let registered = Mutex<[FeatureFormat]>([])

  /// Every format, in the order in which they are tried; what is of no other one should be safetensors.
  public static var all: [FeatureFormat] {
    [directory, npz] + registered.withLock { $0 } + [safetensors]
  }

  /// Adds a format to ``all``, before files of it are opened.
  ///
  /// - Throws: `DataError.Code.outOfRange` for a name that is taken.
  public static func register(_ format: FeatureFormat) throws(DataError) {
    let isNew = registered.withLock { formats in
      guard !([directory, npz, safetensors] + formats).contains(where: { $0.name == format.name })
      else { return false }
      formats.append(format)
      return true
    }
    try DataError.require(
      isNew, .outOfRange, key: "the feature format \(format.name.quoted())",
      found: "there is one of this name", expected: "a new name")
  }

  /// Opens whatever has this path.
  ///
  /// - Throws: `DataError` when nothing has it, or its format is damaged.
  static func open(_ path: String) throws(DataError) -> FeatureArrays {
    let isDirectory = Files.isDirectory(path)
    let start =
      isDirectory ? [] : try MappedFile(path: path).withBytes { Array($0.prefix(4096)) }
    let format = all.first { $0.recognizes(path, start) } ?? safetensors
    return try format.open(path)
  }

  private static let safetensors = FeatureFormat(
    "safetensors",
    open: { (path) throws(DataError) in
      let file = try SafetensorsFile(path: path)
      return FeatureArrays(path, file.tensors.map(\.name), file.metadata, file.stored)
    }, recognizes: { _, _ in true })

  private static let npz = FeatureFormat(
    "npz",
    open: { (path) throws(DataError) in
      let archive = try ZipArchive(path: path)
      return FeatureArrays(path, archive.arrayNames, [:], archive.tensor, archive.header)
    }, recognizes: { _, start in start.starts(with: [0x50, 0x4B, 0x03, 0x04]) })

  /// A directory of npz and npy files with one array each.
  private static let directory = FeatureFormat(
    "directory", open: { (path) throws(DataError) in try openDirectory(path) },
    recognizes: { path, _ in Files.isDirectory(path) })

  private static func openDirectory(_ path: String) throws(DataError) -> FeatureArrays {
    let contents = Files.names(in: path)
    if contents.isEmpty, access(path, R_OK) != 0 {
      throw DataError(
        .unreadableFile, file: path, found: "the directory cannot be read",
        advice: "check its permissions")
    }
    var files: [String: String] = [:]
    for name in contents where name.hasSuffix(".npz") || name.hasSuffix(".npy") {
      files[String(name.dropLast(4))] = path + "/" + name
    }
    try DataError.require(
      files.keys.contains(where: { $0.hasPrefix("X_") || $0.hasPrefix("y_") }), .missingFile,
      file: path, found: "the directory has no arrays",
      expected: "X_train.npz, y_train.npz and so on",
      advice: "name a safetensors file or a cache of features")
    var metadata: [String: String] = [:]
    if contents.contains("metadata.json") {
      let json = try JSON(file: path + "/metadata.json", advice: "correct or remove the file")
      if case .int(let count)? = json["num_classes"] { metadata["num_classes"] = "\(count)" }
      metadata["class_names"] = json["class_names"]?.texts.map { ClassNames.format($0) }
    }
    let (arrays, names) = (files, files.keys.sorted())
    @Sendable func tensor(_ name: String) throws(DataError) -> StoredTensor {
      guard let file = arrays[name] else {
        throw DataError(
          .missingFile, file: path, key: name, found: DataError.absence("array", among: names),
          expected: "\(name).npz or \(name).npy")
      }
      if file.hasSuffix(".npz") {
        let archive = try ZipArchive(path: file)
        return try archive.tensor(archive.onlyArray())
      }
      let mapped = try MappedFile(path: file)
      return try StoredTensor(npy: mapped.bytes, path: file, name: name, owner: mapped)
    }
    return FeatureArrays(path, names, metadata, tensor) { (name) throws(DataError) in
      guard let file = arrays[name], file.hasSuffix(".npz") else {
        return try tensor(name).header
      }
      let archive = try ZipArchive(path: file)
      return try archive.header(archive.onlyArray())
    }
  }
}

/// The named arrays of one file: `X_train`, `y_train` and so on.
public struct FeatureArrays: Sendable {
  /// The file or directory, as the caller named it.
  let path: String
  let names: [String]
  let metadata: [String: String]
  /// An array; it throws where there is none of the name, or it is damaged.
  let tensor: @Sendable (_ name: String) throws(DataError) -> StoredTensor
  /// What the header of an array says, read without unpacking the array.
  let header: @Sendable (_ name: String) throws(DataError) -> ArrayHeader

  /// Lists the arrays of a file.
  ///
  /// - Parameters:
  ///   - path: the file, for messages.
  ///   - names: the arrays: features `X_SPLIT`, (rows, features), labels `y_SPLIT`, (rows), and others.
  ///   - metadata: texts by name, of which `class_names` (a JSON list) and `num_classes` are read.
  ///   - read: reads an array of these names; called whenever it is needed.
  public init(
    path: String, names: [String], metadata: [String: String] = [:],
    read: @escaping @Sendable (_ name: String) throws(DataError) -> StoredTensor
  ) {
    @Sendable func tensor(_ name: String) throws(DataError) -> StoredTensor {
      let known = names.first { $0 == name }
      return try read(DataError.find(known, "array", name, in: path, among: names))
    }
    self.init(path, names, metadata, tensor)
  }

  fileprivate init(
    _ path: String, _ names: [String], _ metadata: [String: String],
    _ tensor: @escaping @Sendable (String) throws(DataError) -> StoredTensor,
    _ header: (@Sendable (String) throws(DataError) -> ArrayHeader)? = nil
  ) {
    (self.path, self.names, self.metadata, self.tensor) = (path, names, metadata, tensor)
    // A tensor is a view of the mapped file.
    let ofTensor = { @Sendable (name: String) throws(DataError) in try tensor(name).header }
    self.header = header ?? ofTensor
  }
}

// MARK: - The arrays of an npz file

extension ZipArchive {
  fileprivate var arrayNames: [String] { members.map(Self.arrayName) }

  private static func arrayName(_ member: Member) -> String {
    member.name.hasSuffix(".npy") ? String(member.name.dropLast(4)) : member.name
  }

  private func member(_ name: String) throws(DataError) -> Member {
    try DataError.find(
      members.first { Self.arrayName($0) == name }, "array", name, in: file.path, among: arrayNames)
  }

  fileprivate func tensor(_ name: String) throws(DataError) -> StoredTensor {
    let (bytes, owner) = try content(of: member(name))
    return try StoredTensor(npy: bytes, path: file.path, name: name, owner: owner)
  }

  fileprivate func header(_ name: String) throws(DataError) -> ArrayHeader {
    let member = try member(name)
    let (bytes, owner) = try content(of: member, upTo: 1 << 16)
    defer { withExtendedLifetime(owner) {} }
    let found = try NpyHeader(of: bytes, count: member.size, path: file.path, name: name)
    return ArrayHeader(path: file.path, name: name, type: found.type, shape: found.shape)
  }

  /// The array of a file that holds one; the original's caches call it "data".
  fileprivate func onlyArray() throws(DataError) -> String {
    let names = arrayNames
    if names.contains("data") { return "data" }
    guard let name = names.first, names.count == 1 else {
      throw DataError(
        .missingKey, file: file.path, found: "the arrays are " + names.joined(separator: ", "),
        expected: "one array 'data'")
    }
    return name
  }
}
