public import Foundation

/// `.env` and `.env.secrets` of the working directory, where people keep what tracking needs.
///
/// Only `MLFLOW_…`, `BLLARSE_…` and `HF_TOKEN` are taken from them: other programs have the rest. The
/// environment wins over both, and `.env.secrets` over `.env`.
public enum EnvironmentFiles {
  /// The files, the winner last.
  static let names = [".env", ".env.secrets"]

  /// Sets the files' variables in this process, which its children inherit.
  ///
  /// To be called first thing, before there are threads.
  ///
  /// - Parameter directory: the folder that holds the files.
  /// - Returns: what in them cannot be read, one line each, without values.
  public static func load(
    from directory: String = FileManager.default.currentDirectoryPath
  ) -> [String] {
    let (values, notes) = read(
      in: directory, environment: ProcessInfo.processInfo.environment)
    for (name, value) in values { setenv(name, value, 0) }
    return notes
  }

  /// The variables that the files give, and what in the files cannot be read.
  package static func read(
    in directory: String, environment: [String: String]
  ) -> (values: [String: String], notes: [String]) {
    var values: [String: String] = [:]  // all, as one may stand for a part of another
    var notes: [String] = []
    // Without a working directory the names would be those of files in "/".
    guard !directory.isEmpty else { return (values, notes) }
    for name in names {
      let path = directory + "/" + name
      // A folder of that name is somebody's Python environment.
      guard Files.exists(path), !Files.isDirectory(path) else { continue }
      guard let bytes = try? Files.bytes(of: path) else {
        notes.append("cannot read \(name): \(SystemError.text())")
        continue
      }
      if EnvironmentFile.isUTF16(bytes) {
        notes.append(
          "\(name) is UTF-16 text, expected UTF-8; going on without it, save it as UTF-8")
        continue
      }
      let file = EnvironmentFile(
        text: String(decoding: bytes, as: UTF8.self), path: name,
        environment: values.merging(environment) { $1 })
      values.merge(file.values) { $1 }
      notes += file.notes
    }
    return (values.filter { isOurs($0.key) && environment[$0.key] == nil }, notes)
  }

  private static func isOurs(_ name: String) -> Bool {
    name.hasPrefix("MLFLOW_") || name.hasPrefix("BLLARSE_") || name == "HF_TOKEN"
  }
}
