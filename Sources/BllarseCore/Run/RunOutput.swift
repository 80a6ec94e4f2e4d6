import Foundation

/// The output directory of a run: `metrics.jsonl`, `head.safetensors`, `best.safetensors`, `result.json`
/// and `checkpoint.safetensors`.
final class RunOutput {
  let directory: String
  private var lines = ""

  /// Makes the directory, and finds out now whether it can be written.
  ///
  /// - Parameters:
  ///   - directory: the directory.
  ///   - metrics: whether to begin an empty `metrics.jsonl`.
  /// - Throws: `DataError.Code.unwritableFile`.
  init(directory: String, metrics: Bool = true) throws(DataError) {
    self.directory = directory
    do {
      try FileManager.default.createDirectory(
        atPath: directory, withIntermediateDirectories: true)
    } catch {
      throw DataError(
        .unwritableFile, file: directory, found: "the output directory cannot be made",
        advice: "name a directory that you may write with --output")
    }
    removeTemporaries()
    if metrics {
      // A new run: what an earlier one could have been resumed from must not be taken for its own.
      for name in [RunCheckpoint.fileName, "best.safetensors"] {
        try? FileManager.default.removeItem(atPath: path(name))
      }
      try AtomicFile(path: path("metrics.jsonl")).commit()
    }
  }

  func path(_ name: String) -> String { directory + "/" + name }

  /// Adds a line to `metrics.jsonl`.
  func append(_ record: EpochRecord) throws(DataError) {
    lines += Self.json(record, pretty: false) + "\n"
    try write(lines, to: "metrics.jsonl")
  }

  func write(_ checkpoint: HeadCheckpoint) throws(DataError) {
    try checkpoint.write(to: path("head.safetensors"))
  }

  /// The head of the best epoch so far.
  func writeBest(_ checkpoint: HeadCheckpoint) throws(DataError) {
    try checkpoint.write(to: path("best.safetensors"))
  }

  /// Takes up the lines of the epochs before.
  func resume(_ records: [EpochRecord]) throws(DataError) {
    lines = records.map { Self.json($0, pretty: false) + "\n" }.joined()
    try write(lines, to: "metrics.jsonl")
  }

  /// Removes what writes that were killed left under temporary names.
  private func removeTemporaries() {
    let names = [
      "metrics.jsonl", "head.safetensors", "best.safetensors", "result.json",
      RunCheckpoint.fileName,
    ]
    let files = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
    for file in files where names.contains(where: { file.hasPrefix(".\($0).tmp-") }) {
      try? FileManager.default.removeItem(atPath: path(file))
    }
  }

  func write(_ result: RunResult) throws(DataError) {
    try write(Self.json(result, pretty: true) + "\n", to: "result.json")
  }

  /// The result of a run that fitted no head: one that an earlier run left is not its own.
  func writeWithoutHead(_ result: RunResult) throws(DataError) {
    try? FileManager.default.removeItem(atPath: path("head.safetensors"))
    try write(result)
  }

  func write(_ text: String, to name: String) throws(DataError) {
    let file = try AtomicFile(path: path(name))
    try file.write(Array(text.utf8))
    try file.commit()
  }

  /// JSON with sorted keys; numbers that are not finite become texts.
  static func json(_ value: some Encodable, pretty: Bool = false) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = pretty ? [.sortedKeys, .prettyPrinted] : [.sortedKeys]
    encoder.outputFormatting.insert(.withoutEscapingSlashes)
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
    guard let data = try? encoder.encode(value) else { return "{}" }
    return String(decoding: data, as: UTF8.self)
  }

  /// A value from JSON that ``json(_:pretty:)`` wrote, or `nil`.
  static func decode<Value: Decodable>(_ type: Value.Type, from text: String) -> Value? {
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
    return try? decoder.decode(type, from: Data(text.utf8))
  }
}
