import Glibc
import Synchronization

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
