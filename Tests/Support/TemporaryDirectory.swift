import Foundation

/// A directory of a test's own, removed when the object goes.
public final class TemporaryDirectory: Sendable {
  /// The directory's path.
  public let path: String

  /// Makes an empty directory.
  public init() throws {
    let url = FileManager.default.temporaryDirectory
      .appendingPathComponent("bllarse-test-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// The path of a file in the directory, which need not exist.
  public func file(_ name: String) -> String { path + "/" + name }

  /// Writes a file into the directory.
  ///
  /// - Parameters:
  ///   - name: the file's name.
  ///   - bytes: its content.
  /// - Returns: its path.
  /// - Throws: an error of Foundation when it cannot be written.
  @discardableResult
  public func write(_ name: String, _ bytes: [UInt8]) throws -> String {
    try Data(bytes).write(to: URL(fileURLWithPath: file(name)))
    return file(name)
  }

  /// The names in the directory, sorted, hidden ones included.
  public var contents: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted()
  }
}

extension TemporaryDirectory {
  /// The bytes of a file in the directory.
  public func read(_ name: String) throws -> [UInt8] {
    try [UInt8](Data(contentsOf: URL(fileURLWithPath: file(name))))
  }

  /// Changes the text of a file in the directory.
  public func edit(_ name: String, _ change: (String) -> String) throws {
    try write(name, Array(change(String(decoding: read(name), as: UTF8.self)).utf8))
  }

  /// Removes a file from the directory.
  public func remove(_ name: String) throws {
    try FileManager.default.removeItem(atPath: file(name))
  }
}
