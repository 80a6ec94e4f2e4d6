/// What a sweep's parent run says of its children from the start: the values that all share, and what
/// each axis goes through.
package struct ParentDescription: Sendable, Equatable {
  /// More values of an axis than this are not named one by one.
  static let valueLimit = 20

  /// The value of each key: one that all have, or the axis, `IBProbit, CrossEntropy`.
  package let parameters: [String: String]
  /// A paragraph in Markdown.
  package let text: String

  /// Describes some configurations of a sweep.
  package init(_ directory: SweepDirectory, indices: [Int]) throws {
    let wanted = Set(indices)
    self.init(
      try directory.manifest.entries().filter { wanted.contains($0.index) }, name: directory.name,
      source: directory.source)
  }

  init(_ entries: [ManifestEntry], name: String, source: String) {
    var keys: [String] = []
    var values: [String: [JSON]] = [:]
    var seen: [String: Set<JSON>] = [:]
    var counts: [String: Int] = [:]
    for member in entries.flatMap(\.parameters)
    where !Configuration.bookkeepingKeys.contains(member.key) && member.value != .null {
      if values[member.key] == nil { keys.append(member.key) }
      counts[member.key, default: 0] += 1
      if seen[member.key, default: []].insert(member.value).inserted {
        values[member.key, default: []].append(member.value)
      }
    }
    let parameters = Dictionary(
      uniqueKeysWithValues: keys.map { key in
        let isInAll = counts[key] == entries.count
        return (key, Self.axis(values[key] ?? []) + (isInAll ? "" : ", or not set"))
      })
    let varying = Set(entries.varyingKeys)
    let axes = keys.filter(varying.contains).map { "`\($0)` (\(parameters[$0] ?? ""))" }
    self.parameters = parameters
    let count = "\(entries.count) configuration\(entries.count == 1 ? "" : "s")"
    text =
      "Sweep `\(name)` of `\(source)`: \(count)"
      + (axes.isEmpty ? "." : " over \(axes.joined(separator: ", ")).")
  }

  /// The values of an axis; of many numbers the range, of many others the first.
  private static func axis(_ values: [JSON]) -> String {
    guard values.count > valueLimit else {
      return values.map(\.plainText).joined(separator: ", ")
    }
    let numbers = values.compactMap(\.doubleValue)
    if numbers.count == values.count, let low = numbers.min(), let high = numbers.max() {
      let ends = [low, high].map { JSON.number($0).compact }
      return "\(values.count) values from \(ends[0]) to \(ends[1])"
    }
    return "\(values.count) values: "
      + values.prefix(valueLimit).map(\.plainText).joined(separator: ", ") + ", …"
  }
}
