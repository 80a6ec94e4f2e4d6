/// Works out how a configuration is started: by which program, with which words, in what environment.
package struct Launcher {
  private let directory: SweepDirectory
  private let options: LaunchOptions
  private var located: [[String]: Program] = [:]
  private var submitted: [String: ProgramRecord?] = [:]
  private var checksums = ChecksumCache()
  private var labels: ConfigurationLabels?

  init(_ directory: SweepDirectory, _ options: LaunchOptions = LaunchOptions()) {
    (self.directory, self.options) = (directory, options)
  }

  /// The commands of some configurations as a shell reads them, a line each.
  package static func lines(
    _ indices: [Int], in directory: SweepDirectory, _ options: LaunchOptions
  ) throws -> String {
    var launcher = Launcher(directory, options)
    return try indices.map {
      Shell.join(try launcher.context(for: directory.manifest.entry(at: $0)).command) + "\n"
    }.joined()
  }

  mutating func context(for entry: ManifestEntry) throws -> LaunchContext {
    var context = try programContext(for: entry)
    let labels = try labels ?? ConfigurationLabels(directory)
    self.labels = labels
    // How a tracked run is called, unless its configuration has a name for it.
    context.environment["BLLARSE_RUN_NAME"] = labels.name(entry)
    context.environment.merge(options.environment) { $1 }
    return context
  }

  private mutating func programContext(for entry: ManifestEntry) throws -> LaunchContext {
    if entry.program == PythonProgram.words { return try pythonContext(for: entry) }
    // A directory that has been extended may hold configurations of an earlier program.
    let isCurrent = entry.program == directory.program.command
    let found =
      try located[entry.program]
      ?? (isCurrent ? directory.program : ProgramDescription())
      .located(as: entry.program, program: options.program)
    located[entry.program] = found
    var context = LaunchContext(
      [found.command[0]] + entry.program.dropFirst() + entry.arguments, options)
    (context.outputOption, context.resumeOption) = (found.outputOption, found.resumeOption)
    context.programChange = programChange(found)
    return context
  }

  /// What of the program is not as it was submitted; nil when nothing is known to differ.
  private mutating func programChange(_ program: Program) -> String? {
    let name = Files.name(of: program.command[0])
    let before = submitted[name] ?? ProgramRecord.submitted(name, in: directory)
    submitted[name] = .some(before)
    return before?.difference(to: checksums.record(of: program), of: program)
  }

  private func pythonContext(for entry: ManifestEntry) throws -> LaunchContext {
    if options.program != nil { throw Self.programRefusal(directory.source) }
    guard let kept = directory.currentPython else {
      throw SweepError.data(
        "\(directory.path)/sweep.json: it names no Python module, which configuration \(entry.index) needs; run the sweep's .py file again"
      )
    }
    let program = "\(directory.path)/\(kept.folder)/\(PythonProgram.fileName)"
    let interpreter = try options.python.interpreter(recorded: kept.interpreter)
    var context = LaunchContext([interpreter, program, "run", String(entry.index)], options)
    context.source = kept.folder
    // For a run() that hands configurations on to it.
    context.environment["BLLARSE_FINETUNE_EXECUTABLE"] = Host.find("bllarse-finetune")
    return context
  }

  /// Why `--program` cannot replace the program of a Python module's own `run`.
  static func programRefusal(_ source: String) -> SweepError {
    SweepError.usage(
      "--program: the configurations of \(source) are run by its own run(config); --python or --venv choose the Python"
    )
  }
}

extension ProgramDescription {
  /// Finds the program, or the user's Python for what a module's own `run` runs.
  package func located(
    program: String?, python: PythonChoice, kept: KeptPython?, source: String
  ) throws -> Program {
    guard command == PythonProgram.words else { return try located(as: command, program: program) }
    if program != nil { throw Launcher.programRefusal(source) }
    return try located(as: command, program: python.interpreter(recorded: kept?.interpreter))
  }

  /// Finds the program of a manifest's words, or another in its place.
  func located(as words: [String], program: String?) throws -> Program {
    var description = self
    description.command = words
    if let program { description.command[0] = program }
    return try Program.locate(description)
  }
}

/// What is asked of every start, whatever runs.
package struct LaunchOptions: Sendable {
  /// The program's path, instead of looking for the one that the sweep names.
  package var program: String?
  package var python: PythonChoice
  /// Whether a program that has changed since the submission is not started.
  package var isStrict: Bool
  /// Runs a configuration that has a result again, which is kept until there is another.
  package var force: Bool
  /// The words that start this program as a ``Keeper``, so that a program's end is known even when this
  /// process dies; nil to start the program itself.
  package var keeper: [String]?
  package var environment: [String: String] = [:]

  package init(
    program: String? = nil, python: PythonChoice = PythonChoice(), isStrict: Bool = false,
    force: Bool = false, keeper: [String]? = nil
  ) {
    (self.program, self.python, self.isStrict) = (program, python, isStrict)
    (self.force, self.keeper) = (force, keeper)
  }
}

/// What an attempt needs beside the configuration.
struct LaunchContext {
  /// The program and its words, without what each run is given besides.
  let command: [String]
  var options: LaunchOptions
  /// The option for results and the one for resuming; nil when the program has none.
  var outputOption: String?
  var resumeOption: String?
  var environment: [String: String] = [:]
  var processors: [Int]?
  var forwardsOutput = false
  var task: TaskIdentity?
  /// The kept sources that run, below the sweep's directory: a Python module's `run` learns from
  /// BLLARSE_RESUME_DIR that it goes on, and takes SIGUSR1.
  var source: String?
  /// What of the program is not as it was submitted.
  var programChange: String?

  var canResume: Bool { resumeOption != nil || source != nil }

  init(_ command: [String], _ options: LaunchOptions = LaunchOptions()) {
    (self.command, self.options) = (command, options)
  }
}
