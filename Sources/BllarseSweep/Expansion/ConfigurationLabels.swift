/// What tells the configurations of a sweep apart, in words for a person.
package struct ConfigurationLabels: Sendable {
  /// Longer values are cut: a label is one of many in a column.
  private static let valueLimit = 32
  private static let limit = 120

  private let keys: [String]
  private let digits: Int

  package init(_ directory: SweepDirectory) throws {
    self.init(keys: try directory.varyingKeys(), count: directory.manifest.count)
  }

  init(keys: [String], count: Int) {
    self.keys = keys
    digits = max(3, String(max(0, count - 1)).count)
  }

  /// The values that vary: a word stands for itself, anything else with its key, as in
  /// `IBProbit seed=1`.
  package func values(_ entry: ManifestEntry) -> String {
    let words = keys.compactMap { key -> String? in
      guard let value = entry[key], value != .null else { return nil }
      let text = Self.short(value.plainText.printable)
      guard case .string(let word) = value, Self.isWord(word) else { return "\(key)=\(text)" }
      return text
    }
    let text = words.joined(separator: " ")
    return text.count <= Self.limit ? text : text.prefix(Self.limit - 1) + "…"
  }

  /// The index and the values that vary: `003 IBProbit seed=1`.
  package func name(_ entry: ManifestEntry) -> String {
    let index = String(entry.index)
    let padded = String(repeating: "0", count: max(0, digits - index.count)) + index
    let values = values(entry)
    return values.isEmpty ? padded : "\(padded) \(values)"
  }

  /// Of a path its end tells more than its beginning.
  private static func short(_ text: String) -> String {
    guard text.count > valueLimit else { return text }
    return text.contains("/")
      ? "…" + text.suffix(valueLimit - 1) : text.prefix(valueLimit - 1) + "…"
  }

  /// Whether a text says what it is: it begins as a name does, and is one word.
  private static func isWord(_ text: String) -> Bool {
    guard let first = text.first, first.isLetter else { return false }
    return text.count > 1 && !text.contains(where: \.isWhitespace)
      && !["true", "false", "none", "auto"].contains(text.lowercased())
  }
}

extension SweepDirectory {
  private var varyingKeysPath: String { "\(path)/varying.json" }

  /// The keys that vary, as they were kept when the sweep was frozen: each task of an array asks for
  /// them, and need not read the whole manifest.
  func varyingKeys() throws -> [String] {
    if let json = JSON(file: varyingKeysPath), json["count"]?.intValue == manifest.count,
      let keys = json["keys"]?.arrayValue
    {
      return keys.map(\.plainText)
    }
    return try manifest.entries().varyingKeys
  }

  func keepVaryingKeys() throws {
    let json: JSON = .object([
      "count": .int(manifest.count),
      "keys": .strings(try manifest.entries().varyingKeys),
    ])
    try Files.write(json.compact + "\n", to: varyingKeysPath)
  }
}
