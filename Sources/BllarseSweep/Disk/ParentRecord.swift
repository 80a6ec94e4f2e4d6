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
  /// The configurations of the submission.
  public let indices: [Int]
  /// How it was last ended.
  public var outcome: ParentOutcome?
  private var path = ""

  /// Makes a record.
  public init(
    run: String, trackingURI: String, experiment: String, journal: String, indices: [Int]
  ) {
    self.run = run
    self.trackingURI = trackingURI
    self.experiment = experiment
    self.journal = journal
    self.indices = indices
  }

  /// Keeps the record in the sweep's directory.
  public mutating func add(to directory: SweepDirectory) throws {
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
      record.path = "\(folder)/\(name)"
      return record
    }
  }

  /// How the run should end now; nil while configurations are under way, or when it has ended so.
  public func due(_ statuses: [RunStatus]) -> ParentOutcome? {
    let outcome = ParentOutcome(indices.map { statuses[$0].state })
    return outcome == self.outcome ? nil : outcome
  }

  /// Records that the run has ended.
  public mutating func setOutcome(_ outcome: ParentOutcome) throws {
    self.outcome = outcome
    try Files.write(json.pretty + "\n", to: path)
  }

  private var json: JSON {
    .object([
      "run": .string(run), "tracking_uri": .string(trackingURI),
      "experiment": .string(experiment), "journal": .string(journal),
      "indices": .array(indices.map { .int($0) }), "outcome": .optional(outcome?.rawValue),
    ])
  }
}
