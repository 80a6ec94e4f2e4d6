import Foundation

/// A password or token; printing it, in any way, prints `<redacted>`.
package struct Secret: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible,
  CustomReflectable
{
  /// The secret itself, for the one place that sends it.
  package let exposed: String

  package init(_ text: String) { exposed = text }

  package var description: String { "<redacted>" }
  package var debugDescription: String { "<redacted>" }
  package var customMirror: Mirror { Mirror(self, children: []) }
}

/// Removes secrets from texts that are written down or shown.
package struct Redaction: Sendable {
  private let secrets: [String]

  /// Secrets shorter than six characters are left alone: they would be found in any text.
  package init(_ secrets: [Secret?]) {
    self.secrets = secrets.compactMap { $0?.exposed }.filter { $0.count >= 6 }
      .sorted { $0.count > $1.count }
  }

  /// The text with each secret, and the user name and password of each address, replaced.
  package func callAsFunction(_ text: String) -> String {
    var result = Self.withoutUserInfo(text)
    for secret in secrets where result.contains(secret) {
      result = result.replacing(secret, with: "<redacted>")
    }
    return result
  }

  package func callAsFunction(_ values: [String: String]) -> [String: String] {
    values.mapValues { self($0) }
  }

  /// The text with `user:password@` removed from every `scheme://user:password@host` in it.
  package static func withoutUserInfo(_ text: String) -> String {
    guard text.contains("://") else { return text }
    var result = ""
    var rest = text[...]
    while let scheme = rest.range(of: "://") {
      result += rest[..<scheme.upperBound]
      rest = rest[scheme.upperBound...]
      let end = rest.firstIndex { "/?#\"' \t\n".contains($0) } ?? rest.endIndex
      if let at = rest[..<end].lastIndex(of: "@") { rest = rest[rest.index(after: at)...] }
    }
    return result + rest
  }

  /// The text with everything up to its last `@` removed, for an address that lacks its scheme.
  package static func withoutUserInfo(inAnyText text: String) -> String {
    guard let at = text.lastIndex(of: "@"), text[..<at].contains(":") else { return text }
    return "…" + text[at...]
  }
}
