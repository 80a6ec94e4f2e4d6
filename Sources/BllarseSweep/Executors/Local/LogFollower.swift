#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Copies what is appended to a file.
///
/// The writer never waits for the reader, as it would on a pipe.
package final class LogFollower {
  private let path: String
  private let descriptor: Int32
  private var offset: Int

  /// Follows a file from a byte on, or from its present end for nil.
  package init(_ path: String, to descriptor: Int32, from offset: Int? = nil) {
    self.path = path
    self.descriptor = descriptor
    self.offset = offset ?? Files.size(of: path) ?? 0
  }

  /// Copies what is new; false when nothing was.
  @discardableResult
  package func copy() -> Bool {
    var copied = false
    while true {
      let bytes = Files.bytes(of: path, from: offset, limit: 1 << 16)
      if bytes.isEmpty { return copied }
      copied = true
      offset += bytes.count
      var rest = bytes[...]
      while !rest.isEmpty {
        let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        if count < 0, errno == EINTR { continue }
        // Nobody reads: the file keeps the text.
        if count < 0 { return copied }
        rest = rest.dropFirst(count)
      }
    }
  }
}
