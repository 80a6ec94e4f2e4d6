/// What the last check said of configurations that were left out, kept so that their status tells.
package enum RefusalRecord {
  private static func path(_ directory: SweepDirectory) -> String {
    "\(directory.path)/refused.json"
  }

  /// Keeps the answers of a check; what it did not ask about stays as it was.
  package static func update(_ directory: SweepDirectory, _ report: CheckReport) throws {
    var reasons = try read(directory)
    let before = reasons
    for index in report.asked { reasons[index] = nil }
    for refusal in report.refusals {
      for index in refusal.indices { reasons[index] = refusal.message }
    }
    guard reasons != before else { return }
    let groups = Dictionary(grouping: reasons.keys) { reasons[$0] ?? "" }
      .map { (message: $0.key, indices: $0.value.sorted()) }
      .sorted { $0.indices[0] < $1.indices[0] }
    let json: JSON = .object([
      "version": 1,
      "refused": .array(
        groups.map {
          .object([
            "indices": .ints($0.indices), "message": .string($0.message),
          ])
        }),
    ])
    try Files.write(json.compact + "\n", to: path(directory))
  }

  /// Why configurations cannot run, by index.
  package static func read(_ directory: SweepDirectory) throws -> [Int: String] {
    guard let text = try Files.text(of: path(directory)) else { return [:] }
    guard let groups = try? JSON.parse(text)["refused"]?.arrayValue else {
      throw SweepError(
        .data, "\(path(directory)): not a record of refused configurations; remove the file")
    }
    var reasons: [Int: String] = [:]
    for group in groups {
      for index in group["indices"]?.ints ?? [] {
        reasons[index] = group["message"]?.stringValue ?? ""
      }
    }
    return reasons
  }
}
