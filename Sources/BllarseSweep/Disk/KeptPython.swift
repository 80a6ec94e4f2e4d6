/// A Python module as it was kept with a sweep, so that tasks run what was submitted.
///
///     sources/0001/source.json        the module's path, the names of its files
///     sources/0001/files/sweep.py     the module, and those that it imports from its folder
///     sources/0001/bllarse_python.py  the program that runs a configuration by them
package struct KeptPython: Sendable, Equatable {
  /// The folder below the sweep's, such as `sources/0001`.
  package let folder: String
  /// A digest of the code that the module's `run` consists of.
  package let fingerprint: String
  /// The interpreter that was asked for when the sweep was made; nil for the environment's.
  package let interpreter: String?
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
    func kept(_ name: String) -> KeptPython {
      KeptPython(
        folder: "sources/\(name)", fingerprint: python.fingerprint, interpreter: python.interpreter)
    }
    if let last = names.last,
      try contents.allSatisfy({ try Files.text(of: "\(sources)/\(last)/\($0.name)") == $0.text })
    {
      return kept(last)
    }
    guard !dryRun else { return kept(SweepDirectory.fourDigits(names.count + 1)) }
    return kept(
      try SweepDirectory.number(in: sources, after: names.count) {
        try Files.claim("\(sources)/\($0)", containing: contents)
      })
  }
}

extension SweepDirectory {
  /// The kept module that a run of this process uses: a task's is the one of its submission, whatever
  /// has been kept since.
  package var currentPython: KeptPython? {
    guard let python else { return nil }
    guard let folder = Host.variable(Self.versionName), folder.hasPrefix("sources/"),
      Host.variable("BLLARSE_SWEEP_DIR").map({ Files.absolute($0) }) == path
    else { return python }
    return KeptPython(
      folder: folder, fingerprint: python.fingerprint, interpreter: python.interpreter)
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
