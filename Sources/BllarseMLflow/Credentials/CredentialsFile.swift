import Foundation

/// What `~/.mlflow/credentials` says, read as MLflow's client reads it (Python's configparser).
package struct CredentialsFile: Sendable, Equatable {
  package var user: String?
  package var password: Secret?
  package var trackingURI: String?
  /// Whether there is a file that can be read.
  package var isRead = false
  /// Whether it has the section that counts.
  package var hasSection = false
  /// What is wrong with the file: one line each, without values.
  package var warnings: [String] = []

  package init() {}

  /// Reads the file at `path`; a missing one is no error.
  package init(path: String) {
    // A folder that must not be entered hides whether there is one.
    guard access(path, F_OK) == 0 || errno == EACCES else { return }
    guard let bytes = try? Files.bytes(of: path) else {
      access(path, R_OK)
      warnings.append("cannot read \(path): \(SystemError.text()); going on without it")
      return
    }
    if let fault = EnvironmentFile.encodingFault(bytes, path) {
      warnings.append(fault)
      return
    }
    self = CredentialsFile(text: String(decoding: bytes, as: UTF8.self), path: path)
    isRead = true
    var status = stat()
    if password != nil, stat(path, &status) == 0, status.st_mode & 0o077 != 0 {
      warnings.append("\(path) holds a password and can be read by others; run: chmod 600 \(path)")
    }
  }

  package init(text: String, path: String) {
    let parsed = INI(text: text, path: path)
    warnings = parsed.warnings
    // [DEFAULT] fills in for a section that exists, and is nothing by itself.
    guard let section = parsed.sections["mlflow"] else { return }
    hasSection = true
    let values = (parsed.sections["DEFAULT"] ?? [:]).merging(section) { $1 }
    user = values["mlflow_tracking_username"]
    password = values["mlflow_tracking_password"].map(Secret.init)
    trackingURI = values["mlflow_tracking_uri"] ?? values["tracking_uri"]
  }
}

/// The INI dialect of Python's configparser.
///
/// `[section]`, `key = value` or `key: value` (the first of the two splits), keys without regard to
/// case, values trimmed, full-line comments with `#` or `;`, indented lines continuing a value, `%%`
/// for `%`. The last of two equal keys wins.
struct INI {
  private(set) var sections: [String: [String: String]] = [:]
  private(set) var warnings: [String] = []

  init(text: String, path: String) {
    var text = text[...]
    if text.first == "\u{FEFF}" { text = text.dropFirst() }
    var section: String?
    var key: String?
    // Swift takes CR LF for one character, which counts as a new line; so does a lone CR.
    let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
    for (index, line) in lines.enumerated() {
      let place = "\(path):\(index + 1)"
      let content = line.trimmingCharacters(in: .whitespaces)
      if content.isEmpty || content.hasPrefix("#") || content.hasPrefix(";") { continue }
      if line.first?.isWhitespace == true, let section, let key {
        let continuation = "\n" + unescaped(content, at: place)
        sections[section]?[key]?.append(continuation)
      } else if content.hasPrefix("[") {
        guard let close = content.lastIndex(of: "]") else {
          warnings.append("\(place): expected ']' after the section's name; the line is ignored")
          (section, key) = (nil, nil)
          continue
        }
        let name = String(content[content.index(after: content.startIndex)..<close])
        sections[name] = sections[name] ?? [:]
        (section, key) = (name, nil)
      } else if let split = content.firstIndex(where: { $0 == "=" || $0 == ":" }) {
        guard let section else {
          warnings.append(
            "\(place): expected a [section] before the first key; the line is ignored")
          continue
        }
        let name = content[..<split].trimmed.lowercased()
        let value = unescaped(content[content.index(after: split)...].trimmed, at: place)
        sections[section]?[name] = value
        key = name
      } else {
        warnings.append("\(place): expected 'key = value'; the line is ignored")
        key = nil
      }
    }
  }

  /// Reads two percent signs as one; MLflow's client fails on a lone one, which is taken as it stands.
  private mutating func unescaped(_ value: String, at place: String) -> String {
    if value.replacing("%%", with: "").contains("%") {
      warnings.append(
        "\(place): a '%' must be written '%%' for MLflow's own client to read this file")
    }
    return value.replacing("%%", with: "%")
  }
}
