/// Reads a sweep from whatever form it has: YAML, JSON, a Python module with `create_configs()` and
/// perhaps a `run(config)`, or an executable that prints JSON.
public struct SweepReader {
  private let python: PythonChoice

  /// Makes a reader, with the interpreter for `.py` files.
  public init(python: PythonChoice = PythonChoice()) { self.python = python }

  /// Reads a sweep.
  ///
  /// - Throws: ``SweepError``: 64 when there is no such file, 65 when its content is wrong.
  public func read(_ path: String) throws -> SweepFile {
    guard Files.exists(path), !Files.isDirectory(path) else {
      let near = path.contains("/") ? "" : SweepLocation.suggestion(for: path)
      let none = near.isEmpty ? "" : ", and no sweep of that name in ./sweeps\(near)"
      throw SweepError.usage("there is no sweep file \(path)\(none)")
    }
    let suffix = path.split(separator: ".").last.map { $0.lowercased() } ?? ""
    if suffix == "py" { return try readPython(path) }
    var file: SweepFile
    if !["yaml", "yml", "json"].contains(suffix), Files.isExecutableFile(path) {
      let (root, text) = try output(of: [Files.absolute(path)], path: path)
      file = try SweepFile.decode(root, text: text, path: path)
    } else if let text = String(validating: try Files.bytes(of: path), as: UTF8.self) {
      file = try SweepFile.decode(text, path: path)
    } else {
      throw SweepError.data("\(path): the file is not UTF-8 text")
    }
    // A program given by a path is meant relative to the sweep file.
    if file.program.command[0].contains("/") {
      let directory = Files.parent(of: Files.absolute(path))
      file.program.command[0] = Files.absolute(file.program.command[0], relativeTo: directory)
    }
    return file
  }

  /// What a program prints as a sweep file's root, and its text.
  private func output(
    of command: [String], path: String
  ) throws -> (root: SourceNode, text: String) {
    let result = try ProcessRunner().run(command)
    func fault(_ text: String) -> SweepError { SweepError.data("\(path): \(text)") }
    guard result.status == 0 else {
      throw fault("ended with exit code \(result.status): \(result.lastError)")
    }
    let value: JSON
    do {
      value = try JSON.parse(result.output)
    } catch { throw fault("must print a JSON list of configurations; its output, \(error)") }
    guard let configurations = value.arrayValue else {
      if value.members != nil { return (SourceNode(json: value), value.pretty) }
      throw fault("must give a list of configurations; found \(value.compact.prefix(40))")
    }
    guard configurations.allSatisfy({ $0.members != nil }) else {
      throw fault("each configuration must be a mapping of options")
    }
    return (SourceNode(json: .object(["list": value])), value.pretty)
  }

  /// Reads a Python module: what `create_configs()` returns, what `run(config)` is, and `SLURM`.
  func readPython(_ path: String) throws -> SweepFile {
    let interpreter = try python.interpreter()
    let result = try ProcessRunner().run([
      interpreter, "-c", PythonProgram.text, "read", Files.absolute(path), path,
    ])
    let answer = try? JSON.parse(result.output)
    if let fault = answer?["error"]?.stringValue { throw SweepError.data(fault) }
    guard result.status == 0, let answer, let run = answer["run"],
      let configurations = answer["configs"]?.arrayValue,
      let files = answer["files"]?.arrayValue, let fingerprint = answer["fingerprint"]?.stringValue
    else {
      throw SweepError.data(
        "\(path): \(interpreter) ended with exit code \(result.status): \(result.lastError)")
    }
    let kind = run["kind"]?.stringValue
    let python = PythonSweep(
      runsItself: kind == "own", refusal: kind == "refused" ? run["reason"]?.stringValue : nil,
      files: files.compactMap { file in
        file["name"]?.stringValue.flatMap { name in file["text"]?.stringValue.map { (name, $0) } }
      },
      fingerprint: fingerprint, interpreter: try self.python.chosen)
    var program = ProgramDescription()
    if python.runsItself {
      program.command = PythonProgram.words
      (program.outputOption, program.resumeOption) = (nil, nil)
      program.describesItself = false
    } else {
      program.command += run["words"]?.arrayValue?.map(\.plainText) ?? []
    }
    var file = SweepFile(
      name: SweepFile.defaultName(path), program: program, sourceText: python.files[0].text,
      path: path)
    file.python = python
    file.notes = answer["notes"]?.arrayValue?.map(\.plainText) ?? []
    let diagnostics = Diagnostics(file: path)
    file.decode(configurations, lines: answer["lines"] ?? .object([JSON.Member]()), diagnostics)
    if let slurm = answer["slurm"], let options = slurm["options"] {
      let position = Position(line: slurm["line"]?.intValue ?? 1, column: 1)
      file.decodeSlurm(SourceNode(json: options, position: position), diagnostics)
    }
    try diagnostics.throwIfAny()
    return file
  }
}

extension SweepFile {
  /// Takes the configurations that a module has made, each as it is: a `${…}` in a text is text.
  fileprivate mutating func decode(
    _ configurations: [JSON], lines: JSON, _ diagnostics: Diagnostics
  ) {
    guard !configurations.isEmpty else {
      return diagnostics.report(
        "create_configs() returned an empty list: there is no configuration to run",
        at: Position())
    }
    let start = Position()
    var faulty: Set<String> = []
    let rows = configurations.enumerated().map { index, configuration in
      var row: [(key: String, value: Template)] = []
      for member in configuration.members ?? [] {
        let place = lines[member.key]?.ints ?? []
        let position = place.count == 2 ? Position(line: place[0], column: place[1]) : start
        let key = runsItself ? member.key : BlockDecoder.normalized(member.key)
        let fault = runsItself ? nil : fault(key, member.value, index: index, among: row.map(\.key))
        if let fault, faulty.insert(key).inserted { diagnostics.report(fault, at: position) }
        if keyPositions[key] == nil { keyPositions[key] = position }
        row.append((key, .literal(member.value)))
      }
      return row
    }
    if keyPositions["seed"] != nil { replicateKeys = ["seed"] }
    space.dimensions = [.rows(rows, in: "create_configs()", at: start)]
  }

  /// What keeps a key and its value from becoming an option of the program.
  private func fault(_ key: String, _ value: JSON, index: Int, among earlier: [String]) -> String? {
    let parts = value.arrayValue ?? [value]
    let what: String
    if !BlockDecoder.isKey(key) {
      what = "'\(key)' cannot be an option's name: letters, digits and underscores are allowed"
    } else if earlier.contains(key) {
      what = "'\(key)' is given twice (dashes and underscores are the same)"
    } else if program.runOptions.contains(Configuration.option(for: key)) {
      what = "the sweep itself gives each run its '\(key)'; remove the key"
    } else if parts.isEmpty {
      what =
        "'\(key)' is an empty list, which gives the program nothing: leave the key out, or None"
    } else if let wrong = parts.first(where: { $0.members != nil || $0.arrayValue != nil }) {
      what =
        "a value of '\(key)' is a word, a number, True, False, None or a list of those; found \(wrong.compact.prefix(60))"
    } else {
      return nil
    }
    return "configuration \(index): \(what)"
  }
}
