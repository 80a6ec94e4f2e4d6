/// Works out how a configuration is started: by which program, with which words, in what environment.
package struct Launcher {
  private let directory: SweepDirectory
  private let program: String?
  private let python: PythonChoice
  private let isStrict: Bool
  private var located: [[String]: Program] = [:]
  private var submitted: [String: ProgramRecord?] = [:]
  private var checksums = ChecksumCache()
  private var labels: ConfigurationLabels?

  package init(
    _ directory: SweepDirectory, program: String? = nil, python: PythonChoice = PythonChoice(),
    isStrict: Bool = false
  ) {
    self.directory = directory
    self.isStrict = isStrict
    self.program = program
    self.python = python
  }

  /// The command of a configuration, without what each run is given besides.
  mutating func command(_ entry: ManifestEntry) throws -> [String] {
    let context = try context(for: entry)
    let words = context.words ?? Array(entry.program.dropFirst()) + entry.arguments
    return [context.program ?? entry.program[0]] + words
  }

  /// The commands of some configurations as a shell reads them, a line each.
  package mutating func lines(_ indices: [Int]) throws -> String {
    try indices.map { Shell.join(try command(directory.manifest.entry(at: $0))) + "\n" }.joined()
  }

  mutating func context(for entry: ManifestEntry) throws -> LaunchContext {
    var context = try programContext(for: entry)
    let labels = try labels ?? ConfigurationLabels(directory)
    self.labels = labels
    // How a tracked run is called, unless its configuration has a name for it.
    context.environment["BLLARSE_RUN_NAME"] = labels.name(entry)
    return context
  }

  private mutating func programContext(for entry: ManifestEntry) throws -> LaunchContext {
    if entry.program == PythonProgram.words { return try pythonContext(for: entry) }
    let located = try locate(entry.program)
    var context = LaunchContext(
      outputOption: located.outputOption, resumeOption: located.resumeOption)
    context.program = located.command[0]
    context.programChange = programChange(located)
    context.refusesChange = isStrict
    return context
  }

  /// What of the program is not as it was submitted; nil when nothing is known to differ.
  private mutating func programChange(_ program: Program) -> String? {
    let name = Files.name(of: program.command[0])
    let before = submitted[name] ?? ProgramRecord.submitted(name, in: directory)
    submitted[name] = .some(before)
    return before?.difference(to: checksums.record(of: program), of: program)
  }

  private mutating func locate(_ words: [String]) throws -> Program {
    if let known = located[words] { return known }
    // A directory that has been extended may hold configurations of an earlier program.
    var description =
      words == directory.program.command ? directory.program : ProgramDescription()
    description.command = words
    if let program { description.command[0] = program }
    let found = try Program.locate(description)
    located[words] = found
    return found
  }

  private func pythonContext(for entry: ManifestEntry) throws -> LaunchContext {
    if program != nil { throw Self.programRefusal(directory.source) }
    guard let kept = directory.currentPython else {
      throw SweepError(
        .data,
        "\(directory.path)/sweep.json: it names no Python module, which configuration \(entry.index) needs; run the sweep's .py file again"
      )
    }
    var context = LaunchContext(outputOption: nil, resumeOption: nil)
    context.program = try python.interpreter(recorded: kept.interpreter)
    context.words = [
      "\(directory.path)/\(kept.folder)/\(PythonProgram.fileName)", "run", String(entry.index),
    ]
    context.resumesByEnvironment = true
    context.source = kept.folder
    // For a run() that hands configurations on to it.
    context.environment["BLLARSE_FINETUNE_EXECUTABLE"] = Host.find("bllarse-finetune")
    return context
  }

  /// Why `--program` cannot replace the program of a Python module's own `run`.
  static func programRefusal(_ source: String) -> SweepError {
    SweepError(
      .usage,
      "--program: the configurations of \(source) are run by its own run(config); --python or --venv choose the Python"
    )
  }
}

extension ProgramDescription {
  /// Finds the program, or the user's Python for what a module's own `run` runs.
  package func located(
    program: String?, python: PythonChoice, kept: KeptPython?, source: String
  ) throws -> Program {
    var description = self
    if command == PythonProgram.words {
      if program != nil { throw Launcher.programRefusal(source) }
      description.command[0] = try python.interpreter(recorded: kept?.interpreter)
    } else if let program {
      description.command[0] = program
    }
    return try Program.locate(description)
  }
}

/// What an attempt needs beside the configuration.
package struct LaunchContext {
  /// The program's path, instead of looking for the one that the manifest names.
  package var program: String?
  /// The option for results and the one for resuming; nil when the program has none.
  package var outputOption: String?
  package var resumeOption: String?
  package var environment: [String: String] = [:]
  package var processors: [Int]?
  package var threads: Int?
  /// Copies the program's output to this process' own.
  package var forwardsOutput = false
  package var task: TaskIdentity?
  /// Runs a configuration that has a result again; it is kept until there is another.
  package var force = false
  /// The words after the program, instead of the configuration's.
  package var words: [String]?
  /// Whether the program learns from BLLARSE_RESUME_DIR that it goes on, and takes SIGUSR1.
  package var resumesByEnvironment = false
  /// The kept sources that run, below the sweep's directory.
  package var source: String?
  /// What of the program is not as it was submitted.
  package var programChange: String?
  /// Whether such a program is not started.
  package var refusesChange = false
  /// The words that start a ``Keeper``; nil to start the program itself.
  package var keeper: [String]?

  var canResume: Bool { resumeOption != nil || resumesByEnvironment }

  package init(outputOption: String?, resumeOption: String?) {
    self.outputOption = outputOption
    self.resumeOption = resumeOption
  }
}
