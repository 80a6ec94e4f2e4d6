/// One configuration: the options of one run.
package struct Configuration: Sendable, Equatable {
  /// The options in the order of the file, with underscores in their names.
  package let parameters: [JSON.Member]
  /// The content's hash: 64 hexadecimal digits over the program and the parameters, without those
  /// that only say where results go and how they are tracked.
  package let hash: String
  /// The same without the replicate keys: equal for the seeds of one setting.
  package let groupHash: String

  /// Keys that do not change what is computed.
  package static let bookkeepingKeys: Set<String> = [
    "output", "resume", "save_every", "enable_mlflow", "enable_wandb", "mlflow_tracking_uri",
    "mlflow_experiment", "group_id", "uid", "log_checkpoints",
  ]

  /// What `${…}` may name beside keys.
  package static let builtInReferences: Set<String> = ["sweep.name", "config.hash"]

  package subscript(key: String) -> JSON? { parameters.first { $0.key == key }?.value }

  /// `batch_size` as `--batch-size`.
  package static func option(for key: String) -> String {
    (key.count == 1 ? "-" : "--") + String(key.map { $0 == "_" ? "-" : $0 })
  }

  /// The command-line arguments: true is a bare flag, false and null are left out, a list is given as
  /// its key's style says.
  package func arguments(
    inversions: [String: String] = [:], lists: ListStyles = ListStyles()
  ) -> [String] {
    parameters.flatMap { member -> [String] in
      let option = Self.option(for: member.key)
      switch member.value {
      case .null: return []
      case .bool(true): return [option]
      case .bool(false): return inversions[member.key].map { [$0] } ?? []
      case .array(let elements):
        return switch lists[member.key] {
        case .repeat: elements.flatMap { Self.pair(option, $0.plainText) }
        case .words: elements.isEmpty ? [] : [option] + elements.map(\.plainText)
        case .json: Self.pair(option, member.value.compact)
        }
      default: return Self.pair(option, member.value.plainText)
      }
    }
  }

  /// A value that begins with a dash would be read as an option; `--option=value` is not.
  private static func pair(_ option: String, _ value: String) -> [String] {
    value.hasPrefix("-") && option.hasPrefix("--") ? ["\(option)=\(value)"] : [option, value]
  }
}

extension [ManifestEntry] {
  /// The keys whose values differ between configurations, in order of appearance; not those that only
  /// say where results go and how they are tracked.
  package var varyingKeys: [String] {
    axes().filter { _, values in
      values.count < count || values.contains { $0.value != values[0].value }
    }.map(\.key)
  }

  /// The keys in order of appearance, each with all its values; not those of bookkeeping.
  func axes(
    of isValue: (JSON.Member) -> Bool = { _ in true }
  ) -> [(key: String, elements: [JSON.Member])] {
    flatMap(\.parameters).filter { isValue($0) && !Configuration.bookkeepingKeys.contains($0.key) }
      .grouped(by: \.key)
  }
}

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

  /// The values that vary, as in `IBProbit seed=1`: a word stands for itself.
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
    let padded = entry.index.digits(digits)
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

  /// The keys that vary, kept so that no task of an array need read the whole manifest.
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
      "count": .int(manifest.count), "keys": .strings(try manifest.entries().varyingKeys),
    ])
    try Files.write(json.compact + "\n", to: varyingKeysPath)
  }
}
