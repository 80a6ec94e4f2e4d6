import BllarseNumerics
import Foundation

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
      calibrating: best.head, on: split, method, execution: execution)
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
    guard let stored = owner.arguments else {
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
