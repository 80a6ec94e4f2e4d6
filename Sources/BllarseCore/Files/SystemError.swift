#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A failed call into the operating system, for messages.
struct SystemError {
  let number: CInt

  /// The error of the call that failed just now.
  static var last: SystemError { SystemError(number: errno) }

  /// What the system says about it, "Permission denied".
  var text: String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard strerror_r(number, &buffer, buffer.count) == 0 else { return "error \(number)" }
    let bytes = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The failure to read a file or a directory.
  func reading(_ path: String, _ what: String = "file") -> DataError {
    switch number {
    case ENOENT, ENOTDIR:
      DataError(
        .missingFile, file: path, found: "the \(what) does not exist", advice: "check the path")
    case EACCES, EPERM:
      DataError(
        .unreadableFile, file: path, found: "the \(what) cannot be read (\(text))",
        advice: "check its permissions")
    default:
      DataError(.unreadableFile, file: path, found: "the \(what) cannot be read (\(text))")
    }
  }

  /// The failure to create or write a file or a directory.
  func writing(_ path: String, _ what: String = "file") -> DataError {
    let advice =
      switch number {
      case ENOENT, ENOTDIR: "create the directory first"
      case EACCES, EPERM, EROFS: "choose a directory that you may write to"
      case ENOSPC, EDQUOT: "free some space"
      default: "check the path"
      }
    return DataError(
      .unwritableFile, file: path, found: "the \(what) cannot be written (\(text))", advice: advice)
  }
}

/// write(2), up to a gigabyte at a time, repeated when a signal interrupted it; -1 for an error.
func writeBytes(_ descriptor: CInt, _ bytes: UnsafeRawBufferPointer) -> Int {
  while true {
    let written = write(descriptor, bytes.baseAddress, min(bytes.count, 1 << 30))
    if written != -1 || errno != EINTR { return written }
  }
}
