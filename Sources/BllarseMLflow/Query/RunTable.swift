import Foundation

/// Runs in rows, with chosen metrics and parameters in columns.
package struct RunTable: Sendable {
  package enum Format: String, Sendable, CaseIterable {
    case table, csv, json
  }

  package let metrics: [String]
  package let parameters: [String]
  package let runs: [RunSummary]
  /// The sort key, if no run has it.
  package let unknownSortKey: String?

  /// Chooses columns, order and number of rows: no metrics means the six that most runs have, no
  /// sort key keeps the order; runs without the key, and those where it is NaN, come last either way.
  package init(
    _ runs: [RunSummary], metrics: [String] = [], parameters: [String] = [],
    sortKey: String? = nil, isDescending: Bool = false, limit: Int = .max
  ) {
    self.metrics = metrics.isEmpty ? Self.commonMetrics(of: runs) : metrics
    self.parameters = parameters
    var runs = runs
    unknownSortKey = sortKey.flatMap { key in
      runs.contains { $0.metrics[key] != nil || $0.parameters[key] != nil } ? nil : key
    }
    if let sortKey {
      runs = Self.sorted(runs, by: sortKey, isDescending: isDescending)
    }
    self.runs = Array(runs.prefix(limit))
  }

  private static func commonMetrics(of runs: [RunSummary]) -> [String] {
    var counts: [String: Int] = [:]
    for run in runs { for key in run.metrics.keys { counts[key, default: 0] += 1 } }
    return counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.prefix(6).map(\.key).sorted()
  }

  private static func sorted(
    _ runs: [RunSummary], by key: String, isDescending: Bool
  ) -> [RunSummary] {
    enum Key {
      case number(Double), text(String)
    }
    func value(_ run: RunSummary) -> Key? {
      if let number = run.metrics[key] ?? run.parameters[key].flatMap(Double.init) {
        return number.isNaN ? nil : .number(number)
      }
      return run.parameters[key].map(Key.text)
    }
    func isLess(_ first: Key, _ second: Key) -> Bool {
      switch (first, second) {
      case (.number(let first), .number(let second)): first < second
      case (.text(let first), .text(let second)): first < second
      case (.number, .text): true
      case (.text, .number): false
      }
    }
    let keyed = runs.map { ($0, value($0)) }
    let present = keyed.compactMap { run, key in key.map { (run, $0) } }
      .sorted { isDescending ? isLess($1.1, $0.1) : isLess($0.1, $1.1) }
    return present.map(\.0) + keyed.filter { $0.1 == nil }.map(\.0)
  }

  // MARK: - Text

  /// The table as text that ends with a line feed.
  package func text(_ format: Format) -> String {
    switch format {
    case .table: aligned
    case .csv: rows.map { $0.map(Self.csvField).joined(separator: ",") + "\n" }.joined()
    case .json: String(decoding: json.bytes, as: UTF8.self) + "\n"
    }
  }

  private var rows: [[String]] {
    [["run", "name", "status", "start"] + parameters + metrics]
      + runs.map { run in
        [run.id, run.name, run.status, run.startTime.map(Self.date) ?? ""]
          + parameters.map { run.parameters[$0] ?? "" }
          + metrics.map { run.metrics[$0].map(Self.number) ?? "" }
      }
  }

  private var aligned: String {
    let rows = rows.map { $0.map(\.printable) }
    let widths = (rows.first ?? []).indices.map { column in
      rows.map { $0[column].count }.max() ?? 0
    }
    let firstNumber = 4 + parameters.count
    return rows.map { row in
      let cells = row.indices.map { column in
        let space = String(repeating: " ", count: widths[column] - row[column].count)
        return column >= firstNumber ? space + row[column] : row[column] + space
      }
      let line = cells.joined(separator: "  ")
      return String(line.reversed().drop { $0 == " " }.reversed()) + "\n"
    }.joined()
  }

  private var json: JSON {
    .array(
      runs.map { run in
        .object([
          .init("run_id", .string(run.id)), .init("name", .string(run.name)),
          .init("status", .string(run.status)),
          .init("start_time", run.startTime.map(JSON.integer) ?? .null),
          .init("end_time", run.endTime.map(JSON.integer) ?? .null),
          .init(
            "parameters",
            .strings(
              parameters.isEmpty
                ? run.parameters : run.parameters.filter { parameters.contains($0.key) })),
          .init(
            "metrics",
            .object(
              metrics.compactMap { key in
                run.metrics[key].map { JSON.Member(key, .number($0)) }
              })),
        ])
      })
  }

  private static func csvField(_ text: String) -> String {
    text.contains { ",\"\n\r".contains($0) }
      ? "\"" + text.replacing("\"", with: "\"\"") + "\"" : text
  }

  /// Up to six digits, as C's `%g` writes them.
  static func number(_ value: Double) -> String { String(format: "%.6g", value) }

  private static func date(_ milliseconds: Int) -> String {
    let formatter = DateFormatter()
    formatter.locale = Locale(identifier: "en_US_POSIX")
    formatter.dateFormat = "yyyy-MM-dd HH:mm:ss"
    return formatter.string(from: Date(timeIntervalSince1970: Double(milliseconds) / 1000))
  }
}
