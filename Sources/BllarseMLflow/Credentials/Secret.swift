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
  private let secrets: [String]

  /// Secrets shorter than six characters are left alone: they would be found in any text.
  ///
  /// - Parameters:
  ///   - secrets: passwords and tokens.
  ///   - users: the names that the passwords may be sent with.
  package init(_ secrets: [Secret?], users: [String] = []) {
    let exposed = secrets.compactMap { $0?.exposed }.filter { !$0.isEmpty }
    var forms = Set(exposed.filter { $0.count >= 6 })
    for secret in exposed {
      var encoded = Self.escaped(secret)
      for text in [secret] + users.map({ "\($0):\(secret)" }) {
        encoded += Self.base64(text)
      }
      // Short ones would be found in any text; these are longer than what they stand for.
      forms.formUnion(encoded.filter { $0.utf8.count >= 8 })
    }
    self.secrets = forms.sorted { ($1.count, $0) < ($0.count, $1) }
  }

  private static func base64(_ text: String) -> [String] {
    let usual = Data(text.utf8).base64EncodedString()
    let unpadded = usual.replacing("=", with: "")
    let forAddresses = unpadded.replacing("+", with: "-").replacing("/", with: "_")
    return [usual, unpadded, forAddresses, usual.replacing("=", with: "%3D")]
  }

  private static func escaped(_ text: String) -> [String] {
    let percent = MLflowClient.encoded(text)
    var json = JSON.Writer()
    json.append(string: text)
    let quoted = String(decoding: json.bytes.dropFirst().dropLast(), as: UTF8.self)
    // As Python writes JSON: everything beyond ASCII by its code units.
    let ascii = quoted.utf16.map { unit in
      guard unit >= 0x80 else { return String(Unicode.Scalar(UInt8(unit))) }
      let digits = String(unit, radix: 16)
      return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    }.joined()
    let html = text.replacing("&", with: "&amp;").replacing("<", with: "&lt;")
      .replacing(">", with: "&gt;")
    let quotes = html.replacing("\"", with: "&quot;")
    return [
      percent, percent.lowercasedEscapes, percent.replacing("%20", with: "+"), quoted,
      quoted.replacing("/", with: "\\/"), ascii, html, quotes,
      quotes.replacing("'", with: "&#39;"), quotes.replacing("'", with: "&#x27;"),
    ].filter { $0 != text }
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

extension String {
  /// The text with the digits of its percent escapes in lower case.
  fileprivate var lowercasedEscapes: String {
    replacing(/%[0-9A-F]{2}/) { $0.output.lowercased() }
  }
}
