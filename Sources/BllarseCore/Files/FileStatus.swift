#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What is under a path.
enum FileStatus {
  /// Whether there is a file or a directory.
  static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }
}
