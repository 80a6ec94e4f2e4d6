import Foundation

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
  /// Bytes go to a temporary name in the same directory; ``commit(isNew:)`` syncs them to the disk and
  /// renames the file. A crash, a full disk or an error before that leaves what was there before; an
  /// object that is released without a commit removes its temporary file. A symbolic link is followed. A
  /// name that stands for a device or a pipe (`/dev/stdout`) is written to directly.
  package final class AtomicFile {
    private let path: String
    private let target: String
    private let temporary: String?  // nil: written in place
    private let durability: Durability
    private var descriptor: CInt
    private var buffer: [UInt8] = []
    private static var bufferSize: Int { 1 << 16 }

    /// Starts a file.
    ///
    /// - Parameters:
    ///   - path: the name under which it will appear; its directory must exist.
    ///   - executable: whether a new file may be run.
    ///   - durability: what is synced.
    /// - Throws: the module's error, where the file cannot be made.
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
      let base =
        "\(parent(of: target) ?? ".")/.\(name(of: target).prefix(200)).tmp-\(getpid())-"
      var attempt = 0
      while true {
        let candidate = base + String(UInt64.random(in: .min ... .max), radix: 36)
        descriptor = open(
          candidate, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, executable ? 0o777 : 0o666)
        if descriptor >= 0 {
          temporary = candidate
          break
        }
        attempt += 1
        guard errno == EEXIST, attempt < 100 else { throw FileSystem.failure(.write, path) }
      }
      if let status { fchmod(descriptor, status.st_mode & 0o777) }
    }

    deinit {
      guard descriptor >= 0 else { return }
      close(descriptor)
      if let temporary { unlink(temporary) }
    }

    /// Appends bytes.
    package func write(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
      precondition(descriptor >= 0, "\(path) is written after it was committed")
      if buffer.count + bytes.count <= Self.bufferSize {
        buffer.append(contentsOf: bytes)
      } else {
        try flush()
        try writeThrough(bytes)
      }
    }

    /// Appends bytes.
    package func write(_ bytes: [UInt8]) throws(Failure) {
      try bytes.withUnsafeBufferPointer { (pointer) throws(Failure) in
        try write(UnsafeRawBufferPointer(pointer))
      }
    }

    /// Appends text as UTF-8.
    package func write(_ text: String) throws(Failure) { try write(Array(text.utf8)) }

    /// Puts the file in place, under its name and as durably as was asked for.
    ///
    /// Where it throws, what had the name before is untouched.
    ///
    /// - Parameter isNew: whether a file that has the name stays as it is.
    /// - Returns: whether the file has the name; always, unless `isNew`.
    /// - Throws: the module's error, for example on a full disk.
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
