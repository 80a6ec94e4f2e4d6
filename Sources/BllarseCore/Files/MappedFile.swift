public import BllarseNumerics
import Foundation

/// A file mapped into memory for reading.
///
/// Pages are read when they are touched and can be dropped again at any time, so a file may be larger
/// than memory. Matrices over the bytes keep the object as their owner; the mapping ends with the last
/// of them. A file that is replaced by a rename stays valid; one that is cut short while it is mapped
/// does not, which is why this package only ever replaces files.
///
/// Unchecked sendability is safe because the memory is never written.
public final class MappedFile: PagedMemory, @unchecked Sendable {
  /// The file, as the caller named it.
  public let path: String
  /// All bytes of the file; valid as long as this object lives.
  ///
  /// Only for those that keep the object (as a matrix's owner, as a property); everybody else takes
  /// ``withBytes(_:)``.
  let bytes: UnsafeRawBufferPointer

  /// Maps a regular file.
  ///
  /// - Throws: `DataError.Code.missingFile` or `.unreadableFile`.
  public init(path: String) throws(DataError) {
    self.path = path
    try DataError.require(
      !path.isEmpty && !path.utf8.contains(0), .missingFile, file: path,
      found: "the name of the file is empty or holds a null byte", expected: "a path")
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw Files.failure(.read, path) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw Files.failure(.read, path) }
    guard status.st_mode & S_IFMT == S_IFREG else {
      let kind = status.st_mode & S_IFMT == S_IFDIR ? "a directory" : "not a regular file"
      throw DataError(
        .unreadableFile, file: path, found: "this is \(kind)", expected: "a file",
        advice: "name the file itself")
    }
    let size = Int(status.st_size)
    guard size > 0 else {
      bytes = UnsafeRawBufferPointer(start: nil, count: 0)  // a mapping cannot be empty
      return
    }
    guard let base = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0),
      base != UnsafeMutableRawPointer(bitPattern: -1)  // MAP_FAILED
    else { throw Files.failure(.read, path) }
    bytes = UnsafeRawBufferPointer(start: base, count: size)
  }

  /// Gives all bytes of the file to `body`, which must not let them escape.
  package func withBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    defer { withExtendedLifetime(self) {} }
    return try body(bytes)
  }

  /// Gives back the memory of all pages; they are read again when they are touched.
  package func dropPages() {
    guard let base = bytes.baseAddress else { return }
    // Advice only.
    _ = madvise(UnsafeMutableRawPointer(mutating: base), bytes.count, CInt(MADV_DONTNEED))
  }

  deinit {
    if let base = bytes.baseAddress {
      munmap(UnsafeMutableRawPointer(mutating: base), bytes.count)
    }
  }
}

extension JSON {
  /// The value in a file that is one JSON text; the advice says what to do about another one.
  init(file path: String, advice: String) throws(DataError) {
    let file = try MappedFile(path: path)
    do throws(JSONSyntaxError) {
      self = try file.withBytes { (bytes) throws(JSONSyntaxError) in try JSON.parse(bytes) }
    } catch {
      throw DataError(
        .malformedFile, file: path, found: "byte \(error.offset): \(error.problem)",
        expected: "JSON", advice: advice)
    }
  }
}

/// What a file is by its first bytes, to tell somebody who named the wrong one.
enum FileSignature {
  /// An advice for a file that is not what was wanted, "safetensors".
  static func advice(_ bytes: UnsafeRawBufferPointer, wanted: String) -> String {
    if let kind = kind(bytes), kind != wanted {
      return "the file looks like \(kind): convert it to \(wanted)"
    }
    return "the file is damaged or is not \(wanted): copy or write it again"
  }

  private static func kind(_ bytes: UnsafeRawBufferPointer) -> String? {
    let signatures: [(String, [UInt8])] = [
      ("npz (or another zip, such as a PyTorch checkpoint)", [0x50, 0x4B, 0x03, 0x04]),
      ("npy", [0x93] + "NUMPY".utf8),
      ("HDF5", [0x89] + "HDF".utf8),
      ("a Python pickle", [0x80, 0x02]),
      ("a Python pickle", [0x80, 0x04]),
      ("a Python pickle", [0x80, 0x05]),
      ("gzip", [0x1F, 0x8B]),
      ("Parquet", Array("PAR1".utf8)),
      ("a Git LFS pointer (run `git lfs pull`)", Array("version https://git-lfs".utf8)),
      ("a web page", Array("<!DOCTYPE".utf8)),
      ("a web page", Array("<html".utf8)),
    ]
    for (name, signature) in signatures where bytes.starts(with: signature) { return name }
    return nil
  }
}
