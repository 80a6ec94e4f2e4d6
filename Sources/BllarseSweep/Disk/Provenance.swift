/// What is needed to know later what exactly ran.
package enum Provenance {
  /// Records the git state, the program, the host and the environment beside a sweep.
  ///
  /// Values of the environment are taken from a short list of names; none of them is a secret.
  package static func record(
    _ directory: SweepDirectory, program: Program, arguments: [String],
    overrides: [Override] = [], runner: any CommandRunner = ProcessRunner()
  ) throws {
    let folder = "\(directory.path)/provenance"
    let repository = Files.parent(of: directory.source) ?? "."
    func git(_ arguments: String...) -> String? {
      guard let result = try? runner.run(["git", "-C", repository] + arguments),
        result.status == 0
      else { return nil }
      return result.output
    }
    let commit = git("rev-parse", "HEAD")?.trimmed
    let diff = commit == nil ? nil : git("diff", "HEAD")
    let untracked = git("ls-files", "--others", "--exclude-standard")?
      .split(separator: "\n").map { JSON.string(String($0)) }
    // Any other program might take the word for something to do.
    let version =
      program.options == nil ? nil : try? runner.run([program.command[0], "--version"])
    var environment: [JSON.Member] = []
    for name in environmentNames + Executors.recordedVariables {
      if let value = Host.variable(name) { environment.append(JSON.Member(name, .string(value))) }
    }
    let record: JSON = .object([
      "recorded": .string(Host.timestamp(Host.now)), "host": .string(Host.name),
      "user": .optional(Host.userName), "directory": .string(Files.currentDirectory),
      "command": .strings(arguments),
      "git": .object([
        "commit": .optional(commit),
        "branch": .optional(git("rev-parse", "--abbrev-ref", "HEAD")?.trimmed),
        "dirty": .bool(diff.map { !$0.isEmpty } ?? false),
        "untracked": .array(untracked ?? []),
      ]),
      "program": .object([
        "command": .strings(program.command),
        "sha256": .optional(program.checksum),
        "script_sha256": .optional(
          program.describer.dropFirst().first.flatMap { Program.checksum(of: $0) }),
        "version": .optional(version.flatMap { $0.status == 0 ? $0.output.trimmed : nil }),
      ]),
      "sweep_sha256": .optional(
        Host.executablePath.flatMap { Program.checksum(of: $0) }),
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
