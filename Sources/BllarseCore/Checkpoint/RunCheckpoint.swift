/// A run that can go on: the trainer's whole state, and how far it had come.
///
/// One file, `checkpoint.safetensors`, replaced in one step, so that a run that is killed at any moment
/// leaves the state before or after. The format is version 1: the metadata entries `format`
/// ("bllarse-run"), `format_version`, `arguments` and `progress` (JSON objects), `data` (a fingerprint of
/// the training rows) and `crc32` (of everything else); tensors and further entries are the trainer's.
struct RunCheckpoint {
  static let fileName = "checkpoint.safetensors"
  static let formatVersion = 1

  var arguments, data: String
  var progress: RunProgress

  /// Writes a checkpoint in one step.
  ///
  /// - Throws: `DataError.Code.unwritableFile`.
  func write(_ trainer: any HeadTrainer, to path: String) throws(DataError) {
    var writer = SafetensorsWriter(metadata: [
      "format": "bllarse-run", "format_version": String(Self.formatVersion),
      "arguments": arguments, "data": data, "progress": RunOutput.json(progress),
    ])
    trainer.encode(into: &writer)
    var checksum = CRC32()
    checksum.add(writer.metadata)
    try writer.forEachPiece { checksum.update($0) }
    writer.metadata["crc32"] = checksum.text
    try writer.write(to: path)
  }

  /// Reads a checkpoint, and makes sure that it is whole and of the run that has these options and rows now.
  ///
  /// - Throws: `DataError`: another kind of file, a newer format, damage, other arguments, other data.
  init(reading file: SafetensorsFile, arguments: String, data: String) throws(DataError) {
    try DataError.require(
      try file.metadata("format") == "bllarse-run", .wrongType, file: file.path,
      key: "metadata format", found: "the file holds no state of a run", expected: "bllarse-run",
      advice: "give --resume the output directory of a run")
    let version = try file.metadata("format_version")
    try DataError.require(
      version == String(Self.formatVersion), .wrongType, file: file.path,
      key: "metadata format_version", found: "the version is \(version.quoted())",
      expected: "\(Self.formatVersion)", advice: "resume with the version of bllarse that wrote it")
    try Self.verify(file)
    let stored = try file.metadata("arguments")
    let decoded = RunOutput.decode([String: ArgumentValue].self, from: stored)
    self.arguments =
      stored == arguments ? stored : decoded.map { RunOutput.json($0.inPresentWords) } ?? stored
    self.data = try file.metadata("data")
    guard self.arguments == arguments else {
      throw Self.otherArguments(file, stored: self.arguments, given: arguments)
    }
    try DataError.require(
      self.data == data, .wrongType, file: file.path, key: "metadata data",
      found: "the run was started on other training rows (\(self.data))", expected: data,
      advice: "give the data of the first start, or another --output")
    let text = try file.metadata("progress")
    guard let progress = RunOutput.decode(RunProgress.self, from: text) else {
      throw DataError(
        .malformedFile, file: file.path, key: "metadata progress",
        found: "the entry is \(text.quoted())", expected: "the progress of a run as JSON")
    }
    self.progress = progress
  }

  init(arguments: String, data: String, progress: RunProgress) {
    (self.arguments, self.data, self.progress) = (arguments, data, progress)
  }

  private static func verify(_ file: SafetensorsFile) throws(DataError) {
    var metadata = file.metadata
    let stored = try file.metadata("crc32")
    metadata["crc32"] = nil
    var checksum = CRC32()
    checksum.add(metadata)
    for tensor in file.tensors {
      checksum.add(tensor.name)
      checksum.update(try file.stored(tensor.name).bytes)
    }
    try DataError.require(
      checksum.text == stored, .malformedFile, file: file.path, key: "metadata crc32",
      found: "the content has the checksum \(checksum.text)", expected: stored,
      advice: "the checkpoint is damaged: remove it and start the run again")
  }

  /// Names the first option that differs.
  private static func otherArguments(
    _ file: SafetensorsFile, stored: String, given: String
  ) -> DataError {
    let old = RunOutput.decode([String: ArgumentValue].self, from: stored) ?? [:]
    let new = RunOutput.decode([String: ArgumentValue].self, from: given) ?? [:]
    let name = Set(old.keys).union(new.keys).sorted().first { old[$0] != new[$0] } ?? "arguments"
    return DataError(
      .wrongType, file: file.path, key: name,
      found: "the run was started with \(old[name]?.description ?? "no such option")",
      expected: "\(new[name]?.description ?? "no such option"), as now",
      advice: "resume with the options of the first start, or give another --output")
  }
}

extension CRC32 {
  fileprivate mutating func add(_ text: String) {
    Array(text.utf8).withUnsafeBytes { update($0) }
  }

  fileprivate mutating func add(_ metadata: [String: String]) {
    for (key, text) in metadata.sorted(by: { $0.key < $1.key }) { add(key + "\u{0}" + text) }
  }
}
