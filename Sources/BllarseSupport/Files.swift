import Foundation

/// A failed call into the operating system.
package struct SystemError: Error, Equatable, CustomStringConvertible {
  package enum Operation: String, Sendable {
    case read, write, create, start
    case makeDirectory = "create the directory"
    case enterDirectory = "use the working directory"
  }

  package let operation: Operation
  package let path: String
  package let number: CInt
  /// The file that is where a directory should be.
  package var obstacle: String?

  package init(_ operation: Operation, _ path: String, number: CInt = errno) {
    (self.operation, self.path, self.number) = (operation, path, number)
  }

  /// What the system says about it, "Permission denied".
  package var reason: String { obstacle.map { "'\($0)' is a file" } ?? Self.text(number) }

  package static func text(_ number: CInt = errno) -> String { String(cString: strerror(number)) }

  package var description: String {
    guard operation != .enterDirectory else {
      return "the working directory cannot be used (\(reason)): it was removed, or may not be "
        + "entered; change to another and start again"
    }
    return "cannot \(operation.rawValue) \(path): \(reason)"
  }
}

/// An error that tells of failed calls into the operating system, each module's in its own way.
package protocol SystemFailure: Error {
  init(_ error: SystemError)
}

extension SystemError: SystemFailure {
  package init(_ error: SystemError) { self = error }
}

/// The operations on files, with a module's own error.
///
/// Those that write are atomic, on a shared file system too: a reader sees a whole file or none, and of
/// several creators exactly one succeeds.
package enum FileSystem<Failure: SystemFailure> {
  package static func failure(_ operation: SystemError.Operation, _ path: String) -> Failure {
    Failure(SystemError(operation, path))
  }

  // MARK: - Reading

  package static func bytes(of path: String) throws(Failure) -> [UInt8] {
    var content: [UInt8] = []
    try read(path) { (piece) throws(Failure) in content += piece }
    return content
  }

  private static func read(
    _ path: String, _ take: (ArraySlice<UInt8>) throws(Failure) -> Void
  ) throws(Failure) {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure(.read, path) }
    defer { close(descriptor) }
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = Foundation.read(descriptor, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw failure(.read, path) }
      if count == 0 { return }
      try take(buffer[..<count])
    }
  }

  /// A file's text; nil when there is no such file.
  package static func text(of path: String) throws(Failure) -> String? {
    exists(path) ? String(decoding: try bytes(of: path), as: UTF8.self) : nil
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
    return String(decoding: tail, as: UTF8.self).split(whereSeparator: \.isNewline).suffix(count)
      .map(String.init)
  }

  // MARK: - Status

  package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  package static func isExecutableFile(_ path: String) -> Bool {
    access(path, X_OK) == 0 && !isDirectory(path)
  }

  package static func isDirectory(_ path: String) -> Bool { kind(of: path) == S_IFDIR }

  /// Whether there is a file, and not a directory, a device or a pipe.
  package static func isFile(_ path: String) -> Bool { kind(of: path) == S_IFREG }

  package static func size(of path: String) -> Int? { status(of: path).map { Int($0.st_size) } }

  /// Seconds since 1970 of the last change, by the file system's clock.
  package static func modified(_ path: String) -> Double? {
    status(of: path).map { Double($0.st_mtim.tv_sec) + Double($0.st_mtim.tv_nsec) / 1e9 }
  }

  private static func kind(of path: String) -> mode_t? {
    status(of: path).map { $0.st_mode & S_IFMT }
  }

  static func status(of path: String) -> stat? {
    var status = stat()
    return stat(path, &status) == 0 ? status : nil
  }

  /// The names in a directory, sorted, without hidden ones; empty when there is no such directory.
  package static func names(in directory: String) -> [String] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    return names.filter { !$0.hasPrefix(".") }.sorted()
  }

  // MARK: - Writing

  /// Writes a file so that readers see the old content or the new, also after a crash.
  package static func write(
    _ bytes: [UInt8], to path: String, executable: Bool = false, durability: Durability = .content
  ) throws(Failure) {
    let file = try AtomicFile(path: path, executable: executable, durability: durability)
    try file.write(bytes)
    try file.commit()
  }

  package static func write(
    _ text: String, to path: String, executable: Bool = false, durability: Durability = .content
  ) throws(Failure) {
    try write(Array(text.utf8), to: path, executable: executable, durability: durability)
  }

  /// Creates a file with its whole content, unless it exists; says whether this call created it.
  package static func create(
    _ path: String, _ bytes: [UInt8], durability: Durability = .content
  ) throws(Failure) -> Bool {
    guard !exists(path) else { return false }
    let file = try AtomicFile(path: path, durability: durability)
    try file.write(bytes)
    return try file.commit(isNew: true)
  }

  package static func create(_ path: String, _ text: String) throws(Failure) -> Bool {
    try create(path, Array(text.utf8))
  }

  /// Copies a file piece by piece; returns its size.
  package static func copy(_ source: String, to target: String) throws(Failure) -> Int {
    let file = try AtomicFile(path: target, durability: .content)
    var total = 0
    try read(source) { (piece) throws(Failure) in
      try file.write(Array(piece))
      total += piece.count
    }
    try file.commit()
    return total
  }

  /// Makes a second name for a file, or a copy where links are impossible; returns its size.
  package static func linkOrCopy(_ source: String, to target: String) throws(Failure) -> Int {
    var isLinked = link(source, target) == 0
    if !isLinked, errno == EEXIST {
      unlink(target)
      isLinked = link(source, target) == 0
    }
    return isLinked ? size(of: target) ?? 0 : try copy(source, to: target)
  }

  package static func remove(_ path: String) { unlink(path) }

  /// Writes to an open descriptor; returns how many bytes: where it is not all, `errno` says why.
  @discardableResult
  package static func write(_ bytes: UnsafeRawBufferPointer, to descriptor: CInt) -> Int {
    var written = 0
    while written < bytes.count {
      let rest = UnsafeRawBufferPointer(rebasing: bytes[written...])
      let count = Foundation.write(descriptor, rest.baseAddress, min(rest.count, 1 << 30))
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      written += count
    }
    return written
  }

  /// Writes to an open descriptor; returns why it could not be written, nil when it was.
  @discardableResult
  package static func print(_ text: String, to descriptor: CInt) -> String? {
    let bytes = Array(text.utf8)
    let written = bytes.withUnsafeBytes { write($0, to: descriptor) }
    return written == bytes.count ? nil : SystemError.text()
  }

  // MARK: - Directories

  package static func makeDirectory(_ path: String) throws(Failure) {
    if mkdir(path, 0o777) == 0 || isDirectory(path) { return }
    var prefix = path.hasPrefix("/") ? "/" : ""
    for part in path.split(separator: "/") {
      prefix += (prefix.isEmpty || prefix == "/" ? "" : "/") + part
      if mkdir(prefix, 0o777) == 0 { continue }
      var error = SystemError(.makeDirectory, path)
      // Whatever mkdir said (also EROFS or EACCES), a directory that is there is good enough.
      guard !isDirectory(prefix) else { continue }
      if exists(prefix) { error.obstacle = prefix }
      throw Failure(error)
    }
  }

  /// Creates a directory and those above it, and checks that files can be made in it, so that a run
  /// learns this before its work and not after it.
  package static func prepareDirectory(_ path: String) throws(Failure) {
    if !path.isEmpty { try makeDirectory(path) }
    // access(2) answers for the real user and misses full or odd file systems; a file tells.
    let probe = "\(path.isEmpty ? "." : path)/.bllarse-probe-\(getpid())"
    let descriptor = open(probe, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw failure(.makeDirectory, path) }
    close(descriptor)
    unlink(probe)
  }

  /// Creates a directory: the atomic claim; says whether this call created it.
  package static func claim(_ directory: String) throws(Failure) -> Bool {
    if mkdir(directory, 0o777) == 0 { return true }
    if errno == EEXIST { return false }
    throw failure(.create, directory)
  }

  /// Creates a directory with files in it, some of them in folders of their own, in one step; says whether
  /// this call created it.
  package static func claim(
    _ directory: String, containing files: [(name: String, text: String)]
  ) throws(Failure) -> Bool {
    let token = String(UInt64.random(in: .min ... .max), radix: 36)
    let temporary = "\(parent(of: directory) ?? ".")/.claim.\(getpid()).\(token)"
    guard try claim(temporary) else { return false }
    defer { try? FileManager.default.removeItem(atPath: temporary) }
    for file in files {
      let path = "\(temporary)/\(file.name)"
      try makeDirectory(parent(of: path) ?? temporary)
      try write(file.text, to: path)
    }
    // rename(2) replaces an empty directory only, and this one is never empty.
    if rename(temporary, directory) == 0 { return true }
    if errno == EEXIST || errno == ENOTEMPTY { return false }
    throw failure(.create, directory)
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

  /// A folder and all above it, the innermost first and "/" last, with `.` and `..` taken out by name.
  ///
  /// None for a path that does not begin at the root: what a working directory that was removed gives has
  /// no end to walk up to.
  package static func ancestors(of path: String) -> [String] {
    guard path.hasPrefix("/") else { return [] }
    return Array(
      sequence(first: absolute(path)) { folder in folder == "/" ? nil : parent(of: folder) })
  }

  package static var currentDirectory: String {
    // A name for a directory that was removed: what is looked for in it is not found, and not in "/".
    guard let buffer = getcwd(nil, 0) else { return "/proc/self/cwd" }
    defer { free(buffer) }
    return String(cString: buffer)
  }

  /// Makes sure that relative paths mean something: the working directory is there and may be entered.
  package static func requireWorkingDirectory() throws(Failure) {
    guard let buffer = getcwd(nil, 0) else { throw failure(.enterDirectory, ".") }
    free(buffer)
  }
}

/// What of a file that was written outlives a crash of the machine.
package enum Durability: Sendable {
  /// Perhaps nothing: what the file says can be found again.
  case none
  /// Its content, or the old one.
  case content
  /// Its content and its name.
  case whole
}

extension FileSystem {
  /// A file that appears under its name complete, or not at all.
  ///
  /// Bytes go to a temporary name in the same directory; ``commit(isNew:)`` syncs and renames the file. Until
  /// then what was there stays; without a commit the temporary file is removed. A symbolic link is followed;
  /// a device or a pipe (`/dev/stdout`) is written to directly.
  package final class AtomicFile {
    private let path: String
    private let target: String
    private let temporary: String?  // nil: written in place
    private let durability: Durability
    private var descriptor: CInt
    private var buffer: [UInt8] = []
    private static var bufferSize: Int { 1 << 16 }

    /// Starts a file, whose directory must exist; a new one may be run where it is `executable`.
    package init(
      path: String, executable: Bool = false, durability: Durability = .whole
    ) throws(Failure) {
      (self.path, self.durability) = (path, durability)
      guard !path.isEmpty, !path.utf8.contains(0) else {
        throw Failure(SystemError(.write, path, number: EINVAL))
      }
      let status = FileSystem.status(of: path)
      let kind = status.map { $0.st_mode & S_IFMT } ?? S_IFREG
      guard kind != S_IFDIR else { throw Failure(SystemError(.write, path, number: EISDIR)) }
      if kind != S_IFREG {
        target = path
        temporary = nil
        descriptor = open(path, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileSystem.failure(.write, path) }
        return
      }
      let resolved = status == nil ? nil : realpath(path, nil)
      defer { free(resolved) }
      target = resolved.map { String(cString: $0) } ?? path
      let base = "\(parent(of: target) ?? ".")/.\(name(of: target).prefix(200)).tmp-\(getpid())-"
      let unique = base + String(UInt64.random(in: .min ... .max), radix: 36)
      descriptor = open(unique, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, executable ? 0o777 : 0o666)
      guard descriptor >= 0 else { throw FileSystem.failure(.write, path) }
      temporary = unique
      if let status { fchmod(descriptor, status.st_mode & 0o777) }
    }

    deinit {
      guard descriptor >= 0 else { return }
      close(descriptor)
      if let temporary { unlink(temporary) }
    }

    package func write(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
      precondition(descriptor >= 0, "\(path) is written after it was committed")
      if buffer.count + bytes.count <= Self.bufferSize {
        buffer.append(contentsOf: bytes)
      } else {
        try flush()
        try writeThrough(bytes)
      }
    }

    package func write(_ bytes: [UInt8]) throws(Failure) {
      try bytes.withUnsafeBufferPointer { (pointer) throws(Failure) in
        try write(UnsafeRawBufferPointer(pointer))
      }
    }

    package func write(_ text: String) throws(Failure) { try write(Array(text.utf8)) }

    /// Puts the file in place, under its name and as durably as was asked for; says whether it has the name.
    ///
    /// With `isNew` a file that has the name stays. Where it throws, what had the name before is untouched.
    @discardableResult
    package func commit(isNew: Bool = false) throws(Failure) -> Bool {
      precondition(descriptor >= 0, "\(path) is committed twice")
      try flush()
      if temporary != nil, durability != .none, fsync(descriptor) != 0 {
        throw FileSystem.failure(.write, path)
      }
      let isClosed = close(descriptor) == 0
      descriptor = -1
      guard let temporary else { return true }
      // link(2) fails when the name exists, on NFS too, where O_EXCL was long unreliable.
      guard isClosed, (isNew ? link(temporary, path) : rename(temporary, target)) == 0 else {
        let error = SystemError(isNew ? .create : .write, path)
        unlink(temporary)
        if isNew, error.number == EEXIST { return false }
        throw Failure(error)
      }
      if isNew { unlink(temporary) }
      if durability == .whole { try syncDirectory(parent(of: target) ?? ".") }
      return true
    }

    private func flush() throws(Failure) {
      guard !buffer.isEmpty else { return }
      try buffer.withUnsafeBufferPointer { (pointer) throws(Failure) in
        try writeThrough(UnsafeRawBufferPointer(pointer))
      }
      buffer.removeAll(keepingCapacity: true)
    }

    private func writeThrough(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
      guard FileSystem.write(bytes, to: descriptor) == bytes.count else {
        throw FileSystem.failure(.write, path)
      }
    }

    private func syncDirectory(_ directory: String) throws(Failure) {
      let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
      guard descriptor >= 0 else { return }  // searchable but not readable: the rename still stands
      defer { close(descriptor) }
      // Some network file systems do not sync directories and say so with EINVAL.
      guard fsync(descriptor) == 0 || errno == EINVAL || errno == ENOTSUP || errno == EBADF else {
        throw FileSystem.failure(.write, path)
      }
    }
  }
}
