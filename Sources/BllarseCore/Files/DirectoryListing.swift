import Foundation

/// What is in a directory, to tell somebody who looked for something else there.
struct DirectoryListing {
  /// The names, sorted; empty for a directory that is not there.
  let names: [String]
  private let exists: Bool

  init(_ path: String) {
    exists = FileStatus.exists(path)
    names = ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted()
  }
}

extension DirectoryListing: CustomStringConvertible {
  /// A clause: "the directory holds a, b and 3 more".
  var description: String {
    guard exists else { return "there is no such directory" }
    guard !names.isEmpty else { return "the directory is empty or cannot be read" }
    let shown = names.prefix(8).joined(separator: ", ")
    return "the directory holds \(shown)"
      + (names.count > 8 ? " and \(names.count - 8) more" : "")
  }
}
