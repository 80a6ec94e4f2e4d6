/// What a sweep has that is a Python module, beside its configurations.
package struct PythonSweep: Sendable {
  /// Whether the module's own `run` runs a configuration; otherwise the sweep's program does.
  package let runsItself: Bool
  /// Why its configurations can be listed, but not run.
  package let refusal: String?
  /// The module first, then those that it imports from its folder, by their paths below that.
  let files: [(name: String, text: String)]
  /// A digest of the code that `run` consists of.
  let fingerprint: String
  /// The interpreter that was asked for; nil for the environment's.
  let interpreter: String?
}

extension SweepFile {
  /// Whether the sweep is a Python module whose own `run` runs a configuration.
  package var runsItself: Bool { python?.runsItself ?? false }

  /// Keys whose false has a flag of its own; in a Python module a false flag is left out.
  package func inversions(_ options: ProgramOptions?) -> [String: String] {
    python == nil ? options?.inversions ?? [:] : [:]
  }

  package func checkRunnable() throws {
    if let reason = python?.refusal { throw SweepError.data(reason) }
  }

  /// Whether a value becomes no option at all: false and None of a Python module.
  func leavesOut(_ value: JSON?) -> Bool {
    python != nil && (value == .bool(false) || value == .null)
  }

  /// What the program makes of the false values of a Python module, where that is not plain.
  package func notesOnFalse(_ options: ProgramOptions) -> [String] {
    guard python != nil, !runsItself else { return [] }
    let inversions = options.inversions
    var seen: Set<String> = []
    return space.possibleValues.compactMap { key, value in
      guard leavesOut(value), !seen.contains(key) else { return nil }
      let option = Configuration.option(for: key)
      let why: String
      if !options.accepts(option) {
        why = "it is false or None here, and the program has no option \(option)"
      } else if value == .bool(false), let flag = inversions[key] {
        let opposite = flag.drop { $0 == "-" }.replacing("-", with: "_")
        why =
          "as the Python package did, and means the default; '\(opposite)': True switches it off"
      } else {
        return nil
      }
      seen.insert(key)
      let line = keyPositions[key].map { ":\($0.line)" } ?? ""
      return "\(path)\(line): '\(key)' is left out: \(why)"
    }
  }
}

/// The Python program that reads a sweep that is a Python module, and runs its configurations.
///
/// It needs the user's interpreter (3.8 or later) alone, which is handed the reader as text; a sweep whose
/// module has a `run` of its own keeps the program with its sources, so that tasks need no other file.
enum PythonProgram {
  /// The program's file beside a sweep's kept sources.
  static let fileName = "bllarse_python.py"

  /// A manifest's program of what the module's own `run` runs; no path is part of it.
  static let words = ["python3", "run(config)"]

  /// The whole program: the file beside this one, which is compiled in.
  static let text = String(decoding: PackageResources.bllarse_python_py, as: UTF8.self)
}

/// Which of the user's Pythons reads a Python sweep, and runs what has a `run` of its own.
public struct PythonChoice: Sendable, Equatable {
  package var venv: String?
  package var path: String?

  /// Makes a choice; with neither, the environment's.
  public init(venv: String? = nil, path: String? = nil) { (self.venv, self.path) = (venv, path) }

  /// The interpreter that was asked for by `--venv` or `--python`; nil when none was.
  package var chosen: String? {
    get throws {
      if let venv { return try Self.interpreter(of: venv, named: "--venv") }
      return try path.map { try Self.find($0, named: "--python") }
    }
  }

  /// The interpreter: the one chosen, a job's VENV_NAME, BLLARSE_PYTHON, the one that the sweep was
  /// made with, `python3`, in this order.
  package func interpreter(recorded: String? = nil) throws -> String {
    if let chosen = try chosen { return chosen }
    if Executors.task(in: Host.environment) != nil, let venv = Host.variable("VENV_NAME") {
      return try Self.interpreter(of: venv, named: "VENV_NAME")
    }
    let name = "BLLARSE_PYTHON"
    if let path = Host.variable(name) { return try Self.find(path, named: name) }
    if let recorded { return try Self.find(recorded, named: "the sweep's --python") }
    return try Self.find("python3", named: "the default")
  }

  private static func interpreter(of venv: String, named name: String) throws -> String {
    let path = "\(Files.absolute(venv))/bin/python"
    guard Files.isExecutableFile(path) else {
      throw SweepError.usage(
        "\(name) \(venv): there is no \(path) on \(Host.name); it must be the directory of a Python environment"
      )
    }
    return path
  }

  private static func find(_ program: String, named name: String) throws -> String {
    if let path = Host.find(program) { return path }
    throw SweepError.usage(
      "there is no Python '\(program)' (\(name)) on \(Host.name); --venv DIR or --python PATH names one"
    )
  }
}

/// A Python module as it was kept with a sweep, so that tasks run what was submitted.
///
///     sources/0001/source.json        the module's path, the names of its files
///     sources/0001/files/sweep.py     the module, and those that it imports from its folder
///     sources/0001/bllarse_python.py  the program that runs a configuration by them
package struct KeptPython: Sendable, Equatable {
  /// The folder below the sweep's, such as `sources/0001`.
  package internal(set) var folder: String
  /// As in ``PythonSweep``.
  let fingerprint: String
  let interpreter: String?
}

extension KeptPython {
  init?(_ json: JSON) {
    guard let folder = json["source"]?.stringValue else { return nil }
    self.init(
      folder: folder, fingerprint: json["fingerprint"]?.stringValue ?? "",
      interpreter: json["interpreter"]?.stringValue)
  }

  var json: JSON {
    .object([
      "source": .string(folder), "fingerprint": .string(fingerprint),
      "interpreter": .optional(interpreter),
    ])
  }

  /// Keeps a module, unless the newest that is kept is the same.
  static func keep(
    _ python: PythonSweep, path: String, in directory: String, dryRun: Bool
  ) throws -> KeptPython {
    let sources = "\(directory)/sources"
    let source: JSON = .object([
      "version": 1, "path": .string(Files.absolute(path)), "main": .string(python.files[0].name),
      "files": .array(python.files.map { .string($0.name) }),
    ])
    var contents = python.files.map { (name: "files/\($0.name)", text: $0.text) }
    if python.runsItself { contents.append((PythonProgram.fileName, PythonProgram.text)) }
    contents.append(("source.json", source.pretty + "\n"))
    let names = Files.names(in: sources)
    var name = (names.count + 1).digits(4)
    if let last = names.last,
      try contents.allSatisfy({ try Files.text(of: "\(sources)/\(last)/\($0.name)") == $0.text })
    {
      name = last
    } else if !dryRun {
      name = try SweepDirectory.number(in: sources, after: names.count) {
        try Files.claim("\(sources)/\($0)", containing: contents)
      }
    }
    return KeptPython(
      folder: "sources/\(name)", fingerprint: python.fingerprint, interpreter: python.interpreter)
  }
}

extension SweepDirectory {
  /// The kept module that this process uses: a task's is the one of its submission.
  package var currentPython: KeptPython? {
    var current = python
    if let folder = Host.variable(Self.versionName), folder.hasPrefix("sources/"),
      Host.variable("BLLARSE_SWEEP_DIR").map({ Files.absolute($0) }) == path
    {
      current?.folder = folder
    }
    return current
  }

  /// The variable that tells a task which of the sweep's kept modules it runs.
  static let versionName = "BLLARSE_SWEEP_VERSION"

  /// Keeps a file's module as the one that runs from now on, without adding configurations.
  package func keepingModule(of file: SweepFile) throws -> (
    directory: SweepDirectory, changed: Bool
  ) {
    guard let module = file.python, python != nil else { return (self, false) }
    let kept = try KeptPython.keep(module, path: file.path, in: path, dryRun: false)
    let text = try Files.text(of: "\(path)/sweep.json") ?? ""
    guard kept != python, case .object(var members)? = try? JSON.parse(text) else {
      return (self, false)
    }
    members.removeAll { $0.key == "python" }
    members.append(JSON.Member("python", kept.json))
    try Files.write(JSON.object(members).pretty + "\n", to: "\(path)/sweep.json")
    return (try Self.open(path), kept.fingerprint != python?.fingerprint)
  }
}
