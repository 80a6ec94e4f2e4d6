/// The checksums of a program, and of the script that it reads, as a submission recorded them.
package struct ProgramRecord: Sendable, Equatable {
  package var program: String?
  /// Of a script after an interpreter; nil where there is none.
  package var script: String?

  /// The record of the submission that this process belongs to, else of the last one; nil where none
  /// was recorded of a program of this name.
  static func submitted(_ name: String, in directory: SweepDirectory) -> ProgramRecord? {
    let folder = "\(directory.path)/provenance"
    var files = Array(Files.names(in: folder).filter { $0.hasSuffix(".json") }.reversed())
    if let own = Host.variable(numberName), Host.variable("BLLARSE_SWEEP_DIR") == directory.path {
      files = ["\(own).json"]
    }
    for file in files {
      guard let program = JSON(file: "\(folder)/\(file)")?["program"],
        let path = program["command"]?.arrayValue?.first?.stringValue, Files.name(of: path) == name,
        let sum = program["sha256"]?.stringValue
      else { continue }
      return ProgramRecord(program: sum, script: program["script_sha256"]?.stringValue)
    }
    return nil
  }

  /// The number of the sweep's last record, for the tasks of a submission.
  static func lastNumber(in directory: SweepDirectory) -> String? {
    Files.names(in: "\(directory.path)/provenance").last { $0.hasSuffix(".json") }
      .map { String($0.dropLast(5)) }
  }

  /// The variable that names a submission's record to its tasks.
  static let numberName = "BLLARSE_SWEEP_PROVENANCE"

  /// What is not as it was submitted; nil when nothing differs that is known.
  func difference(to found: ProgramRecord, of located: Program) -> String? {
    func differs(_ path: String, _ before: String?, _ now: String?) -> String? {
      guard let before, let now, before != now else { return nil }
      return
        "\(path) is not what was submitted: its SHA-256 was \(before.prefix(12)), and is \(now.prefix(12))"
    }
    return differs(located.command[0], program, found.program)
      ?? differs(located.describer.dropFirst().first ?? "", script, found.script)
  }
}

/// The checksums of files, which are read again only when they have changed.
struct ChecksumCache {
  private struct Stamp: Equatable {
    let size: Int?
    let modified: Double?
  }
  private var known: [String: (stamp: Stamp, sum: String?)] = [:]

  mutating func sum(of path: String) -> String? {
    let stamp = Stamp(size: Files.size(of: path), modified: Files.modified(path))
    if let entry = known[path], entry.stamp == stamp { return entry.sum }
    let sum = Program.checksum(of: path)
    known[path] = (stamp, sum)
    return sum
  }

  /// A program's present checksums.
  mutating func record(of program: Program) -> ProgramRecord {
    ProgramRecord(
      program: sum(of: program.command[0]),
      script: program.describer.dropFirst().first.flatMap { sum(of: $0) })
  }
}
