import Foundation

/// A password or token; printing it, in any way, prints `<redacted>`.
package struct Secret: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible,
  CustomReflectable
{
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

  /// Removes passwords and tokens, which may be sent with the names of users.
  ///
  /// Secrets shorter than six characters are left alone, but in base64: they would be found in any text.
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

/// Finds a secret in a text, each of its characters as it is or as percent-encoding, JSON or HTML write it.
///
/// Which characters an encoding leaves alone differs from one program to the next, so that the forms of a
/// whole secret cannot be listed.
struct SecretPattern: Sendable {
  /// For each character the ways to write it, as UTF-8.
  private let alternatives: [[[UInt8]]]

  init(_ secret: String) { alternatives = secret.unicodeScalars.map(Self.forms) }

  private static func forms(of scalar: Unicode.Scalar) -> [[UInt8]] {
    let percent = String(scalar).utf8.map {
      "%" + String.digits($0, radix: 16, width: 2).uppercased()
    }.joined()
    let units = String(scalar).utf16.map { "\\u" + String.digits($0, radix: 16, width: 4) }.joined()
    var forms = [
      String(scalar), percent, percent.lowercased(), units, "&#\(scalar.value);",
      "&#x\(String(scalar.value, radix: 16));",
    ]
    forms += more[scalar] ?? []
    return Set(forms).map { Array($0.utf8) }
  }

  /// What forms, JSON and HTML have for a character beside its number.
  private static let more: [Unicode.Scalar: [String]] = [
    " ": ["+"], "\"": ["\\\"", "&quot;"], "\\": ["\\\\"], "/": ["\\/"], "&": ["&amp;"],
    "<": ["&lt;"],
    ">": ["&gt;"], "'": ["&apos;"],
  ]

  func redacted(_ text: String) -> String {
    let bytes = Array(text.utf8)
    var result: [UInt8] = []
    var position = 0
    while position < bytes.count {
      let end = match(bytes, from: position)
      if end == nil { result.append(bytes[position]) } else { result += "<redacted>".utf8 }
      position = end ?? position + 1
    }
    return String(decoding: result, as: UTF8.self)
  }

  /// Where the longest match that begins at a position ends.
  ///
  /// All ways to read what is there are followed at once: a raw `&` may be the beginning of `&amp;`.
  private func match(_ bytes: [UInt8], from start: Int) -> Int? {
    var ends: Set<Int> = [start]
    for forms in alternatives {
      var next: Set<Int> = []
      for end in ends {
        for form in forms where bytes[end...].starts(with: form) { next.insert(end + form.count) }
      }
      if next.isEmpty { return nil }
      ends = next
    }
    return ends.max()
  }
}
