import BllarseNumerics
import Foundation

/// What one epoch of a run measured.
public struct EpochRecord: Sendable, Equatable {
  /// The epoch, counted from 1.
  public var epoch: Int
  /// The step under which metrics are logged: the epoch.
  public var step: Int
  /// Seconds since the run began.
  public var seconds: Double
  /// Everything else, by the name under which it is logged: `loss`, the mean of the training rows, and
  /// `acc`, `nll` and `ece` of the test split; `elbo` where the head has one; `SPLIT_acc` and so on, the
  /// metrics of every split; `seen_examples`.
  public var metrics: [String: Double]

  /// A number by its name; NaN where there is none.
  public subscript(name: String) -> Double { metrics[name] ?? .nan }
}

extension EpochRecord: Codable {
  private enum CodingKeys: String, CodingKey { case epoch, step, seconds }

  /// Reads a line of `metrics.jsonl`.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    epoch = try container.decode(Int.self, forKey: .epoch)
    step = try container.decode(Int.self, forKey: .step)
    seconds = try container.decode(Double.self, forKey: .seconds)
    metrics = try [String: Double](from: decoder).filter { CodingKeys(stringValue: $0.key) == nil }
  }

  /// Writes one object, all numbers beside one another.
  public func encode(to encoder: any Encoder) throws {
    let own: [String: any Encodable] = ["epoch": epoch, "step": step, "seconds": seconds]
    try JSONMembers(own.merging(metrics) { own, _ in own }).encode(to: encoder)
  }
}

/// The figures of one split of several.
public struct NamedScores: Sendable, Equatable {
  /// The split's name.
  public var split: String
  /// Its figures.
  public var scores: SplitScores
}

extension [NamedScores] {
  /// The figures by the names of their splits.
  var byName: [String: SplitScores] {
    Dictionary(uniqueKeysWithValues: map { ($0.split, $0.scores) })
  }
}

/// What a run took, in seconds.
public struct RunSeconds: Sendable, Equatable, Codable {
  /// Reading and checking the data, the backbone, fitting the head, predicting and scoring.
  public var load = 0.0, features = 0.0, fit = 0.0, evaluate = 0.0
  /// From the first to the last.
  public var total = 0.0
}

/// What `result.json` holds.
public struct RunResult: Sendable, Equatable, Encodable {
  /// The figures of the training split and of the test split.
  public let train, test: SplitScores
  /// The figures of every split, in the data set's order.
  public let splits: [NamedScores]
  /// Which split is which.
  public var roles: SplitRoles
  /// The figures of every split under the backbone's own classifier, before a head is fitted, where it
  /// has one of these classes.
  public var baseline: [NamedScores]?
  /// Whether a head was fitted; otherwise all figures are those of the backbone's own classifier.
  public var hasHead = true
  /// The figures of the splits before ``calibration``, by name, where there is one.
  public var uncalibrated: [String: SplitScores]?
  /// What `--calibration` fitted to the validation split, where it was asked to.
  public var calibration: CalibrationReport?
  /// Temperatures that were fitted to parts of the test split, where that was asked for.
  public var temperatureScaling: [TemperatureScaling.Row]?
  /// Why the run failed, where it did after its head was fitted: a score that is not a number.
  ///
  /// Head and result are written to be looked at.
  public var failure: String?
  /// Where the time went.
  public var seconds: RunSeconds
  /// The most memory that the process had resident until the end of the run, in bytes.
  public var peakBytes: Int?
  /// The threads that it took them with.
  public var threads: Int
  /// The evidence lower bound of the training rows, in nats, where the head has one; for a head whose
  /// prior comes from the evidence, Laplace's approximation to the logarithm of the evidence itself.
  public var elbo: Double?
  /// The iterations of the fit, over all batches and epochs.
  public var iterations = 0
  /// Bounds on the distance of the bound to its maximum, in nats, after a converged fit.
  public var certificate: GapCertificate?
  /// The best epoch on the validation split, where there is one.
  public var best: BestEpoch?
  /// What was chosen and why, for heads that choose.
  public var recipe: LaplaceReport?
  /// What a fit chose where options left it to the data, by name.
  var chosenNumbers: [String: Double] = [:]
  /// The scores of training rows, each predicted by a fit that left it out, where target values are predicted.
  public var leftOut: [String: Double]?
  /// More scores, calibration and uncertainty.
  public var metrics: RunMetrics?
  /// The options of the run.
  public let arguments: [String: ArgumentValue]
  /// What the user was told of the data and of the fit, a line each.
  public var notes: [String] = []
  /// A short text that tells the training rows from others, for a run with an output directory.
  public var data: String?
  /// The versions of what took part.
  public let versions = Versions.current

  /// The figures of all splits, and nothing else yet.
  init(
    _ scores: SplitEvaluations, _ configuration: RunConfiguration, seconds: RunSeconds, threads: Int
  ) {
    (train, test, splits, roles) = (scores.train, scores.test, scores.scores, scores.roles)
    arguments = configuration.argumentsByName
    (self.seconds, self.threads) = (seconds, threads)
  }
}

extension RunResult {
  /// Writes every key but `failure`, which only a failed run has; what a head does not have is `null`.
  public func encode(to encoder: any Encoder) throws {
    let names = Set(numbers.flatMap(\.path))
    let metrics = Metric.all.filter { names.contains($0.name) }
    let information = Dictionary(
      uniqueKeysWithValues: metrics.map {
        ($0.name, ["direction": $0.direction?.rawValue, "unit": $0.unit])
      })
    try JSONMembers(members.merging(["metrics_info": information]) { $1 }).encode(to: encoder)
  }

  /// What the file holds, by key, but for what is known of its metrics.
  private var members: [String: any Encodable] {
    var members: [String: any Encodable] = [
      "estimate": recipe?.estimate, "train": train, "test": test, "splits": splits.byName,
      "roles": roles, "baseline": baseline?.byName, "uncalibrated": uncalibrated,
      "calibration": calibration, "temperature_scaling": temperatureScaling, "seconds": seconds,
      "memory": peakBytes.map { ["peak_bytes": $0] }, "threads": threads, "elbo": elbo,
      "iterations": iterations, "certificate": certificate,
      "best": best, "recipe": recipe, "metrics": metrics,
      "chosen": chosen.map { chosen in
        chosen.numbers.mapValues(ArgumentValue.number)
          .merging(chosen.words.mapValues(ArgumentValue.text)) { number, _ in number }
      },
      "arguments": arguments, "notes": notes, "data": data, "versions": versions,
    ]
    if let leftOut { members["estimate"] = leftOut }
    if let failure { members["failure"] = failure }
    return members
  }

  /// The values that were chosen where options left them to the data, by name; `nil` where none was.
  public var chosen: (numbers: [String: Double], words: [String: String])? {
    var numbers = chosenNumbers
    var words: [String: String] = [:]
    if let recipe {
      words["posterior"] = recipe.posterior.rawValue
      words["scaling"] = recipe.scaling.rawValue
      words["likelihood"] = recipe.likelihood.rawValue
      numbers["prior_precision"] = recipe.priorPrecision
      numbers["temperature"] = 1 / recipe.inverseTemperature
    }
    words["calibration"] = calibration?.method
    // A head that has a temperature of its own keeps it, and this one comes after it.
    if numbers["temperature"] == nil {
      numbers["temperature"] = calibration?.inverseTemperature.map { 1 / $0 }
    }
    numbers = numbers.filter(\.value.isFinite)
    return numbers.isEmpty && words.isEmpty ? nil : (numbers, words)
  }

  /// A number of the result, and where it stands.
  typealias Number = (path: [String], value: Double)

  /// Every number of the file, NaN and infinities among them, with its path; objects of a list are known
  /// by method and level, or by their place.
  var numbers: [Number] {
    guard let json = try? JSON.parse(RunOutput.json(JSONMembers(members))) else { return [] }
    var numbers: [Number] = []
    func visit(_ json: JSON, _ path: [String]) {
      switch json {
      case .int(let value): numbers.append((path, Double(value)))
      case .double(let value): numbers.append((path, value))
      case .string("NaN"): numbers.append((path, .nan))
      case .string("Infinity"): numbers.append((path, .infinity))
      case .string("-Infinity"): numbers.append((path, -.infinity))
      case .object(let members): for member in members { visit(member.value, path + [member.key]) }
      case .array(let elements):
        for (place, value) in elements.enumerated() {
          if case .string(let method)? = value["method"], case .double(let level)? = value["level"]
          {
            visit(value, path + [method, "\(level)"])
          } else {
            visit(value, path + ["\(place)"])
          }
        }
      default: break
      }
    }
    visit(json, [])
    return numbers
  }

  /// The bins of the reliability diagram, as JSON.
  public var reliabilityText: String? {
    metrics?.reliability.map { RunOutput.json($0, pretty: true) + "\n" }
  }

  /// Everything that a tracker logs once, at the end: each metric of the test and the training rows, of
  /// intervals, conformal sets, out-of-distribution rows, calibration and the estimate, and what the fit
  /// chose and took.
  ///
  /// Names are those of `result.json` (`estimate.nll`, `conformal.lac.0.9.coverage`) without the `metrics.`
  /// in front.
  public var trackedMetrics: [String: Double] {
    let parts: Set = [
      "estimate", "train", "test", "uncalibrated", "calibration", "chosen", "seconds", "memory",
      "metrics",
    ]
    let known = Set(Metric.all.map(\.name))
    var tracked: [String: Double] = [:]
    let names = Self.trackedNames(
      of: [String](metrics?.labels?.keys ?? [:].keys) + [String](metrics?.targets?.keys ?? [:].keys)
    )
    for (path, value) in numbers
    where parts.contains(path[0]) && path.contains(where: known.contains) {
      var path = path
      if path.count > 2, ["labels", "targets"].contains(path[1]) {
        path[2] = names[path[2]] ?? path[2]
      }
      tracked[path.drop { $0 == "metrics" }.joined(separator: ".")] = value
    }
    tracked["best_epoch"] = best.map { Double($0.epoch) }
    tracked["calibration.range_low"] = calibration?.range.first
    tracked["calibration.range_high"] = calibration?.range.last
    for summary in TemperatureScalingSummary.summaries(temperatureScaling ?? []) {
      let prefix = "temperature_scaling.\(summary.source).\(summary.testFraction)"
      for spread in summary.spreads {
        tracked["\(prefix).\(spread.name)"] = spread.mean
        tracked["\(prefix).\(spread.name)_std"] = spread.deviation
      }
    }
    return tracked
  }
}

extension RunResult {
  /// Names of labels or targets as trackers take them in the name of a metric: other characters than letters, digits,
  /// spaces, "_", "-" and "." become "_", and two that are the same then are numbered.
  static func trackedNames(of names: [String]) -> [String: String] {
    var (tracked, taken): ([String: String], Set<String>) = ([:], [])
    for name in names.sorted() {
      let scalars = name.unicodeScalars.prefix(100).map { scalar -> Unicode.Scalar in
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .otherLetter, .decimalNumber: scalar
        default: " -.".unicodeScalars.contains(scalar) ? scalar : "_"
        }
      }
      let clean = String(String.UnicodeScalarView(scalars))
      var (own, count) = (clean, 1)
      while !taken.insert(own).inserted {
        count += 1
        own = "\(clean)_\(count)"
      }
      tracked[name] = own
    }
    return tracked
  }
}

/// An object of a JSON text, its members in any order; what is `nil` is `null`.
struct JSONMembers: Encodable {
  private struct Name: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  private let members: [String: any Encodable]
  init(_ members: [String: any Encodable]) { self.members = members }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: Name.self)
    for (name, value) in members { try container.encode(value, forKey: Name(stringValue: name)) }
  }
}

/// What a run's calibration is, for its result.
public struct CalibrationReport: Sendable, Equatable, Encodable {
  /// What stands, and what was asked for: "temperature", "vector" or "isotonic".
  public let method, requested: String
  /// Why ``method`` stands, in a clause; `nil` where a temperature was asked for.
  public var reason: String?
  /// How left-out rows were predicted by what was asked for and by temperatures; `nil` where a temperature
  /// was asked for, and where no row could be left out.
  public var leftOut: CalibrationChoice.LeftOutLosses?
  /// The split whose rows it was fitted to.
  public var split: String
  /// The number of those rows.
  public var rows: Int
  /// The factor of the log-probabilities, of a temperature.
  public var inverseTemperature: Double?
  /// Each class's factor of its log-probability, and its shift, of a vector.
  public var scales, shifts: [Double]?
  /// The log-odds at which each class's map is given, and those there after it, of isotonic regressions.
  public var knots, values: [[Double]]?
  /// How many numbers were fitted.
  public var parameters: Int
  /// The smallest and the largest of what the predictions were changed by: factors of log-probabilities of a
  /// temperature or a vector, differences of log-odds of isotonic regressions.
  public var range: [Double]

  enum CodingKeys: String, CodingKey {
    case method, requested, reason, split, rows, scales, shifts, knots, values, parameters, range
    case leftOut = "left_out"
    case inverseTemperature = "inverse_temperature"
  }

  init(_ choice: CalibrationChoice, split: String, rowCount: Int) {
    let calibration = choice.calibration
    method = calibration.kind
    requested = choice.requested.rawValue
    (reason, leftOut) = (choice.reason, choice.leftOut)
    self.split = split
    rows = rowCount
    switch calibration {
    case .none: (parameters, range) = (0, [])
    case .temperature(let beta):
      inverseTemperature = beta
      (parameters, range) = (1, [beta, beta])
    case .vector(let scales, let shifts):
      (self.scales, self.shifts) = (scales, shifts)
      parameters = scales.count + shifts.count
      range = [scales.min() ?? 1, scales.max() ?? 1]
    case .isotonic(let functions):
      knots = functions.map(\.knots)
      values = functions.map(\.values)
      parameters = functions.reduce(0) { $0 + $1.values.count }
      let changes = functions.flatMap { zip($0.values, $0.knots).map { $0 - $1 } }
      range = [changes.min() ?? 0, changes.max() ?? 0]
    }
  }
}

/// The output directory of a run: `metrics.jsonl`, `head.safetensors`, `best.safetensors`, `result.json`
/// and `checkpoint.safetensors`.
///
/// What an earlier run left there stays until this one has something to write, and then goes all at once.
package final class RunOutput {
  let directory: String
  private var lines = ""
  /// Whether what is in the directory is this run's.
  private var isOwn: Bool
  /// Whether an earlier run was there, and this one does not go on with it.
  private let replacesRun: Bool

  /// Makes the directory, and finds out now whether it can be written.
  ///
  /// The files that are there may belong to what will be written, or to this run, which was started before.
  init(directory: String, isOwn: Bool, resumes: Bool = false) throws(DataError) {
    (self.directory, self.isOwn) = (directory, isOwn)
    replacesRun = !isOwn && !resumes && OutputOwner(of: directory) != nil
    try Files.prepareDirectory(directory)
    removeTemporaries()
  }

  /// Removes the files of an earlier run, once, now that there is something to put in their place.
  func begin() {
    guard !isOwn else { return }
    isOwn = true
    var names = Self.names + ["evaluation.json"]
    // Without an earlier run it is this one's.
    if replacesRun { names.append("mlflow_run_id") }
    for name in names { try? FileManager.default.removeItem(atPath: path(name)) }
  }

  private static let names = [
    RunCheckpoint.fileName, "best.safetensors", "metrics.jsonl", "head.safetensors", "result.json",
  ]

  func path(_ name: String) -> String { directory + "/" + name }

  /// Adds a line to `metrics.jsonl`.
  func append(_ record: EpochRecord) throws(DataError) {
    begin()
    lines += Self.json(record, pretty: false) + "\n"
    try write(lines, to: "metrics.jsonl")
  }

  func write(_ checkpoint: HeadCheckpoint) throws(DataError) {
    begin()
    try checkpoint.write(to: path("head.safetensors"))
  }

  /// The head of the best epoch so far.
  func writeBest(_ checkpoint: HeadCheckpoint) throws(DataError) {
    try checkpoint.write(to: path("best.safetensors"))
  }

  /// Gives the head of the best epoch a map of its own.
  ///
  /// - Throws: `DataError` when its predictions are not numbers, or the file cannot be read or written.
  func calibrateBest(
    _ method: HeldOutCalibration.Method, on split: FeatureSplit, execution: Execution
  ) throws {
    let path = path("best.safetensors")
    guard Files.exists(path) else { return }
    var best = try HeadCheckpoint(path: path)
    best.head = try CalibratedHead(
      calibrating: try best.head.classifier(), on: split, method, execution: execution)
    try writeBest(best)
  }

  /// Takes up the run that is there, with the lines of the epochs before.
  func resume(_ records: [EpochRecord]) throws(DataError) {
    isOwn = true
    lines = records.map { Self.json($0, pretty: false) + "\n" }.joined()
    try write(lines, to: "metrics.jsonl")
  }

  /// Removes what writes that were killed left under temporary names.
  private func removeTemporaries() {
    let files = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    for file in files where Self.names.contains(where: { file.hasPrefix(".\($0).tmp-") }) {
      try? FileManager.default.removeItem(atPath: path(file))
    }
  }

  func write(_ result: RunResult) throws(DataError) {
    begin()
    // A head that an earlier run left is not that of a run which fitted none.
    if !result.hasHead { try? FileManager.default.removeItem(atPath: path("head.safetensors")) }
    try write(Self.json(result, pretty: true) + "\n", to: "result.json")
  }

  func write(_ text: String, to name: String) throws(DataError) {
    try Files.write(text, to: path(name), durability: .whole)
  }

  /// JSON with sorted keys; numbers that are not finite become texts.
  package static func json(_ value: some Encodable, pretty: Bool = false) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = pretty ? [.sortedKeys, .prettyPrinted] : [.sortedKeys]
    encoder.outputFormatting.insert(.withoutEscapingSlashes)
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
    guard let data = try? encoder.encode(value) else { return "{}" }
    return String(decoding: data, as: UTF8.self)
  }

  /// A value from JSON that ``json(_:pretty:)`` wrote, or `nil`.
  package static func decode<Value: Decodable>(_ type: Value.Type, from text: String) -> Value? {
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
    return try? decoder.decode(type, from: Data(text.utf8))
  }
}

/// The run whose files an output directory holds already.
///
/// A directory belongs to one run: the files of two, mixed, are of none. Who an earlier one was stands in
/// its `result.json`, its checkpoint or its head, whichever it came to.
struct OutputOwner {
  /// The file that tells.
  let file: String
  /// The options that the run was started with; `nil` where the file does not tell.
  let arguments: [String: ArgumentValue]?
  /// The fingerprint of its training rows, where it is known.
  let data: String?

  private struct StoredResult: Decodable {
    let arguments: [String: ArgumentValue]
    let data: String?
  }

  /// Finds the run; `nil` for a directory that is not there, or holds none.
  init?(of directory: String) {
    let result = directory + "/result.json"
    if Files.exists(result) {
      file = result
      let text = (try? MappedFile(path: result))?.withBytes { String(decoding: $0, as: UTF8.self) }
      let stored = text.flatMap { RunOutput.decode(StoredResult.self, from: $0) }
      (arguments, data) = (stored?.arguments, stored?.data)
      return
    }
    for name in [RunCheckpoint.fileName, "head.safetensors"] {
      let path = directory + "/" + name
      guard Files.exists(path) else { continue }
      file = path
      let metadata = (try? SafetensorsFile(path: path))?.metadata
      arguments = metadata?["arguments"].flatMap {
        RunOutput.decode([String: ArgumentValue].self, from: $0)
      }
      data = metadata?["data"]
      return
    }
    return nil
  }

  /// Refuses a directory that holds another run, unless it is to be replaced.
  ///
  /// A run that goes on is compared with its checkpoint, which says more.
  ///
  /// - Throws: `DataError` that names the first option that differs.
  static func check(_ configuration: RunConfiguration) throws(DataError) {
    guard let directory = configuration.output.path, !configuration.output.overwrites,
      let owner = OutputOwner(of: directory),
      !configuration.output.resumes || !Files.exists(directory + "/" + RunCheckpoint.fileName)
    else { return }
    // In the same form: a number without a fraction is an integer in JSON.
    let text = RunOutput.json(configuration.argumentsByName)
    let given = RunOutput.decode([String: ArgumentValue].self, from: text) ?? [:]
    guard let stored = owner.arguments?.inPresentWords else {
      throw owner.refusal("the file is not a run's of bllarse, or damaged")
    }
    guard stored != given else { return }
    // What tells runs apart comes before what follows from it.
    let names =
      ["features", "dataset", "loss_fn", "update", "optimizer", "seed"]
      + Set(stored.keys).union(given.keys).sorted()
    let name = names.first { stored[$0] != given[$0] } ?? "arguments"
    func value(_ arguments: [String: ArgumentValue]) -> String {
      arguments[name].map { "\(name) = \($0)" } ?? "no \(name)"
    }
    throw owner.refusal(
      "the directory holds a run of something else, with \(value(stored)); this one has \(value(given))"
    )
  }

  /// Refuses a directory that holds a run with the same options on other rows.
  func check(data fingerprint: String) throws(DataError) {
    guard let data, data != fingerprint else { return }
    throw refusal(
      "the directory holds a run on other training rows (\(data)); this one has \(fingerprint)")
  }

  private func refusal(_ found: String) -> DataError {
    DataError(
      .unwritableFile, file: file, found: found, expected: "an empty directory, or the same run",
      advice: "name another --output, or replace what is there with --overwrite")
  }
}

extension [String: ArgumentValue] {
  /// The same, with values of options by the names that they have now.
  var inPresentWords: Self {
    var result = self
    for option in HeadRegistry.methods.flatMap(\.ways).flatMap(\.options) {
      if case .text(let text)? = self[option.info.recordedName], option.accepts(text) {
        result[option.info.recordedName] = option.recorded(text)
      }
    }
    return result
  }
}
