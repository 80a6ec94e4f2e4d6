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
