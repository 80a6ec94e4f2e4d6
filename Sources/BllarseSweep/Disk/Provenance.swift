/// What is needed to know later what exactly ran.
package enum Provenance {
  /// Records the git state, the program, the host and some variables, none of them secret, beside a sweep.
  package static func record(
    _ directory: SweepDirectory, program: Program, arguments: [String], overrides: [Override] = []
  ) throws {
    let folder = "\(directory.path)/provenance"
    let repository = Files.parent(of: directory.source) ?? "."
    func output(_ words: String...) -> String? {
      guard let result = try? ProcessRunner().run(words), result.status == 0 else { return nil }
      return result.output
    }
    let commit = output("git", "-C", repository, "rev-parse", "HEAD")?.trimmed
    let branch = output("git", "-C", repository, "rev-parse", "--abbrev-ref", "HEAD")?.trimmed
    let diff = commit == nil ? nil : output("git", "-C", repository, "diff", "HEAD")
    let untracked = output("git", "-C", repository, "ls-files", "--others", "--exclude-standard")
    // Any other program might take the word for something to do.
    let version = program.options.flatMap { _ in output(program.command[0], "--version")?.trimmed }
    let environment = (environmentNames + Executors.recordedVariables).compactMap { name in
      Host.variable(name).map { JSON.Member(name, .string($0)) }
    }
    let record: JSON = .object([
      "recorded": .string(Host.timestamp(Host.now)), "host": .string(Host.name),
      "user": .optional(Host.userName), "directory": .string(Files.currentDirectory),
      "command": .strings(arguments),
      "git": .object([
        "commit": .optional(commit), "branch": .optional(branch),
        "dirty": .bool(diff.map { !$0.isEmpty } ?? false),
        "untracked": .strings(untracked?.split(separator: "\n").map(String.init) ?? []),
      ]),
      "program": .object([
        "command": .strings(program.command), "sha256": .optional(program.checksum),
        "script_sha256": .optional(program.script.flatMap { Program.checksum(of: $0) }),
        "version": .optional(version),
      ]), "sweep_sha256": .optional(Host.executablePath.flatMap { Program.checksum(of: $0) }),
      "configurations": .int(directory.manifest.count),
      "set": .object(overrides.map { JSON.Member($0.key, $0.value) }),
      "environment": .object(environment),
    ])
    let last = Files.names(in: folder).count { $0.hasSuffix(".json") }
    let number = try SweepDirectory.number(in: folder, after: last) {
      try Files.create("\(folder)/\($0).json", record.pretty + "\n")
    }
    if let diff, !diff.isEmpty { try Files.write(diff, to: "\(folder)/\(number).diff") }
  }

  static let environmentNames = [
    "PATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE",
    "CUDA_VISIBLE_DEVICES", "VIRTUAL_ENV", "CONDA_PREFIX",
    "MLFLOW_EXPERIMENT_NAME", "BLLARSE_REPO_ROOT", "BLLARSE_DOCKER_IMAGE", "LANG", "TZ",
  ]
}

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
      ?? differs(located.script ?? "", script, found.script)
  }
}

/// The checksums of files, which are read again only when they have changed.
struct ChecksumCache {
  /// Sums with the sizes and the times of change of their files.
  private var known: [String: (stamp: [Double?], sum: String?)] = [:]

  mutating func sum(of path: String) -> String? {
    let stamp = [Files.size(of: path).map(Double.init), Files.modified(path)]
    if let entry = known[path], entry.stamp == stamp { return entry.sum }
    let sum = Program.checksum(of: path)
    known[path] = (stamp, sum)
    return sum
  }

  mutating func record(of program: Program) -> ProgramRecord {
    ProgramRecord(
      program: sum(of: program.command[0]), script: program.script.flatMap { sum(of: $0) })
  }
}
