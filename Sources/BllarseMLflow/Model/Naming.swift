import Foundation

/// The tags MLflow's pages look for, as its own client sets them.
package enum SystemTags {
  package static func make(user: String, program: String, directory: String) -> [String: String] {
    var tags = ["mlflow.user": user, "mlflow.source.name": program, "mlflow.source.type": "LOCAL"]
    if let git = GitState(containing: directory) {
      tags["mlflow.source.git.commit"] = git.commit
      tags["mlflow.source.git.branch"] = git.branch
      tags["mlflow.source.git.repoURL"] = git.remoteURL
    }
    return tags
  }

  /// The home folder that the system has for this account; nil where it has none, as in some containers.
  package static var accountHome: String? {
    guard let entry = getpwuid(geteuid()), let home = entry.pointee.pw_dir else { return nil }
    return String(cString: home)
  }

  /// The login name, as `id -un` says it.
  package static func user(environment: [String: String]) -> String {
    if let entry = getpwuid(geteuid()), let name = entry.pointee.pw_name {
      return String(cString: name)
    }
    return environment["USER"] ?? environment["LOGNAME"] ?? "unknown"
  }
}

/// Readable names for runs without one: an adjective, a noun and a number.
package enum RunName {
  private static let adjectives = [
    "amber", "brisk", "calm", "clever", "crisp", "daring", "eager", "fair", "gentle", "golden",
    "honest", "humble", "keen", "lively", "lucid", "mellow", "merry", "nimble", "patient", "placid",
    "quiet", "rapid", "serene", "silver", "steady", "sturdy", "sunny", "tidy", "vivid", "witty",
  ]
  private static let nouns = [
    "badger", "beech", "birch", "bison", "cedar", "crane", "curlew", "dolphin", "falcon", "finch",
    "fox", "hare", "heron", "ibis", "jay", "larch", "linnet", "lynx", "marten", "maple", "newt",
    "oak", "otter", "owl", "pine", "plover", "robin", "stoat", "swift", "wren",
  ]

  package static func random() -> String {
    let adjective = adjectives.randomElement() ?? "calm"
    let noun = nouns.randomElement() ?? "swift"
    return "\(adjective)-\(noun)-\(Int.random(in: 100...999))"
  }
}

/// The commit, branch and remote of a working copy, read from its files without running git.
package struct GitState: Sendable, Equatable {
  package var commit: String
  package var branch: String?
  /// The remote named origin, without user name and password.
  package var remoteURL: String?

  /// The working copy that `path` is in; nil if it is in none, or has no commit.
  package init?(containing path: String) {
    let entries = Files.ancestors(of: path).map { ($0 == "/" ? "" : $0) + "/.git" }
    guard let entry = entries.first(where: Files.exists), let git = Self.gitDirectory(entry)
    else { return nil }
    // A linked working tree keeps its own HEAD, and refs and configuration in the common folder.
    let common = Self.text(git + "/commondir").map { Files.absolute($0, relativeTo: git) } ?? git
    guard let head = Self.text(git + "/HEAD") else { return nil }
    if let name = Self.rest(of: head, after: "ref: ") {
      guard
        let commit = Self.text(git + "/" + name) ?? Self.text(common + "/" + name)
          ?? Self.packed(name, in: common)
      else { return nil }
      self.commit = commit
      branch = Self.rest(of: name, after: "refs/heads/") ?? name
    } else {
      commit = head
    }
    remoteURL = Self.origin(in: common)
  }

  private static func gitDirectory(_ entry: String) -> String? {
    if Files.isDirectory(entry) { return entry }
    return text(entry).flatMap { rest(of: $0, after: "gitdir: ") }
      .map { Files.absolute($0, relativeTo: Files.parent(of: entry)) }
  }

  private static func rest(of text: String, after prefix: String) -> String? {
    text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : nil
  }

  private static func text(_ path: String) -> String? {
    let text = Files.isFile(path) ? (try? Files.text(of: path)) ?? nil : nil
    return text.map(\.trimmed).flatMap { $0.isEmpty ? nil : $0 }
  }

  private static func packed(_ name: String, in common: String) -> String? {
    let lines = (text(common + "/packed-refs") ?? "").split(separator: "\n")
    return lines.first { $0.hasSuffix(" " + name) }.map { String($0.prefix { $0 != " " }) }
  }

  private static func origin(in common: String) -> String? {
    var isOrigin = false
    for line in (text(common + "/config") ?? "").split(whereSeparator: \.isNewline) {
      let content = line.trimmingCharacters(in: .whitespaces)
      if content.hasPrefix("[") {
        isOrigin = content == "[remote \"origin\"]"
      } else if isOrigin, content.hasPrefix("url"), let split = content.firstIndex(of: "=") {
        return Redaction.withoutUserInfo(
          content[content.index(after: split)...].trimmingCharacters(in: .whitespaces))
      }
    }
    return nil
  }
}

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
