import ArgumentParser
import BllarseSweep

/// The sweep that a command is about.
struct SweepArguments: ParsableArguments {
  @Argument(help: "A sweep file or a sweep's directory.")
  var sweep: String

  @Option(help: ArgumentHelp("The sweep's directory (sweeps/NAME).", valueName: "dir"))
  var sweepDir: String?

  @Option(help: ArgumentHelp("The Python that reads .py sweeps (python3).", valueName: "path"))
  var python: String?

  var isDirectory: Bool { Files.isDirectory(sweep) }

  func readFile() throws -> SweepFile {
    let python = python ?? Host.variable("BLLARSE_PYTHON") ?? "python3"
    return try SweepReader(python: python).read(sweep)
  }

  func directoryPath(_ file: SweepFile) -> String { sweepDir ?? "sweeps/\(file.name)" }

  /// The directory of a sweep that has been run or submitted.
  func existingDirectory() throws -> SweepDirectory {
    if isDirectory { return try SweepDirectory.open(sweep) }
    if let sweepDir { return try SweepDirectory.open(sweepDir) }
    let path = directoryPath(try readFile())
    guard Files.exists("\(path)/sweep.json") else {
      throw SweepError(
        .usage,
        "\(sweep) has not been run or submitted from here: there is no \(path) (--sweep-dir names another)"
      )
    }
    return try SweepDirectory.open(path)
  }
}

/// A sweep whose configurations are frozen, ready to be run.
struct FrozenSweep {
  let directory: SweepDirectory
  /// The configurations that the file names now, ascending.
  let selected: [Int]
  let program: Program

  /// Freezes a file, or opens a directory; checks the options against the program's own.
  init(
    _ arguments: SweepArguments, program: String?, dryRun: Bool, record: Bool = true,
    force: Bool = false
  ) throws {
    if arguments.isDirectory {
      directory = try SweepDirectory.open(arguments.sweep)
      var description = directory.program
      if let program { description.command[0] = program }
      self.program = try Program.locate(description)
      selected = Array(0..<directory.manifest.count)
    } else {
      let file = try arguments.readFile()
      var description = file.program
      if let program { description.command[0] = program }
      self.program = try Program.locate(description)
      try self.program.options?.check(file)
      if self.program.options == nil, description.describesItself {
        Terminal.note(
          "note: \(description.command[0]) does not describe its options; their names are not checked"
        )
      }
      let expansion = try Expansion(file)
      let (frozen, indices, added) = try SweepDirectory.freeze(
        file, expansion: expansion, program: self.program, at: arguments.directoryPath(file),
        force: force, dryRun: dryRun)
      directory = frozen
      selected = indices.sorted()
      report(expansion.count, added)
    }
    if record, !dryRun {
      try Provenance.record(directory, program: self.program, arguments: CommandLine.arguments)
    }
  }

  private func report(_ count: Int, _ added: Int) {
    if selected.count < count {
      Terminal.note(
        "note: \(count - selected.count) of \(count) configurations repeat others and run once")
    }
    let known = selected.count - added
    if added > 0, known > 0 {
      Terminal.note("\(added) configurations added to the \(known) that \(directory.path) had")
    }
    let gone = directory.manifest.count - selected.count
    if gone > 0 {
      Terminal.note("note: \(gone) configurations of \(directory.path) are no longer in the file")
    }
  }
}
