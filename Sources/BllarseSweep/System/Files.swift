#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// The file operations a sweep's state is made of.
///
/// Each is atomic on a shared file system: a reader
/// sees a whole file or none, and of several creators exactly one succeeds.
package enum Files {
  // MARK: - Reading

  /// The whole content of a file.
  package static func bytes(of path: String) throws -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw fault("cannot read \(path)") }
    defer { close(descriptor) }
    var content: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = read(descriptor, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw fault("cannot read \(path)") }
      if count == 0 { return content }
      content.append(contentsOf: buffer[..<count])
    }
  }

  /// A file's text; nil when there is no such file.
  package static func text(of path: String) throws -> String? {
    guard exists(path) else { return nil }
    return String(decoding: try bytes(of: path), as: UTF8.self)
  }

  /// Up to `limit` bytes from `offset` on; empty when there is no such file.
  package static func bytes(of path: String, from offset: Int, limit: Int) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    var buffer = [UInt8](repeating: 0, count: limit)
    let count = pread(descriptor, &buffer, limit, off_t(offset))
    return count > 0 ? Array(buffer[..<count]) : []
  }

  /// The last lines of a file, at most 64 KiB of them.
  package static func lastLines(_ count: Int, of path: String) -> [String] {
    let size = size(of: path) ?? 0
    let tail = bytes(of: path, from: max(0, size - 65536), limit: min(size, 65536))
    let text = String(decoding: tail, as: UTF8.self)
    return text.split(whereSeparator: \.isNewline).suffix(count).map(String.init)
  }

  package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  package static func isExecutableFile(_ path: String) -> Bool {
    access(path, X_OK) == 0 && !isDirectory(path)
  }

  package static func isDirectory(_ path: String) -> Bool {
    var info = stat()
    return stat(path, &info) == 0 && (info.st_mode & S_IFMT) == S_IFDIR
  }

  package static func size(of path: String) -> Int? {
    var info = stat()
    return stat(path, &info) == 0 ? Int(info.st_size) : nil
  }

  /// Seconds since 1970 of the last change.
  package static func modified(_ path: String) -> Double? {
    var info = stat()
    guard stat(path, &info) == 0 else { return nil }
    #if canImport(Darwin)
      return Double(info.st_mtimespec.tv_sec) + Double(info.st_mtimespec.tv_nsec) / 1e9
    #else
      return Double(info.st_mtim.tv_sec) + Double(info.st_mtim.tv_nsec) / 1e9
    #endif
  }

  /// The names in a directory, sorted, without hidden ones; empty when there is no such directory.
  package static func names(in directory: String) -> [String] {
    guard let handle = opendir(directory) else { return [] }
    defer { closedir(handle) }
    var names: [String] = []
    while let entry = readdir(handle) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if !name.hasPrefix(".") { names.append(name) }
    }
    return names.sorted()
  }

  // MARK: - Writing

  /// Writes a file so that readers see the old content or the new, also after a crash.
  package static func write(_ text: String, to path: String, executable: Bool = false) throws {
    let temporary = try writeTemporary(text, beside: path, executable: executable)
    guard rename(temporary, path) == 0 else {
      let error = fault("cannot write \(path)")
      unlink(temporary)
      throw error
    }
  }

  /// Creates a file with its whole content, unless it exists.
  ///
  /// - Returns: whether this call created it.
  package static func create(_ path: String, _ text: String) throws -> Bool {
    let temporary = try writeTemporary(text, beside: path, executable: false)
    defer { unlink(temporary) }
    // link(2) fails when the name exists, on NFS too, where O_EXCL was long unreliable.
    if link(temporary, path) == 0 { return true }
    if errno == EEXIST { return false }
    throw fault("cannot create \(path)")
  }

  /// Creates a directory: the atomic claim.
  ///
  /// - Returns: whether this call created it.
  package static func claim(_ directory: String) throws -> Bool {
    if mkdir(directory, 0o777) == 0 { return true }
    if errno == EEXIST { return false }
    throw fault("cannot create \(directory)")
  }

  /// Creates a directory with a file in it, in one step.
  ///
  /// - Returns: whether this call created it.
  package static func claim(
    _ directory: String, containing name: String, _ text: String
  ) throws -> Bool {
    try claim(directory, containing: [(name, text)])
  }

  /// Creates a directory with files in it, some of them in folders of their own, in one step.
  ///
  /// - Returns: whether this call created it.
  package static func claim(
    _ directory: String, containing files: [(name: String, text: String)]
  ) throws -> Bool {
    let token = String(UInt64.random(in: .min ... .max), radix: 36)
    let temporary = "\(parent(of: directory) ?? ".")/.claim.\(getpid()).\(token)"
    guard try claim(temporary) else { return false }
    // The longest names first: folders go when they are empty.
    var folders: Set<String> = [temporary]
    for file in files {
      var folder = parent(of: "\(temporary)/\(file.name)")
      while let path = folder, folders.insert(path).inserted { folder = parent(of: path) }
    }
    defer {
      for file in files { unlink("\(temporary)/\(file.name)") }
      for folder in folders.sorted(by: { $0.count > $1.count }) { rmdir(folder) }
    }
    for folder in folders.sorted(by: { $0.count < $1.count }) { try makeDirectory(folder) }
    for file in files { try write(file.text, to: "\(temporary)/\(file.name)") }
    // rename(2) replaces an empty directory only, and this one is never empty.
    if rename(temporary, directory) == 0 { return true }
    if errno == EEXIST || errno == ENOTEMPTY { return false }
    throw fault("cannot create \(directory)")
  }

  /// Creates a directory and those above it.
  package static func makeDirectory(_ path: String) throws {
    if mkdir(path, 0o777) == 0 || errno == EEXIST { return }
    guard errno == ENOENT, let parent = parent(of: path) else {
      throw fault("cannot create \(path)")
    }
    try makeDirectory(parent)
    if mkdir(path, 0o777) == 0 || errno == EEXIST { return }
    throw fault("cannot create \(path)")
  }

  /// Renames a file; used to set a file aside.
  package static func move(_ source: String, to target: String) throws {
    guard rename(source, target) == 0 else { throw fault("cannot rename \(source)") }
  }

  package static func remove(_ path: String) { unlink(path) }

  /// Writes to a name that no other process, host or call uses, and syncs.
  private static func writeTemporary(
    _ text: String, beside path: String, executable: Bool
  ) throws -> String {
    let directory = parent(of: path) ?? "."
    let token = String(UInt64.random(in: .min ... .max), radix: 36)
    let temporary = "\(directory)/.\(name(of: path)).\(getpid()).\(token)"
    let descriptor = open(
      temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, executable ? 0o777 : 0o666)
    guard descriptor >= 0 else { throw fault("cannot write \(path)") }
    var failed = false
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty, !failed {
      let count = bytes.withUnsafeBytes { Self.write(descriptor, $0) }
      if count < 0, errno == EINTR { continue }
      if count < 0 { failed = true } else { bytes = bytes.dropFirst(count) }
    }
    failed = failed || fsync(descriptor) != 0
    let error = failed ? fault("cannot write \(path)") : nil
    close(descriptor)
    if let error {
      unlink(temporary)
      throw error
    }
    return temporary
  }

  private static func write(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
    #if canImport(Glibc)
      Glibc.write(descriptor, bytes.baseAddress, bytes.count)
    #elseif canImport(Musl)
      Musl.write(descriptor, bytes.baseAddress, bytes.count)
    #else
      Darwin.write(descriptor, bytes.baseAddress, bytes.count)
    #endif
  }

  /// Writes to an open descriptor, all of it unless nobody reads.
  ///
  /// - Returns: why it could not be written; nil when it was.
  @discardableResult
  package static func print(_ text: String, to descriptor: Int32) -> String? {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { Self.write(descriptor, $0) }
      if count < 0, errno == EINTR { continue }
      if count < 0 { return String(cString: strerror(errno)) }
      bytes = bytes.dropFirst(count)
    }
    return nil
  }

  // MARK: - Paths

  package static func parent(of path: String) -> String? {
    guard let slash = path.lastIndex(of: "/") else { return nil }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  package static func name(of path: String) -> String {
    path.lastIndex(of: "/").map { String(path[path.index(after: $0)...]) } ?? path
  }

  /// The path from the root, with `.` and `..` taken out by name.
  package static func absolute(_ path: String, relativeTo base: String? = nil) -> String {
    let full = path.hasPrefix("/") ? path : (base ?? currentDirectory) + "/" + path
    var parts: [Substring] = []
    for part in full.split(separator: "/") {
      if part == ".." { parts = parts.dropLast() } else if part != "." { parts.append(part) }
    }
    return "/" + parts.joined(separator: "/")
  }

  package static var currentDirectory: String {
    // A name for a directory that was removed: what is looked for in it is not found, and not in "/".
    guard let buffer = getcwd(nil, 0) else { return "/proc/self/cwd" }
    defer { free(buffer) }
    return String(cString: buffer)
  }

  /// Makes sure that relative paths mean something.
  ///
  /// - Throws: `SweepError` where the working directory was removed, or may not be entered.
  package static func requireWorkingDirectory() throws(SweepError) {
    guard let buffer = getcwd(nil, 0) else {
      throw SweepError(
        .failed,
        "the working directory cannot be used (\(String(cString: strerror(errno)))): it was removed, "
          + "or may not be entered; change to another and start again")
    }
    free(buffer)
  }

  static func fault(_ what: String) -> SweepError {
    SweepError(.failed, "\(what): \(String(cString: strerror(errno)))")
  }
}
