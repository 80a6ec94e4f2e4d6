#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A file that appears under its name complete, or not at all.
///
/// Bytes go to a temporary name in the same directory; ``commit()`` syncs them to the disk, renames
/// the file and syncs the directory. A crash, a full disk or an error before that leaves what was
/// there before; an object that is released without a commit removes its temporary file. A symbolic
/// link is followed. A name that stands for a device or a pipe (`/dev/stdout`) is written to directly.
public final class AtomicFile {
  /// The name under which the file will appear.
  public let path: String
  private let target: String
  private let temporary: String?  // nil: written in place
  private var descriptor: CInt
  private var buffer: [UInt8] = []
  private static let bufferSize = 1 << 16

  /// Starts a file.
  ///
  /// - Parameter path: the name under which it will appear; its directory must exist.
  /// - Throws: `DataError.Code.unwritableFile`.
  public init(path: String) throws(DataError) {
    self.path = path
    guard !path.isEmpty, !path.utf8.contains(0) else {
      throw DataError(
        .unwritableFile, file: path, found: "the name of the file is empty or holds a null byte",
        expected: "a path")
    }
    var status = stat()
    let exists = stat(path, &status) == 0
    let kind = exists ? status.st_mode & S_IFMT : S_IFREG
    guard kind != S_IFDIR else {
      throw DataError(
        .unwritableFile, file: path, found: "a directory has this name", expected: "a file",
        advice: "choose another name")
    }
    if kind != S_IFREG {
      target = path
      temporary = nil
      descriptor = open(path, O_WRONLY | O_CLOEXEC)
      guard descriptor >= 0 else { throw SystemError.last.writing(path) }
      return
    }
    target = exists ? AtomicFile.resolvingLinks(path) : path
    let (directory, name) = AtomicFile.split(target)
    let base = "\(directory)/.\(name.prefix(200)).tmp-\(getpid())-"
    var attempt = 0
    while true {
      let candidate = base + String(UInt32.random(in: .min ... .max), radix: 36)
      descriptor = open(candidate, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
      if descriptor >= 0 {
        temporary = candidate
        break
      }
      attempt += 1
      guard errno == EEXIST, attempt < 100 else { throw SystemError.last.writing(path) }
    }
    if exists { fchmod(descriptor, status.st_mode & 0o777) }
  }

  deinit {
    if descriptor >= 0 {
      close(descriptor)
      if let temporary { unlink(temporary) }
    }
  }

  /// Appends bytes.
  ///
  /// - Parameter bytes: any number of bytes.
  /// - Throws: `DataError.Code.unwritableFile`, for example on a full disk.
  public func write(_ bytes: UnsafeRawBufferPointer) throws(DataError) {
    precondition(descriptor >= 0, "\(path) is written after it was committed")
    if buffer.count + bytes.count <= AtomicFile.bufferSize {
      buffer.append(contentsOf: bytes)
    } else {
      try flush()
      try writeThrough(bytes)
    }
  }

  /// Appends bytes.
  public func write(_ bytes: [UInt8]) throws(DataError) {
    try bytes.withUnsafeBufferPointer { (pointer) throws(DataError) in
      try write(UnsafeRawBufferPointer(pointer))
    }
  }

  /// Appends text as UTF-8.
  public func write(_ text: String) throws(DataError) {
    try write(Array(text.utf8))
  }

  /// Puts the file in place, on the disk and under its name.
  ///
  /// - Throws: `DataError.Code.unwritableFile`; what had the name before is then untouched.
  public func commit() throws(DataError) {
    precondition(descriptor >= 0, "\(path) is committed twice")
    try flush()
    if temporary != nil, fsync(descriptor) != 0 { throw SystemError.last.writing(path) }
    let closed = close(descriptor)
    descriptor = -1
    guard let temporary else { return }
    guard closed == 0, rename(temporary, target) == 0 else {
      let error = SystemError.last
      unlink(temporary)
      throw error.writing(path)
    }
    try AtomicFile.syncDirectory(AtomicFile.split(target).directory, for: path)
  }

  private func flush() throws(DataError) {
    guard !buffer.isEmpty else { return }
    try buffer.withUnsafeBufferPointer { (pointer) throws(DataError) in
      try writeThrough(UnsafeRawBufferPointer(pointer))
    }
    buffer.removeAll(keepingCapacity: true)
  }

  private func writeThrough(_ bytes: UnsafeRawBufferPointer) throws(DataError) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let part = UnsafeRawBufferPointer(rebasing: rest)
      let written = writeBytes(descriptor, part)
      guard written > 0 else { throw SystemError.last.writing(path) }
      rest = rest.dropFirst(written)
    }
  }
}

// MARK: - Whole files

extension AtomicFile {
  /// Writes a whole file at once.
  ///
  /// - Parameters:
  ///   - bytes: the content.
  ///   - path: the name under which it will appear.
  /// - Throws: `DataError.Code.unwritableFile`; what had the name before is then untouched.
  public static func write(_ bytes: [UInt8], to path: String) throws(DataError) {
    let file = try AtomicFile(path: path)
    try file.write(bytes)
    try file.commit()
  }

  /// Writes a whole text file at once, as UTF-8.
  ///
  /// - Parameters:
  ///   - text: the content.
  ///   - path: the name under which it will appear.
  /// - Throws: `DataError.Code.unwritableFile`; what had the name before is then untouched.
  public static func write(_ text: String, to path: String) throws(DataError) {
    try write(Array(text.utf8), to: path)
  }
}

// MARK: - Directories

extension AtomicFile {
  /// Makes a directory and its parents where they are missing, and checks that files can be made in
  /// it, so that a run learns this before its work and not after it.
  ///
  /// - Parameter path: the directory.
  /// - Throws: `DataError.Code.unwritableFile`.
  public static func prepareDirectory(_ path: String) throws(DataError) {
    var prefix = path.hasPrefix("/") ? "/" : ""
    for part in path.split(separator: "/") {
      prefix += (prefix.isEmpty || prefix == "/" ? "" : "/") + part
      if mkdir(prefix, 0o777) != 0 {
        let error = SystemError.last
        var status = stat()
        // Whatever mkdir said (also EROFS or EACCES), a directory that is there is good enough.
        if stat(prefix, &status) == 0 {
          guard status.st_mode & S_IFMT == S_IFDIR else {
            throw DataError(
              .unwritableFile, file: path,
              found: "\(prefix.quoted(limit: 4096)) is a file", expected: "a directory",
              advice: "choose another output directory")
          }
        } else {
          throw error.writing(path, "directory")
        }
      }
    }
    // access(2) answers for the real user and misses full or odd file systems; a file tells.
    let probe = "\(path.isEmpty ? "." : path)/.bllarse-probe-\(getpid())"
    let descriptor = open(probe, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw SystemError.last.writing(path, "directory") }
    close(descriptor)
    unlink(probe)
  }

  private static func split(_ path: String) -> (directory: String, name: String) {
    guard let slash = path.lastIndex(of: "/") else { return (".", path) }
    let directory = path[..<slash]
    return (directory.isEmpty ? "/" : String(directory), String(path[path.index(after: slash)...]))
  }

  private static func resolvingLinks(_ path: String) -> String {
    guard let resolved = realpath(path, nil) else { return path }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  private static func syncDirectory(_ directory: String, for path: String) throws(DataError) {
    let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return }  // searchable but not readable: the rename still stands
    defer { close(descriptor) }
    // Some network file systems do not sync directories and say so with EINVAL.
    guard fsync(descriptor) == 0 || errno == EINVAL || errno == ENOTSUP || errno == EBADF else {
      throw SystemError.last.writing(path)
    }
  }
}
