public import ArgumentParser
public import BllarseSweep

struct SweepArguments: ParsableArguments {
  @Argument(help: "A sweep file, a sweep's directory, or the name of a sweep in ./sweeps.")
  var sweep: String

  @Option(help: .init("The sweep's directory (sweeps/NAME).", valueName: "dir"))
  var sweepDir: String?

  @Option(
    help: .init(
      "The Python that reads .py sweeps and runs their run(config) (python3).", valueName: "path"))
  var python: String?

  mutating func validate() throws {
    do {
      if let directory = try SweepLocation.directory(named: sweep) { sweep = directory }
    } catch let error as SweepError { throw ValidationError(error.description) }
  }

  var isDirectory: Bool { Files.isDirectory(sweep) }
  func pythonChoice(venv: String?) -> PythonChoice { PythonChoice(venv: venv, path: python) }

  func readFile(venv: String? = nil) throws -> SweepFile {
    let file = try SweepReader(python: pythonChoice(venv: venv)).read(sweep)
    for note in file.notes { Terminal.note("note: \(note)") }
    if python != nil, file.python == nil {
      Terminal.note("note: --python has no effect: \(sweep) is no Python module")
    }
    return file
  }

  func readFile(_ overrides: OverrideArguments, venv: String?) throws -> SweepFile {
    try readFile(venv: venv).overriding(try overrides.values())
  }

  func refuseSecondDirectory() throws {
    guard isDirectory, let sweepDir else { return }
    throw SweepError.usage(
      "--sweep-dir \(sweepDir) has no effect: \(sweep) is a sweep's directory itself; give one of them"
    )
  }

  /// Refuses `--sweep-dir` where only the file is looked at.
  func refuseDirectoryOption(for command: String) throws {
    guard let sweepDir else { return }
    throw SweepError.usage(
      "--sweep-dir \(sweepDir) has no effect: \(command) looks at SWEEP alone; give \(sweepDir) instead of \(sweep) for what is frozen there"
    )
  }

  func directoryPath(_ file: SweepFile) -> String { sweepDir ?? "sweeps/\(file.name)" }

  func existingDirectory() throws -> SweepDirectory {
    try refuseSecondDirectory()
    if isDirectory { return try SweepDirectory.open(sweep) }
    if let sweepDir { return try SweepDirectory.open(sweepDir) }
    // A Python module is named by its file, and need not be executed for that.
    let path =
      sweep.hasSuffix(".py") && Files.exists(sweep)
      ? "sweeps/\(SweepFile.defaultName(sweep))" : directoryPath(try readFile())
    guard Files.exists("\(path)/sweep.json") else {
      throw SweepError.usage(
        "\(sweep) has not been run or submitted from here: there is no \(path) (--sweep-dir names another)"
      )
    }
    return try SweepDirectory.open(path)
  }
}

struct OverrideArguments: ParsableArguments {
  @Option(
    help: .init(
      "Give every configuration this value, whatever the file says, such as epochs=3 (repeat).",
      valueName: "key=value"))
  var set: [String] = []

  func values() throws -> [Override] { try Override.parse(set) }

  func refuse(for directory: String) throws {
    guard let first = set.first else { return }
    throw SweepError.usage(
      "--set \(first): the configurations in \(directory) are frozen; give the sweep's file, which freezes others beside them"
    )
  }
}

/// The Python environment of commands that send nothing to SLURM; `submit` has its own --venv.
struct VenvArguments: ParsableArguments {
  @Option(help: .init("The Python environment that reads and runs .py sweeps.", valueName: "dir"))
  var venv: String?

  /// Says that the environment has no effect where no Python runs.
  func note(for sweep: String, isPython: Bool) {
    if venv != nil, !isPython {
      Terminal.note("note: --venv has no effect: \(sweep) is no Python module")
    }
  }
}

/// The sweep of commands that look at single configurations.
struct SourceArguments: ParsableArguments {
  @OptionGroup var sweep: SweepArguments
  @OptionGroup var overrides: OverrideArguments
  @OptionGroup var python: VenvArguments

  var pythonChoice: PythonChoice { sweep.pythonChoice(venv: python.venv) }

  /// The directory that is named itself; nil for a file.
  func frozen() throws -> SweepDirectory? {
    guard sweep.isDirectory else { return nil }
    try overrides.refuse(for: sweep.sweep)
    return try SweepDirectory.open(sweep.sweep)
  }

  func readFile() throws -> SweepFile { try sweep.readFile(overrides, venv: python.venv) }

  /// The file's configurations, of which nothing is frozen.
  func expansion() throws -> Expansion {
    let file = try readFile()
    python.note(for: sweep.sweep, isPython: file.python != nil)
    return try Expansion(file)
  }
}

struct StrictArguments: ParsableArguments {
  @Flag(help: "Do not start a program that has changed since the submission (by its SHA-256).")
  var strict = false
}

struct CheckArguments: ParsableArguments {
  @Flag(help: "Leave out configurations that cannot run, instead of sending nothing.")
  var skipInvalid = false

  @Flag(help: "Do not ask the program first whether each configuration can run.")
  var noCheck = false

  func validate() throws {
    if skipInvalid, noCheck {
      throw ValidationError("--skip-invalid needs the check that --no-check leaves out")
    }
  }

  /// Asks the program about configurations, tells what it says, and returns those that can run.
  func check(
    _ indices: [Int], in directory: SweepDirectory, program: String?
  ) throws -> (indices: [Int], report: CheckReport?) {
    guard !noCheck, !indices.isEmpty else { return (indices, nil) }
    let entries = try directory.manifest.entries()
    let report = try ConfigurationChecker(directory.program, program: program)
      .check(indices) { entries[$0] }
    for line in report.noteLines { Terminal.note(line) }
    let refused = Set(report.refused)
    guard !refused.isEmpty else { return (indices, report) }
    let left = indices.filter { !refused.contains($0) }
    let count = "\(refused.count) of \(indices.count) configurations cannot run"
    guard skipInvalid, !left.isEmpty else {
      let advice = left.isEmpty ? "" : "; --skip-invalid leaves them out"
      throw SweepError.data("\(report.refusalText)\n\(count), and none is started\(advice)")
    }
    Terminal.note("\(report.refusalText)\n\(count) and are left out")
    return (left, report)
  }
}

extension RunStatus.State: ExpressibleByArgument {}
extension SubmitOptions.ArrayOrder: ExpressibleByArgument {}
