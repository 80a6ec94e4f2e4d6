/// Gathers the results of a sweep: one row a configuration, or one a setting with statistics over
/// its replicates.
package struct Collector {
  struct Finished {
    let entry: ManifestEntry
    let result: RunResult

    func number(_ metric: String) -> Double? { result.metrics[path: metric]?.doubleValue }
  }

  private let entries: [ManifestEntry]
  private let finished: [Finished]
  private let replicateKeys: Set<String>

  package init(_ directory: SweepDirectory) throws {
    entries = try directory.manifest.entries()
    finished = entries.compactMap { entry in
      directory.run(entry.index).result(hash: entry.hash).map { Finished(entry: entry, result: $0) }
    }
    replicateKeys = Set(directory.replicateKeys)
  }

  package var progress: (finished: Int, total: Int) { (finished.count, entries.count) }
  var results: [RunResult] { finished.map(\.result) }
  var varyingKeys: [String] { entries.varyingKeys }
  var metricNames: [String] {
    // Lazily: the names of all results at once are millions.
    finished.lazy.flatMap { Self.numbers(in: $0.result.metrics) }.uniqued
  }

  /// The dotted names of the numbers in a result, without what a program says of itself, which is none.
  static func numbers(in result: JSON) -> [String] {
    func names(_ json: JSON, _ name: String) -> [String] {
      guard let members = json.members else { return json.doubleValue == nil ? [] : [name] }
      return members.flatMap { names($0.value, name.isEmpty ? $0.key : "\(name).\($0.key)") }
    }
    return names(result, "").filter { name in
      !["arguments.", "versions.", "environment."].contains { name.hasPrefix($0) }
    }
  }

  /// One row a configuration, sorted by the metric `best`, which a result must have; a table that is not
  /// wide shows the main scores only.
  package func table(
    best: String? = nil, largest: Bool? = nil, isWide: Bool = true
  ) throws -> ResultTable {
    let keys = varyingKeys
    var metrics = metricNames
    var runs = finished
    if let best {
      try check(best, among: metrics)
      runs = sorted(runs, by: best, largest) { $0.number(best) }
    }
    if !isWide { metrics = Self.shown(metrics, best: best) }
    let columns = ["index"] + keys + metrics + ["run_seconds"]
    let rows = runs.map { run in
      [JSON.int(run.entry.index)] + keys.map { run.entry[$0] ?? .null }
        + metrics.map { run.result.metrics[path: $0] ?? .null } + [.number(run.result.seconds)]
    }
    return ResultTable(columns: columns, rows: rows)
  }

  /// One row a setting with statistics over its replicates of some metrics, else of all or the main scores:
  /// in a wide table the mean, the standard deviation, the standard error and half the width of the mean's
  /// 95 % interval, in another `0.9881 ± 0.0031`.
  package func replicateTable(
    metrics chosen: [String] = [], best: String? = nil, largest: Bool? = nil, isWide: Bool = true
  ) throws -> ResultTable {
    let keys = varyingKeys.filter { !replicateKeys.contains($0) }
    let all = metricNames
    var metrics = !chosen.isEmpty ? chosen : isWide ? all : Self.shown(all, best: best)
    if let best, !metrics.contains(best) { metrics.insert(best, at: 0) }
    for metric in metrics { try check(metric, among: all) }
    func cells(_ of: ReplicateStatistics?) -> [JSON] {
      guard !isWide else {
        return [of?.mean, of?.deviation, of?.standardError, of?.halfWidth].map(Self.cell)
      }
      guard let of, of.mean.isFinite else { return [.null] }
      return [.string(ReplicateStatistics.text(mean: of.mean, halfWidth: of.halfWidth))]
    }
    let parts = isWide ? ["", ".sd", ".se", ".ci95"] : [""]
    let rows = settings(best: best, largest).map { runs -> [JSON] in
      setting(runs, keys) + [.int(runs.count)]
        + metrics.flatMap { metric in
          cells(ReplicateStatistics(runs.compactMap { $0.number(metric) }))
        }
    }
    return ResultTable(
      columns: ["indices"] + keys + ["n"] + metrics.flatMap { metric in parts.map { metric + $0 } },
      rows: rows)
  }

  /// What a narrow table shows: the metric that it is sorted by, and the main scores.
  private static func shown(_ names: [String], best: String?) -> [String] {
    let main = MainScores.among(names)
    guard let best, !main.contains(best) else { return main }
    return [best] + main
  }

  /// Differences to the best setting over the replicates that both have: their mean, standard error
  /// and 95 % interval.
  package func pairedTable(best: String, largest: Bool? = nil) throws -> ResultTable {
    try check(best, among: metricNames)
    let keys = varyingKeys.filter { !replicateKeys.contains($0) }
    let settings = settings(best: best, largest)
    let columns = ["indices"] + keys + ["pairs", "difference", "se", "ci95_low", "ci95_high"]
    guard let reference = settings.first else { return ResultTable(columns: columns, rows: []) }
    let base = byReplicate(reference, best)
    let rows = settings.dropFirst().map { runs -> [JSON] in
      let own = byReplicate(runs, best)
      let differences = own.compactMap { seed, value in base[seed].map { value - $0 } }
      let of = ReplicateStatistics(differences)
      let ends = [-1.0, 1].map { sign in
        of.flatMap { of in of.halfWidth.map { of.mean + sign * $0 } }
      }
      return setting(runs, keys) + [.int(differences.count)]
        + ([of?.mean, of?.standardError] + ends).map(Self.cell)
    }
    return ResultTable(columns: columns, rows: rows)
  }

  /// The finished runs of each setting, the best first, or in order of the manifest.
  private func settings(best: String?, _ largest: Bool?) -> [[Finished]] {
    let settings = finished.grouped(by: \.entry.groupHash).map(\.elements)
    guard let best else { return settings }
    return sorted(settings, by: best, largest) { runs in
      ReplicateStatistics(runs.compactMap { $0.number(best) })?.mean
    }
  }

  /// The cells that say which setting runs are of.
  private func setting(_ runs: [Finished], _ keys: [String]) -> [JSON] {
    [.string(Chunk.ranges(runs.map(\.entry.index).sorted()))]
      + keys.map { runs[0].entry[$0] ?? .null }
  }

  private static func cell(_ number: Double?) -> JSON { number.map { .number($0) } ?? .null }

  private func byReplicate(_ runs: [Finished], _ metric: String) -> [String: Double] {
    var result: [String: Double] = [:]
    for run in runs {
      let seed = replicateKeys.sorted().map { run.entry[$0]?.compact ?? "" }.joined(separator: ",")
      result[seed] = run.number(metric)
    }
    return result
  }

  /// Runs without the metric come last.
  private func sorted<Row>(
    _ rows: [Row], by metric: String, _ largest: Bool?, _ value: (Row) -> Double?
  ) -> [Row] {
    let largest = largest ?? isHigherBetter(metric)
    return rows.map { ($0, value($0)) }.enumerated().sorted { a, b in
      switch (a.element.1, b.element.1) {
      case (let x?, let y?) where x != y: largest ? x > y : x < y
      case (nil, .some): false
      case (.some, nil): true
      default: a.offset < b.offset
      }
    }.map(\.element.0)
  }

  /// Whether a metric's largest value is the best: as the results say, else by its name.
  func isHigherBetter(_ metric: String) -> Bool {
    let holder = finished.first { $0.result.metrics[path: metric] != nil }
    guard let known = holder?.result.metrics["metrics_info"] else {
      return MainScores.isHigherBetter(metric)
    }
    let parts = metric.split(separator: ".").reversed()
    let own = parts.lazy.compactMap { known[String($0)] }.first
    return own?["direction"]?.stringValue == "higher"
  }

  private func check(_ metric: String, among names: [String]) throws {
    guard !names.contains(metric), !finished.isEmpty else { return }
    let meant = MainScores.meant(by: metric, among: names).map { "; did you mean '\($0)'?" }
    let known =
      names.count <= 12
      ? names.joined(separator: ", ")
      : MainScores.among(names).joined(separator: ", ")
        + " and \(names.count - MainScores.count) more, which collect --format json names"
    throw SweepError.usage(
      "no result has the metric '\(metric)'\(meant ?? "") (there are: \(known))")
  }
}

/// A table of results, of strings and numbers.
package struct ResultTable {
  package let columns: [String]
  /// The rows, each as long as the columns.
  package let rows: [[JSON]]

  package init(columns: [String], rows: [[JSON]]) { (self.columns, self.rows) = (columns, rows) }

  /// Comma-separated values (RFC 4180).
  package var csv: String {
    Self.csvLine(columns.map { .string($0) }) + rows.map(Self.csvLine).joined()
  }

  package static func csvLine(_ cells: [JSON]) -> String {
    TextTable.csvLine(cells.map { $0 == .null ? "" : $0.plainText })
  }

  /// A JSON list with an object a row.
  package var json: String {
    JSON.array(rows.map { row in .object(zip(columns, row).map { JSON.Member($0, $1) }) }).pretty
      + "\n"
  }

  package var markdown: String {
    func cell(_ text: String) -> String {
      text.split(separator: "|", omittingEmptySubsequences: false).joined(separator: "\\|")
        .split(whereSeparator: \.isNewline).joined(separator: " ")
    }
    let lines =
      [columns.map(cell), columns.map { _ in "---" }]
      + rows.map { $0.map { cell(Self.display($0)) } }
    return lines.map { "| " + $0.joined(separator: " | ") + " |\n" }.joined()
  }

  /// Columns padded with spaces, for a terminal.
  package var text: String { TextTable.aligned([columns] + rows.map { $0.map(Self.display) }) }

  /// Six significant digits are what a reader compares.
  static func display(_ cell: JSON) -> String {
    guard case .double(let number) = cell else { return cell == .null ? "" : cell.plainText }
    return JSON.decimal(rounded(number, digits: 6))
  }

  package static func rounded(_ number: Double, digits: Int) -> Double {
    guard number != 0, number.isFinite else { return number }
    var scale = 1.0
    var magnitude = number.magnitude
    while magnitude >= 10 {
      magnitude /= 10
      scale /= 10
    }
    while magnitude < 1 {
      magnitude *= 10
      scale *= 10
    }
    for _ in 1..<digits { scale *= 10 }
    // Dividing by a power of ten is exact where multiplying by its inverse is not.
    return scale >= 1
      ? (number * scale).rounded() / scale : (number * scale).rounded() * (1 / scale)
  }
}
