/// A tracked run that a submission made for its configurations to be nested in.
public struct ParentRecord: Sendable, Equatable {
  /// The run's id.
  public let run: String
  /// Where it is tracked, without credentials.
  public let trackingURI: String
  /// The experiment it belongs to.
  public let experiment: String
  /// Where its undelivered events are kept.
  public let journal: String
  /// The configurations of its submissions, ascending.
  public private(set) var indices: [Int]
  /// How it was last ended.
  public private(set) var outcome: ParentOutcome?
  /// What was last logged of its children, as JSON.
  private var summary = ""
  private var path = ""

  /// Makes a record.
  public init(
    run: String, trackingURI: String, experiment: String, journal: String, indices: [Int]
  ) {
    self.run = run
    self.trackingURI = trackingURI
    self.experiment = experiment
    self.journal = journal
    self.indices = indices.sorted()
  }

  /// Keeps the record in the sweep's directory: one for each run, however many submissions it gets.
  public mutating func add(to directory: SweepDirectory) throws {
    if var known = try Self.all(in: directory).first(where: { $0.run == run }) {
      known.indices = Set(known.indices).union(indices).sorted()
      // What was told of fewer children holds no more.
      known.outcome = nil
      self = known
      return try Files.write(json.pretty + "\n", to: path)
    }
    let folder = "\(directory.path)/parents"
    try Files.makeDirectory(folder)
    var number = Files.names(in: folder).count + 1
    while try !Files.create(
      "\(folder)/\(SweepDirectory.fourDigits(number)).json", json.pretty + "\n")
    {
      number += 1
    }
    path = "\(folder)/\(SweepDirectory.fourDigits(number)).json"
  }

  /// The records of a sweep.
  public static func all(in directory: SweepDirectory) throws -> [ParentRecord] {
    let folder = "\(directory.path)/parents"
    return try Files.names(in: folder).compactMap { name in
      guard let text = try Files.text(of: "\(folder)/\(name)"),
        let json = try? JSON.parse(text), let run = json["run"]?.stringValue
      else { return nil }
      var record = ParentRecord(
        run: run, trackingURI: json["tracking_uri"]?.stringValue ?? "",
        experiment: json["experiment"]?.stringValue ?? "",
        journal: json["journal"]?.stringValue ?? "",
        indices: json["indices"]?.arrayValue?.compactMap(\.intValue) ?? [])
      record.outcome = json["outcome"]?.stringValue.flatMap(ParentOutcome.init(rawValue:))
      record.summary = json["summary"]?.stringValue ?? ""
      record.path = "\(folder)/\(name)"
      return record
    }
  }

  /// The last run that one of some configurations was started under, at a destination.
  ///
  /// A run that is resumed stays nested where it is, so what goes on goes on under the same parent.
  public static func latest(
    of indices: [Int], in directory: SweepDirectory, trackingURI: String, experiment: String
  ) throws -> ParentRecord? {
    let wanted = Set(indices)
    return try all(in: directory).last { record in
      record.trackingURI == trackingURI && record.experiment == experiment
        && record.indices.contains(where: wanted.contains)
    }
  }

  /// How the run should end now; nil while configurations are under way, or when it has ended so.
  public func due(_ statuses: [RunStatus]) -> ParentOutcome? {
    let outcome = ParentOutcome(indices.map { statuses[$0].state })
    return outcome == self.outcome ? nil : outcome
  }

  /// Whether the run knows of this already.
  public func hasLogged(_ summary: SweepSummary) -> Bool { self.summary == summary.text }

  /// Records what the run was told.
  ///
  /// - Parameters:
  ///   - summary: what was logged.
  ///   - outcome: how it ended; nil when it goes on.
  /// - Throws: ``SweepError`` when the file cannot be written.
  public mutating func setTold(_ summary: SweepSummary, _ outcome: ParentOutcome?) throws {
    self.outcome = outcome
    self.summary = summary.text
    try Files.write(json.pretty + "\n", to: path)
  }

  private var json: JSON {
    .object([
      "run": .string(run), "tracking_uri": .string(trackingURI),
      "experiment": .string(experiment), "journal": .string(journal),
      "indices": .array(indices.map { .int($0) }), "outcome": .optional(outcome?.rawValue),
      "summary": .string(summary),
    ])
  }
}

extension SweepSummary {
  /// The metrics in one line, the same for the same metrics.
  fileprivate var text: String {
    JSON.object(
      metrics.sorted { $0.key < $1.key }.map { JSON.Member($0.key, .number($0.value)) }
    ).compact
  }
}
