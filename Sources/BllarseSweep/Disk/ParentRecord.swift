/// A tracked run that submissions nest their configurations in.
///
///     parents/0001.json      the run, its configurations, what it was told of them
///     parents/0001-ended/    an empty file for each configuration whose run has ended
///
/// A configuration belongs to the last parent that it was started under.
package struct ParentRecord: Sendable, Equatable {
  package let run: String
  /// Where it is tracked, without credentials.
  package let trackingURI: String
  package let experiment: String
  /// Where its undelivered events are kept.
  package let journal: String
  /// The configurations that were started under it and under no later parent, ascending.
  package var indices: [Int]
  /// Configurations that are to be started under it another time: a limit or a refusal kept them back.
  package var deferred: [Int]
  /// Whether it is somebody else's to end.
  package private(set) var isLeftOpen: Bool
  package private(set) var outcome: ParentOutcome?
  /// What was last logged of its children, as JSON.
  private var summary = ""
  /// How often configurations were added: what a reader of an earlier state says no longer holds.
  private var additions = 0
  private var path = ""

  package init(
    run: String, trackingURI: String, experiment: String, journal: String, indices: [Int],
    deferred: [Int] = [], isLeftOpen: Bool = false
  ) {
    (self.run, self.trackingURI) = (run, trackingURI)
    (self.experiment, self.journal) = (experiment, journal)
    self.indices = indices.sorted()
    self.deferred = deferred.sorted()
    self.isLeftOpen = isLeftOpen
  }

  /// All that it is told of: what was started under it, and what will be.
  package var all: [Int] { (indices + deferred).sorted() }

  /// Keeps the record in the sweep's directory, one for each run, however many submissions it gets; its
  /// configurations are taken from the other parents, and what was told of fewer holds no more.
  package mutating func add(to directory: SweepDirectory) throws {
    let added = Set(all)
    var known: ParentRecord?
    for var record in try Self.all(in: directory) {
      if record.run == run {
        known = record
      } else if !added.isDisjoint(with: record.all) {
        record.indices.removeAll(where: added.contains)
        record.deferred.removeAll(where: added.contains)
        try record.save()
      }
    }
    if var known {
      known.indices = Set(known.indices).union(indices).sorted()
      known.deferred = Set(known.deferred).union(deferred).subtracting(known.indices).sorted()
      known.isLeftOpen = isLeftOpen
      let started = indices
      self = known
      try setReopened()
      return started.forEach(clearEnd)
    }
    let folder = Self.folder(of: directory)
    let number = try SweepDirectory.number(in: folder, after: Files.names(in: folder).count) {
      try Files.create("\(folder)/\($0).json", json.pretty + "\n")
    }
    path = "\(folder)/\(number).json"
  }

  /// Takes back that configurations were started: they were refused.
  package mutating func withdraw(_ refused: [Int]) throws {
    let refused = Set(refused)
    indices.removeAll(where: refused.contains)
    deferred = refused.union(deferred).sorted()
    additions += 1
    try save()
  }

  package mutating func setReopened() throws {
    (outcome, additions) = (nil, additions + 1)
    try save()
  }

  /// Records what the run was told, unless configurations were added meanwhile.
  package mutating func setTold(_ summary: SweepSummary, _ outcome: ParentOutcome?) throws {
    guard let now = try Self.read(path), now.additions == additions else { return }
    (self.outcome, self.summary) = (outcome, summary.text)
    try save()
  }

  private func save() throws { try Files.write(json.pretty + "\n", to: path) }

  package static func all(in directory: SweepDirectory) throws -> [ParentRecord] {
    let folder = folder(of: directory)
    return try Files.names(in: folder).filter { $0.hasSuffix(".json") }
      .compactMap { try read("\(folder)/\($0)") }
  }

  private static func folder(of directory: SweepDirectory) -> String { "\(directory.path)/parents" }

  private static func read(_ path: String) throws -> ParentRecord? {
    guard let text = try Files.text(of: path), let json = try? JSON.parse(text),
      let run = json["run"]?.stringValue
    else { return nil }
    var record = ParentRecord(
      run: run, trackingURI: json["tracking_uri"]?.stringValue ?? "",
      experiment: json["experiment"]?.stringValue ?? "",
      journal: json["journal"]?.stringValue ?? "", indices: json["indices"]?.ints ?? [],
      deferred: json["deferred"]?.ints ?? [], isLeftOpen: json["left_open"]?.boolValue ?? false)
    record.outcome = json["outcome"]?.stringValue.flatMap(ParentOutcome.init(rawValue:))
    record.summary = json["summary"]?.stringValue ?? ""
    record.additions = json["additions"]?.intValue ?? 0
    record.path = path
    return record
  }

  /// The last run that one of some configurations was started under, at a destination: a run that is
  /// resumed stays nested where it is.
  package static func latest(
    of indices: [Int], in directory: SweepDirectory, trackingURI: String, experiment: String
  ) throws -> ParentRecord? {
    let wanted = Set(indices)
    return try all(in: directory).last { record in
      record.trackingURI == trackingURI && record.experiment == experiment
        && !wanted.isDisjoint(with: record.all)
    }
  }

  package static func owner(of index: Int, in directory: SweepDirectory) throws -> ParentRecord? {
    try all(in: directory).last { $0.indices.contains(index) }
  }

  /// How the run ends as its children stand; nil while some are under way.
  package func outcome(_ statuses: [RunStatus], over: Set<Int> = []) -> ParentOutcome? {
    guard !indices.isEmpty else { return nil }
    return ParentOutcome(
      indices.map { index in
        let status = statuses[index]
        let isOver = status.isAbandoned || over.contains(index)
        return [.interrupted, .new].contains(status.state) && isOver ? .cancelled : status.state
      })
  }

  /// How the run should end now; nil while configurations are under way, or when it has ended so.
  package func due(_ statuses: [RunStatus], over: Set<Int> = []) -> ParentOutcome? {
    let outcome = outcome(statuses, over: over)
    return outcome == self.outcome ? nil : outcome
  }

  package func hasLogged(_ summary: SweepSummary) -> Bool { self.summary == summary.text }

  private var json: JSON {
    .object([
      "run": .string(run), "tracking_uri": .string(trackingURI), "experiment": .string(experiment),
      "journal": .string(journal), "indices": .ints(indices), "deferred": .ints(deferred),
      "left_open": .bool(isLeftOpen), "outcome": .optional(outcome?.rawValue),
      "summary": .string(summary), "additions": .int(additions),
    ])
  }

  private var endFolder: String { path.dropLast(5) + "-ended" }

  /// Notes that the run of a configuration has ended, and returns all of whom that is noted.
  ///
  /// Making a file and then listing its folder is what shows at least one of two that end at once the
  /// other's end, on NFS too: the folder's own change makes a node forget what it knew of it.
  package func noteEnd(of index: Int) throws -> Set<Int> {
    try Files.makeDirectory(endFolder)
    try Files.write("", to: "\(endFolder)/\(index)")
    return ended
  }

  package var ended: Set<Int> { Set(Files.names(in: endFolder).compactMap { Int($0) }) }

  /// Claims the right to end the parent, until configurations are added: of several tasks one does it.
  package func claimEnding() throws -> Bool {
    try Files.makeDirectory(endFolder)
    return try Files.create(endingClaim, "")
  }

  package func releaseEnding() { Files.remove(endingClaim) }
  private var endingClaim: String { "\(endFolder)/.ending-\(additions)" }

  /// Takes back that the run of a configuration has ended: it is started again.
  package func clearEnd(of index: Int) { Files.remove("\(endFolder)/\(index)") }
}

extension SweepSummary {
  /// The metrics in one line, the same for the same metrics.
  fileprivate var text: String {
    JSON.object(metrics.sorted { $0.key < $1.key }.map { JSON.Member($0.key, .number($0.value)) })
      .compact
  }
}

/// How a parent run ends.
package enum ParentOutcome: String, Sendable {
  case finished = "FINISHED"
  case failed = "FAILED"
  case killed = "KILLED"

  /// The outcome for a sweep's states; nil while some are under way.
  package init?(_ states: [RunStatus.State]) {
    let open: [RunStatus.State] = [.pending, .running, .interrupted, .new]
    if states.contains(where: open.contains) { return nil }
    let hasFailed = states.contains(.failed) || states.contains(.lost)
    self = hasFailed ? .failed : states.contains(.cancelled) ? .killed : .finished
  }
}

extension SweepDirectory {
  package func parentTags(configurations: [Int], total: Int) throws -> [String: String] {
    let first = try configurations.first.map { try manifest.entry(at: $0) }
    var tags = [
      "sweep_source": source, "sweep_name": name, "is_parent": "true",
      "sweep_size_total": String(total), "sweep_chunk_size": String(configurations.count),
      "sweep_chunk_offset": String(configurations.first ?? 0), "sweep_directory": path,
    ]
    tags["group_id"] = first?["group_id"]?.plainText
    return tags
  }
}

/// What a parent run says from the start: what its children share, and what each axis goes through.
package struct ParentDescription: Sendable, Equatable {
  /// More values of an axis than this are not named one by one.
  static let valueLimit = 20

  /// The value of each key: one that all have, or the axis, `IBProbit, CrossEntropy`.
  package let parameters: [String: String]
  package let text: String

  package init(_ directory: SweepDirectory, indices: [Int]) throws {
    let wanted = Set(indices)
    self.init(
      try directory.manifest.entries().filter { wanted.contains($0.index) }, name: directory.name,
      source: directory.source)
  }

  init(_ entries: [ManifestEntry], name: String, source: String) {
    let values = entries.axes { $0.value != .null }.map { key, members in
      let suffix = members.count == entries.count ? "" : ", or not set"
      return (key: key, text: Self.axis(members.map(\.value).uniqued) + suffix)
    }
    let varying = Set(entries.varyingKeys)
    let axes = values.filter { varying.contains($0.key) }.map { "`\($0.key)` (\($0.text))" }
    parameters = Dictionary(uniqueKeysWithValues: values.map { ($0.key, $0.text) })
    let count = "\(entries.count) configuration\(entries.count == 1 ? "" : "s")"
    text =
      "Sweep `\(name)` of `\(source)`: \(count)"
      + (axes.isEmpty ? "." : " over \(axes.joined(separator: ", ")).")
  }

  /// The values of an axis; of many numbers the range, of many others the first.
  private static func axis(_ values: [JSON]) -> String {
    guard values.count > valueLimit else { return values.map(\.plainText).joined(separator: ", ") }
    let numbers = values.compactMap(\.doubleValue)
    if numbers.count == values.count, let low = numbers.min(), let high = numbers.max() {
      let ends = [low, high].map { JSON.number($0).compact }
      return "\(values.count) values from \(ends[0]) to \(ends[1])"
    }
    return "\(values.count) values: "
      + values.prefix(valueLimit).map(\.plainText).joined(separator: ", ") + ", …"
  }
}

/// What a parent run is told of its children: how many have ended how, and of the scores that a person
/// compares the best value and the mean.
package struct SweepSummary: Sendable, Equatable {
  /// Of so many scores, or numbers where there is none, the best and the mean are told: a dozen metrics.
  static let scoreLimit = 4

  /// `sweep/total`, `sweep/done`, `sweep/failed`; `best/NAME` and `mean/NAME` for each main score.
  package let metrics: [String: Double]
  /// The number of children that had ended well, under which the metrics are logged.
  package let step: Int
  /// When the last of them ended, or zero: the same summary is logged again at the same points.
  package let time: Double

  package init(_ collector: Collector, indices: [Int], states: [RunStatus.State]) {
    let wanted = Set(indices)
    let finished = collector.results.filter { wanted.contains($0.index) }
    var metrics = [
      "sweep/total": Double(indices.count), "sweep/done": Double(finished.count),
      "sweep/failed": Double(indices.count { states[$0] == .failed || states[$0] == .lost }),
    ]
    for (path, name) in Self.mainScores(among: collector.metricNames) {
      let values = finished.compactMap { $0.metrics[path: path]?.doubleValue }.filter(\.isFinite)
      let best = collector.isHigherBetter(path) ? values.max() : values.min()
      guard let best else { continue }
      metrics["best/\(name)"] = best
      metrics["mean/\(name)"] = values.reduce(0, +) / Double(values.count)
    }
    self.metrics = metrics
    step = finished.count
    time = finished.map(\.finished).max() ?? 0
  }

  /// The scores that are told: where each is found, and its name.
  static func mainScores(among names: [String]) -> [(path: String, name: String)] {
    let scores = MainScores.scores(among: names).prefix(scoreLimit)
    guard scores.isEmpty else { return Array(scores) }
    return names.filter { !$0.contains(".") }.prefix(scoreLimit).map { ($0, $0) }
  }
}
