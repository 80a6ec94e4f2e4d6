import Foundation

/// The few file operations journals need, with errors that name the file.
package enum Files {
  /// The text of the last POSIX error.
  package static var lastError: String { String(cString: strerror(errno)) }

  package static func makeDirectory(_ path: String) throws(TrackingError) {
    do {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    } catch {
      throw TrackingError(
        .storage,
        "cannot make the folder \(path): \(lastError); choose another with "
          + "BLLARSE_MLFLOW_JOURNAL, or free space")
    }
  }

  package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  package static func isDirectory(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  /// A folder and all above it, the innermost first and "/" last, with `.` and `..` taken out by name.
  ///
  /// None for a path that does not begin at the root: what a working directory that was removed gives has
  /// no end to walk up to.
  package static func ancestors(of path: String) -> [String] {
    guard path.hasPrefix("/") else { return [] }
    var folders = ["/"]
    for part in path.split(separator: "/") where part != "." {
      if part == ".." {
        if folders.count > 1 { folders.removeLast() }
      } else {
        folders.append((folders.count > 1 ? folders[folders.count - 1] : "") + "/" + part)
      }
    }
    return folders.reversed()
  }

  /// Why the working directory cannot be used; nil where it can.
  package static var workingDirectoryFault: String? {
    guard let path = getcwd(nil, 0) else {
      return "the working directory cannot be used (\(lastError)): it was removed, or may not be "
        + "entered; change to another and start again"
    }
    free(path)
    return nil
  }

  /// The size of a file in bytes, nil if there is none.
  package static func size(_ path: String) -> Int? {
    var status = stat()
    return stat(path, &status) == 0 ? Int(status.st_size) : nil
  }

  /// The time of the last change, in seconds since 1970 by the file system's clock.
  package static func modificationTime(_ path: String) -> Double? {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    return Double(status.st_mtim.tv_sec) + Double(status.st_mtim.tv_nsec) * 1e-9
  }

  /// The whole of a small file, nil if it cannot be read.
  package static func read(_ path: String) -> [UInt8]? {
    guard let data = FileManager.default.contents(atPath: path) else { return nil }
    return [UInt8](data)
  }

  /// Whether a text is UTF-16 by its first two bytes, as some editors save it; it is to be UTF-8.
  static func isUTF16(_ bytes: [UInt8]) -> Bool {
    bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF])
  }

  /// Writes a file under a temporary name, syncs it and renames it, so that readers see the old
  /// contents or the new, never a part.
  package static func replace(
    _ path: String, with bytes: [UInt8], isSynced: Bool = true
  ) throws(TrackingError) {
    let temporary = "\(path).\(UInt32.random(in: 0...UInt32.max)).tmp"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw TrackingError(.storage, "cannot write \(path): \(lastError)")
    }
    let isWritten =
      bytes.withUnsafeBufferPointer { write($0, to: descriptor) == bytes.count }
      && (!isSynced || fsync(descriptor) == 0)
    let isClosed = close(descriptor) == 0
    guard isWritten, isClosed, rename(temporary, path) == 0 else {
      let reason = lastError
      unlink(temporary)
      throw TrackingError(.storage, "cannot write \(path): \(reason)")
    }
  }

  /// Writes as much of `bytes` as the system takes; returns how many.
  package static func write(_ bytes: UnsafeBufferPointer<UInt8>, to descriptor: Int32) -> Int {
    var written = 0
    while written < bytes.count {
      let count = Foundation.write(
        descriptor, bytes.baseAddress.map { $0 + written }, bytes.count - written)
      if count < 0 {
        if errno == EINTR { continue }
        return written
      }
      written += count
    }
    return written
  }

  /// Makes a second name for a file, or a copy where links are impossible; returns its size.
  package static func linkOrCopy(_ source: String, to target: String) throws(TrackingError) -> Int {
    if link(source, target) == 0 { return size(target) ?? 0 }
    if errno == EEXIST {
      unlink(target)
      if link(source, target) == 0 { return size(target) ?? 0 }
    }
    return try copy(source, to: target)
  }

  /// Copies a file piece by piece under a temporary name, syncs and renames it; returns its size.
  package static func copy(_ source: String, to target: String) throws(TrackingError) -> Int {
    let input = open(source, O_RDONLY | O_CLOEXEC)
    guard input >= 0 else {
      throw TrackingError(.storage, "cannot read \(source): \(lastError)")
    }
    defer { close(input) }
    let temporary = "\(target).\(UInt32.random(in: 0...UInt32.max)).tmp"
    let output = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard output >= 0 else {
      throw TrackingError(.storage, "cannot write \(target): \(lastError)")
    }
    var total = 0
    var isComplete = true
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 1 << 18) { buffer in
      while true {
        let count = Foundation.read(input, buffer.baseAddress, buffer.count)
        if count < 0 && errno == EINTR { continue }
        if count <= 0 {
          isComplete = count == 0
          return
        }
        let piece = UnsafeBufferPointer(rebasing: buffer[..<count])
        guard write(piece, to: output) == count else {
          isComplete = false
          return
        }
        total += count
      }
    }
    isComplete = isComplete && fsync(output) == 0
    isComplete = close(output) == 0 && isComplete
    guard isComplete, rename(temporary, target) == 0 else {
      let reason = lastError
      unlink(temporary)
      throw TrackingError(.storage, "cannot copy \(source) to \(target): \(reason)")
    }
    return total
  }

  /// The kind of a file system that several machines share, nil if `path` is on a local one.
  ///
  /// `mounts` is the text of /proc/self/mounts: device, mount point, type, options.
  package static func sharedFileSystem(
    _ path: String,
    mounts: String? = read("/proc/self/mounts").map { String(decoding: $0, as: UTF8.self) }
  ) -> String? {
    var best = (length: 0, kind: "")
    for line in (mounts ?? "").split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count > 2 else { continue }
      let point = fields[1].replacing("\\040", with: " ")
      let isAbove = point == "/" || path == point || path.hasPrefix(point + "/")
      // A later mount at the same point hides the earlier one.
      if isAbove, point.count >= best.length { best = (point.count, String(fields[2])) }
    }
    let shared = ["nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "ceph", "afs", "9p"]
    return shared.contains(best.kind) || best.kind.hasPrefix("fuse.") ? best.kind : nil
  }

  /// `path` without `.`, `..` and doubled slashes, made absolute from `directory`.
  package static func absolute(_ path: String, in directory: String) -> String {
    let whole = path.hasPrefix("/") ? path : directory + "/" + path
    return URL(fileURLWithPath: whole).standardizedFileURL.path
  }
}
