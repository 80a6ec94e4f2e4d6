/// Finds a secret in a text, each of its characters as it is or as percent-encoding, JSON or HTML write it.
///
/// Which characters an encoding leaves alone differs from one program to the next, so that the forms of a
/// whole secret cannot be listed.
struct SecretPattern: Sendable {
  /// For each character the ways to write it, as UTF-8.
  private let alternatives: [[[UInt8]]]

  init(_ secret: String) { alternatives = secret.unicodeScalars.map(Self.forms) }

  private static func forms(of scalar: Unicode.Scalar) -> [[UInt8]] {
    let bytes = Array(String(scalar).utf8)
    let percent = bytes.map { byte in
      let digits = String(byte, radix: 16, uppercase: true)
      return "%" + (digits.count == 1 ? "0" : "") + digits
    }.joined()
    let units = String(scalar).utf16.map { unit in
      let digits = String(unit, radix: 16)
      return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    }.joined()
    var forms = [
      String(scalar), percent, percent.lowercased(), units, "&#\(scalar.value);",
      "&#x\(String(scalar.value, radix: 16));",
    ]
    switch scalar {
    case " ": forms.append("+")
    case "\"": forms += ["\\\"", "&quot;", "&#34;"]
    case "\\": forms.append("\\\\")
    case "/": forms.append("\\/")
    case "&": forms.append("&amp;")
    case "<": forms.append("&lt;")
    case ">": forms.append("&gt;")
    case "'": forms += ["&#39;", "&apos;"]
    default: break
    }
    return Set(forms).map { Array($0.utf8) }
  }

  /// The text with every match replaced by `<redacted>`.
  func redacted(_ text: String) -> String {
    let bytes = Array(text.utf8)
    var result: [UInt8] = []
    var position = 0
    var isFound = false
    while position < bytes.count {
      if let end = match(bytes, from: position) {
        result += Array("<redacted>".utf8)
        position = end
        isFound = true
      } else {
        result.append(bytes[position])
        position += 1
      }
    }
    return isFound ? String(decoding: result, as: UTF8.self) : text
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
