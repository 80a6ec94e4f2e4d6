import FoundationEssentials

/// Where named arrays of features and labels are: a safetensors file, an npz file, or a directory of
/// npz and npy files.
enum FeatureSource: Sendable {
  case safetensors(SafetensorsFile)
  case npz(ZipArchive)
  /// Names and the files that hold them, and the metadata.
  case directory(path: String, files: [String: String], metadata: [String: String])

  /// Opens whatever has this path.
  ///
  /// - Throws: `DataError` when nothing has it, or its format is damaged.
  init(path: String) throws(DataError) {
    var isDirectory = false
    if FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), isDirectory {
      self = try FeatureSource.openDirectory(path)
      return
    }
    let file = try MappedFile(path: path)
    if file.withBytes({ $0.starts(with: [0x50, 0x4B, 0x03, 0x04]) }) {
      self = .npz(try ZipArchive(path: path))
    } else {
      self = .safetensors(try SafetensorsFile(path: path))
    }
  }

  var path: String {
    switch self {
    case .safetensors(let file): file.path
    case .npz(let archive): archive.file.path
    case .directory(let path, _, _): path
    }
  }

  /// The arrays' names.
  var names: [String] {
    switch self {
    case .safetensors(let file): file.tensors.map(\.name)
    case .npz(let archive): archive.members.map { FeatureSource.arrayName($0.name) }
    case .directory(_, let files, _): files.keys.sorted()
    }
  }

  var metadata: [String: String] {
    switch self {
    case .safetensors(let file): file.metadata
    case .npz: [:]
    case .directory(_, _, let metadata): metadata
    }
  }

  /// An array.
  ///
  /// - Throws: `DataError`: there is no array of this name, or it is damaged.
  func tensor(_ name: String) throws(DataError) -> StoredTensor {
    switch self {
    case .safetensors(let file): return try file.stored(name)
    case .npz(let archive): return try FeatureSource.tensor(name, in: archive)
    case .directory(let path, let files, _):
      guard let file = files[name] else {
        throw DataError(
          .missingFile, file: path, key: name,
          found: DataError.absence("array", among: names),
          expected: "\(name).npz or \(name).npy")
      }
      if file.hasSuffix(".npy") {
        let mapped = try MappedFile(path: file)
        return try NpyArray(bytes: mapped.bytes, path: file, name: name, owner: mapped).tensor
      }
      let archive = try ZipArchive(path: file)
      return try FeatureSource.tensor(try FeatureSource.onlyArray(of: archive), in: archive)
    }
  }

  /// What the header of an array says, read without unpacking the array.
  ///
  /// - Throws: `DataError`: there is no array of this name, or its header is damaged.
  func header(_ name: String) throws(DataError) -> ArrayHeader {
    switch self {
    case .npz(let archive): return try FeatureSource.header(name, in: archive)
    case .directory(_, let files, _):
      guard let file = files[name], file.hasSuffix(".npz") else { break }
      let archive = try ZipArchive(path: file)
      return try FeatureSource.header(try FeatureSource.onlyArray(of: archive), in: archive)
    case .safetensors: break
    }
    // A view of the mapped file.
    let tensor = try tensor(name)
    return ArrayHeader(path: tensor.path, name: tensor.name, type: tensor.type, shape: tensor.shape)
  }

  private static func header(
    _ name: String, in archive: ZipArchive
  ) throws(DataError) -> ArrayHeader {
    let member = try member(name, in: archive)
    let (bytes, owner) = try archive.beginning(of: member, count: 1 << 16)
    defer { withExtendedLifetime(owner) {} }
    let found = try NpyArray.header(
      bytes, count: member.size, path: archive.file.path, name: name)
    return ArrayHeader(
      path: archive.file.path, name: name, type: found.type, shape: found.header.shape,
      isCopied: member.method != 0 || found.header.isFortranOrder)
  }

  /// The array of a file that holds one; the original's caches call it "data".
  private static func onlyArray(of archive: ZipArchive) throws(DataError) -> String {
    let members = archive.members.map { FeatureSource.arrayName($0.name) }
    guard let member = members.contains("data") ? "data" : members.first,
      members.count == 1 || members.contains("data")
    else {
      throw DataError(
        .missingKey, file: archive.file.path,
        found: "the arrays are " + members.joined(separator: ", "),
        expected: "one array 'data'")
    }
    return member
  }

  private static func tensor(
    _ name: String, in archive: ZipArchive
  ) throws(DataError) -> StoredTensor {
    let member = try member(name, in: archive)
    let (bytes, owner) = try archive.content(of: member)
    return try NpyArray(bytes: bytes, path: archive.file.path, name: name, owner: owner).tensor
  }

  private static func member(
    _ name: String, in archive: ZipArchive
  ) throws(DataError) -> ZipArchive.Member {
    guard let member = archive.members.first(where: { arrayName($0.name) == name }) else {
      throw DataError(
        .missingKey, file: archive.file.path, key: name,
        found: DataError.absence("array", among: archive.members.map { arrayName($0.name) }))
    }
    return member
  }

  private static func arrayName(_ member: String) -> String {
    member.hasSuffix(".npy") ? String(member.dropLast(4)) : member
  }

  private static func openDirectory(_ path: String) throws(DataError) -> FeatureSource {
    let contents: [String]
    do {
      contents = try FileManager.default.contentsOfDirectory(atPath: path)
    } catch {
      throw DataError(
        .unreadableFile, file: path, found: "the directory cannot be read",
        advice: "check its permissions")
    }
    var files: [String: String] = [:]
    for name in contents.sorted()
    where name.hasSuffix(".npz") || name.hasSuffix(".npy") {
      files[String(name.dropLast(4))] = path + "/" + name
    }
    guard files.keys.contains(where: { $0.hasPrefix("X_") || $0.hasPrefix("y_") }) else {
      throw DataError(
        .missingFile, file: path, found: "the directory has no arrays",
        expected: "X_train.npz, y_train.npz and so on",
        advice: "name a safetensors file or a cache of features")
    }
    let metadata =
      contents.contains("metadata.json") ? try readMetadata(path + "/metadata.json") : [:]
    return .directory(path: path, files: files, metadata: metadata)
  }

  /// The entries of a cache's metadata that this package reads elsewhere as texts.
  private static func readMetadata(_ path: String) throws(DataError) -> [String: String] {
    let json = try JSON(file: path, advice: "correct or remove the file")
    var metadata: [String: String] = [:]
    if case .int(let count)? = json["num_classes"] { metadata["num_classes"] = "\(count)" }
    if let elements = json["class_names"]?.arrayValue {
      let names = elements.compactMap(\.stringValue)
      if names.count == elements.count { metadata["class_names"] = ClassNames.format(names) }
    }
    return metadata
  }
}

/// What the header of an array says.
struct ArrayHeader: Sendable, Equatable {
  let path: String
  /// What messages call the array.
  let name: String
  let type: SafetensorsType
  /// Sizes, outermost first.
  let shape: [Int]
  /// Whether reading it takes memory of the process's own, not the mapped file's.
  var isCopied = false
}
