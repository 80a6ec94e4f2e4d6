/// What MLflow accepts as names and values: checked here because a server answers some faults with
/// 200 and a changed value, and refuses a whole batch for others.
///
/// Limits of MLflow 3.17 (mlflow/utils/validation.py): lengths count Unicode code points.
package enum Naming {
  package static let maxKeyLength = 250
  package static let maxParameterLength = 6000
  package static let maxTagLength = 8000
  package static let maxExperimentLength = 500

  /// What is wrong with the key of a metric, parameter or tag; nil if nothing is.
  package static func keyFault(_ key: String) -> String? {
    if key.isEmpty { return "is empty" }
    if key.utf8.count > maxKeyLength, key.unicodeScalars.count > maxKeyLength {
      return "has \(key.unicodeScalars.count) characters, at most \(maxKeyLength) are allowed"
    }
    for scalar in key.unicodeScalars where !isAllowed(scalar) {
      return "contains '\(scalar)'; letters, digits and _ - . space : / are allowed"
    }
    if key.hasPrefix("/") || key.hasSuffix("/") { return "begins or ends with '/'" }
    return oddPart(of: key).map { "is no plain path: '\($0)' may not stand between slashes" }
  }

  /// The first part between slashes that a path on a server may not have.
  private static func oddPart(of path: String) -> Substring? {
    path.split(separator: "/", omittingEmptySubsequences: false)
      .first { $0.isEmpty || $0 == "." || $0 == ".." }
  }

  /// Word characters of Python's `\w` (letters and digits of any script, `_`), and `-. :/`.
  private static func isAllowed(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case "a"..."z", "A"..."Z", "0"..."9", "_", "-", ".", " ", ":", "/": return true
    default:
      guard !scalar.isASCII else { return false }
      switch scalar.properties.generalCategory {
      case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter,
        .decimalNumber, .letterNumber, .otherNumber:
        return true
      default: return false
      }
    }
  }

  /// What is wrong with an experiment's name; nil if nothing is.
  package static func experimentFault(_ name: String) -> String? {
    if name.isEmpty { return "is empty; give one with --mlflow-experiment" }
    let count = name.unicodeScalars.count
    return count > maxExperimentLength
      ? "has \(count) characters, at most \(maxExperimentLength) are allowed" : nil
  }

  /// What is wrong with an artifact's path; nil if nothing is.
  package static func artifactFault(_ path: String) -> String? {
    if path.isEmpty { return "is empty" }
    if path.utf8.contains(0) { return "contains a zero byte" }
    return oddPart(of: path) == nil ? nil : "is no plain relative path"
  }

  /// The first part of a text that is too long, with a note of what is missing; nil if it fits.
  package static func shortened(_ text: String, to limit: Int) -> String? {
    guard text.utf8.count > limit else { return nil }
    let count = text.unicodeScalars.count
    guard count > limit else { return nil }
    let note = "… (\(count) characters in all)"
    return String(text.unicodeScalars.prefix(limit - note.unicodeScalars.count)) + note
  }
}
