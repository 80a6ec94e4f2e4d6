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
    let text = RunOutput.json(
      Dictionary(uniqueKeysWithValues: configuration.arguments.map { ($0.name, $0.value) }))
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
      .unwritableFile, file: file, found: found,
      expected: "an empty directory, or the same run",
      advice: "name another --output, or replace what is there with --overwrite")
  }
}
