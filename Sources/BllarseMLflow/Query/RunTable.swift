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
  /// Whether programs read every metric, or parameter: none was named.
  private let hasEveryMetric, hasEveryParameter: Bool

  /// How many parameters tell runs apart in a table that names none.
  static let parameterLimit = 6
  /// How many metrics a table shows that names none.
  static let metricLimit = 4

  /// Chooses columns, order and number of rows.
  ///
  /// Without names the metrics are the scores that a person compares, and the parameters those that differ
  /// between the runs shown. Runs without the metric or parameter to sort by, and those where it is NaN,
  /// come last either way.
  package init(
    _ runs: [RunSummary], metrics: [String] = [], parameters: [String] = [],
    sortKey: String? = nil, isDescending: Bool = false, limit: Int = .max
  ) {
    var runs = runs
    unknownSortKey = sortKey.flatMap { key in
      runs.contains { $0.metrics[key] != nil || $0.parameters[key] != nil } ? nil : key
    }
    if let sortKey { runs = Self.sorted(runs, by: sortKey, isDescending: isDescending) }
    self.runs = Array(runs.prefix(limit))
    var shown = metrics.isEmpty ? Self.mainMetrics(of: self.runs) : metrics
    if metrics.isEmpty, let sortKey, unknownSortKey == nil,
      runs.contains(where: { $0.metrics[sortKey] != nil }), !shown.contains(sortKey)
    {
      shown.insert(sortKey, at: 0)
    }
    self.metrics = shown
    (hasEveryMetric, hasEveryParameter) = (metrics.isEmpty, parameters.isEmpty)
    self.parameters = parameters.isEmpty ? Self.varyingParameters(of: self.runs) : parameters
  }

  /// The scores that a person compares, the test split's first; then those that most runs have.
  private static func mainMetrics(of runs: [RunSummary]) -> [String] {
    var counts: [String: Int] = [:]
    for run in runs { for key in run.metrics.keys { counts[key, default: 0] += 1 } }
    func rank(_ key: String) -> Int { scores.firstIndex(of: key) ?? scores.count }
    let sorted = counts.sorted {
      (rank($0.key), $1.value, $0.key) < (rank($1.key), $0.value, $1.key)
    }.map(\.key)
    // One name for a score: "acc" is the test split's where that is logged as such.
    var chosen: [String] = []
    for key in sorted where chosen.count < metricLimit {
      let isKnown = chosen.contains { $0.split(separator: ".").last.map(String.init) == key }
      if !isKnown { chosen.append(key) }
    }
    return chosen
  }

  private static let scores = [
    "test.acc", "test.nll", "test.ece", "test.brier", "acc", "accuracy", "nll", "loss", "ece",
  ]

  /// The parameters whose values differ between the runs, those that most have first.
  ///
  /// A sweep's parent names all values of an axis; what a fit chose differs nearly always.
  private static func varyingParameters(of runs: [RunSummary]) -> [String] {
    var values: [String: [String]] = [:]
    for run in runs where run.tags["is_parent"] != "true" {
      for (key, value) in run.parameters where !key.hasPrefix("chosen.") {
        values[key, default: []].append(value)
      }
    }
    let varying = values.filter { Set($0.value).count > 1 }
      .sorted { ($1.value.count, $0.key) < ($0.value.count, $1.key) }
    return varying.prefix(parameterLimit).map(\.key)
  }

  /// The first name that no run has, with the nearest that one has; nil when all are known.
  package static func unknown<Value>(
    _ wanted: [String], of runs: [RunSummary], _ path: KeyPath<RunSummary, [String: Value]>
  ) -> (name: String, meant: [String])? {
    let known = Set(runs.flatMap { $0[keyPath: path].keys })
    guard let name = wanted.first(where: { !known.contains($0) }) else { return nil }
    let near = known.filter {
      $0.hasSuffix(".\(name)") || $0.hasSuffix("/\(name)") || $0.hasPrefix(name)
        || $0.lowercased() == name.lowercased()
    }
    return (name, Array((near.isEmpty ? known : near).sorted().prefix(8)))
  }

  private static func sorted(
    _ runs: [RunSummary], by key: String, isDescending: Bool
  ) -> [RunSummary] {
    // Numbers before texts.
    func value(_ run: RunSummary) -> (isText: Int, number: Double, text: String)? {
      if let number = run.metrics[key] ?? run.parameters[key].flatMap(Double.init) {
        return number.isNaN ? nil : (0, number, "")
      }
      return run.parameters[key].map { (1, 0, $0) }
    }
    let keyed = runs.map { ($0, value($0)) }
    let present = keyed.compactMap { run, key in key.map { (run, $0) } }
      .sorted { isDescending ? $1.1 < $0.1 : $0.1 < $1.1 }
    return present.map(\.0) + keyed.filter { $0.1 == nil }.map(\.0)
  }

  // MARK: - Text

  package func text(_ format: Format) -> String {
    switch format {
    case .table: TextTable.aligned(rows, firstNumber: 4 + parameters.count)
    case .csv: rows.map(TextTable.csvLine).joined()
    case .json: String(decoding: json.bytes, as: UTF8.self) + "\n"
    }
  }

  private var rows: [[String]] {
    [["run", "name", "status", "start"] + parameters + metrics]
      + runs.map { run in
        [run.id, run.name, run.status, run.startTime.map(Self.date) ?? ""]
          + parameters.map { run.parameters[$0] ?? "" }
          + metrics.map { run.metrics[$0].map { String(format: "%.6g", $0) } ?? "" }
      }
  }

  private var json: JSON {
    .array(
      runs.map { run in
        .object([
          "run_id": .string(run.id), "name": .string(run.name), "status": .string(run.status),
          "start_time": .optional(run.startTime), "end_time": .optional(run.endTime),
          "parameters": .strings(
            run.parameters.filter { hasEveryParameter || parameters.contains($0.key) }),
          "metrics": .object(
            (hasEveryMetric ? run.metrics.keys.sorted() : metrics).compactMap { key in
              run.metrics[key].map { JSON.Member(key, .double($0)) }
            }),
        ])
      })
  }

  private static func date(_ milliseconds: Int) -> String {
    let formatter = DateFormatter()
    formatter.locale = Locale(identifier: "en_US_POSIX")
    formatter.dateFormat = "yyyy-MM-dd HH:mm:ss"
    return formatter.string(from: Date(timeIntervalSince1970: Double(milliseconds) / 1000))
  }
}
