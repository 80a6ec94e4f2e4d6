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
///
/// A secret is found as it is, and in the forms in which requests and pages carry one: base64 (alone, and
/// after a user name and colon, as in an Authorization header), percent-encoded, and with JSON's, HTML's
/// and forms' escapes. A text is to be redacted before it is cut: half a secret is not found.
package struct Redaction: Sendable {
  private let encoded: [String]
  private let patterns: [SecretPattern]

  /// Secrets shorter than six characters are left alone, but in base64: they would be found in any text.
  ///
  /// - Parameters:
  ///   - secrets: passwords and tokens.
  ///   - users: the names that the passwords may be sent with.
  package init(_ secrets: [Secret?], users: [String] = []) {
    let exposed = Set(secrets.compactMap { $0?.exposed }.filter { !$0.isEmpty })
    patterns = exposed.filter { $0.count >= 6 }.sorted { $0.count > $1.count }
      .map { SecretPattern($0) }
    var forms: Set<String> = []
    for secret in exposed {
      for text in [secret] + users.map({ "\($0):\(secret)" }) { forms.formUnion(Self.base64(text)) }
    }
    encoded = forms.filter { $0.utf8.count >= 8 }.sorted { ($1.count, $0) < ($0.count, $1) }
  }

  private static func base64(_ text: String) -> [String] {
    let usual = Data(text.utf8).base64EncodedString()
    let unpadded = usual.replacing("=", with: "")
    let forAddresses = unpadded.replacing("+", with: "-").replacing("/", with: "_")
    return [usual, unpadded, forAddresses, MLflowClient.encoded(usual)]
  }

  /// The text with each secret, and the user name and password of each address, replaced.
  package func callAsFunction(_ text: String) -> String {
    var result = Self.withoutUserInfo(text)
    for secret in encoded where result.contains(secret) {
      result = result.replacing(secret, with: "<redacted>")
    }
    for pattern in patterns { result = pattern.redacted(result) }
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
