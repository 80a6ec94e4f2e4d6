import Foundation

/// The commit, branch and remote of a working copy, read from its files without running git.
package struct GitState: Sendable, Equatable {
  package var commit: String
  package var branch: String?
  /// The remote named origin, without user name and password.
  package var remoteURL: String?

  /// The working copy that `path` is in; nil if it is in none, or has no commit.
  package init?(containing path: String) {
    for folder in Files.ancestors(of: path) {
      let entry = folder == "/" ? "/.git" : folder + "/.git"
      if Files.exists(entry) {
        guard let git = Self.gitDirectory(entry, in: folder) else { return nil }
        self.init(gitDirectory: git)
        return
      }
    }
    return nil
  }

  private init?(gitDirectory git: String) {
    // A linked working tree keeps its own HEAD, and refs and configuration in the common folder.
    let common = Self.text(git + "/commondir").map { Files.absolute($0, relativeTo: git) } ?? git
    guard let head = Self.text(git + "/HEAD") else { return nil }
    if head.hasPrefix("ref: ") {
      let name = String(head.dropFirst("ref: ".count))
      guard
        let commit = Self.text(git + "/" + name) ?? Self.text(common + "/" + name)
          ?? Self.packed(name, in: common)
      else { return nil }
      self.commit = commit
      branch = name.hasPrefix("refs/heads/") ? String(name.dropFirst("refs/heads/".count)) : name
    } else {
      commit = head
    }
    remoteURL = Self.origin(in: common)
  }

  private static func gitDirectory(_ entry: String, in folder: String) -> String? {
    if Files.isDirectory(entry) { return entry }
    guard let line = text(entry), line.hasPrefix("gitdir: ") else { return nil }
    return Files.absolute(String(line.dropFirst("gitdir: ".count)), relativeTo: folder)
  }

  private static func text(_ path: String) -> String? {
    guard Files.exists(path), !Files.isDirectory(path), let bytes = try? Files.bytes(of: path)
    else {
      return nil
    }
    let text = String(decoding: bytes, as: UTF8.self)
      .trimmingCharacters(in: .whitespacesAndNewlines)
    return text.isEmpty ? nil : text
  }

  private static func packed(_ name: String, in common: String) -> String? {
    for line in (text(common + "/packed-refs") ?? "").split(separator: "\n")
    where line.hasSuffix(" " + name) {
      return line.split(separator: " ").first.map(String.init)
    }
    return nil
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
