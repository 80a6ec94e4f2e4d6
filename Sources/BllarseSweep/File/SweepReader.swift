/// Reads a sweep from whatever form it has: YAML, JSON, a Python module with `create_configs()` and
/// perhaps a `run(config)`, or an executable that prints JSON.
public struct SweepReader {
  private let runner = ProcessRunner()
  private let python: PythonChoice

  /// Makes a reader, with the interpreter for `.py` files.
  public init(python: PythonChoice = PythonChoice()) { self.python = python }

  /// Reads a sweep.
  ///
  /// - Throws: ``SweepError``: 64 when there is no such file, 65 when its content is wrong.
  public func read(_ path: String) throws -> SweepFile {
    guard Files.exists(path), !Files.isDirectory(path) else {
      let near = path.contains("/") ? "" : SweepLocation.suggestion(for: path)
      throw SweepError.usage(
        near.isEmpty
          ? "there is no sweep file \(path)"
          : "there is no sweep file \(path), and no sweep of that name in ./sweeps\(near)")
    }
    let suffix = path.split(separator: ".").last.map { $0.lowercased() } ?? ""
    if suffix == "py" { return try readPython(path) }
    if !["yaml", "yml", "json"].contains(suffix), Files.isExecutableFile(path) {
      return try readOutput(of: [Files.absolute(path)], path: path)
    }
    let bytes = try Files.bytes(of: path)
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw SweepError.data("\(path): the file is not UTF-8 text")
    }
    var file = try SweepFile.decode(text, path: path)
    file.locateProgram()
    return file
  }

  private func readOutput(of command: [String], path: String) throws -> SweepFile {
    let result = try runner.run(command)
    guard result.status == 0 else {
      throw SweepError.data("\(path): ended with exit code \(result.status): \(result.lastError)")
    }
    let value: JSON
    do {
      value = try JSON.parse(result.output)
    } catch {
      throw SweepError.data(
        "\(path): must print a JSON list of configurations; its output, \(error)")
    }
    let root: SourceNode
    switch value {
    case .array(let configurations):
      guard configurations.allSatisfy({ $0.members != nil }) else {
        throw SweepError.data("\(path): each configuration must be a mapping of options")
      }
      root = SourceNode(json: .object(["list": value]))
    case .object: root = SourceNode(json: value)
    default:
      throw SweepError.data(
        "\(path): must give a list of configurations; found \(value.compact.prefix(40))")
    }
    var file = try SweepFile.decode(root, text: value.pretty, path: path)
    file.locateProgram()
    return file
  }
}

extension SweepFile {
  /// A program given by a path is meant relative to the sweep file.
  mutating func locateProgram() {
    if program.command[0].contains("/") {
      let directory = Files.parent(of: Files.absolute(path))
      program.command[0] = Files.absolute(program.command[0], relativeTo: directory)
    }
  }
}

extension SweepReader {
  /// Reads a Python module: what `create_configs()` returns, what `run(config)` is, and `SLURM`.
  func readPython(_ path: String) throws -> SweepFile {
    let interpreter = try python.interpreter()
    let result = try runner.run([
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
        guard let name = file["name"]?.stringValue, let text = file["text"]?.stringValue else {
          return nil
        }
        return PythonSweep.File(name: name, text: text)
      },
      fingerprint: fingerprint, interpreter: try self.python.chosen)
    var file = SweepFile(
      name: SweepFile.defaultName(path),
      program: Self.program(python, words: run["words"]?.arrayValue ?? []),
      sourceText: python.files[0].text, path: path)
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

  private static func program(_ python: PythonSweep, words: [JSON]) -> ProgramDescription {
    var program = ProgramDescription()
    guard python.runsItself else {
      program.command += words.map(\.plainText)
      return program
    }
    program.command = PythonProgram.words
    program.outputOption = nil
    program.resumeOption = nil
    program.describesItself = false
    return program
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
        at: Position(line: 1, column: 1))
    }
    var faulty: Set<String> = []
    let rows = configurations.enumerated().map { index, configuration in
      var row: [(key: String, value: Template)] = []
      for member in configuration.members ?? [] {
        let position = Self.position(of: member.key, lines)
        let key = runsItself ? member.key : BlockDecoder.normalized(member.key)
        let fault = runsItself ? nil : fault(key, member.value, index: index, among: row.map(\.key))
        if let fault, faulty.insert(key).inserted { diagnostics.report(fault, at: position) }
        if keyPositions[key] == nil { keyPositions[key] = position }
        row.append((key, .literal(member.value)))
      }
      return row
    }
    if keyPositions["seed"] != nil { replicateKeys = ["seed"] }
    space.dimensions = [.rows(rows, in: "create_configs()", at: Position(line: 1, column: 1))]
  }

  /// What keeps a key and its value from becoming an option of the program.
  private func fault(_ key: String, _ value: JSON, index: Int, among earlier: [String]) -> String? {
    let place = "configuration \(index): "
    if !BlockDecoder.isKey(key) {
      return place
        + "'\(key)' cannot be an option's name: letters, digits and underscores are allowed"
    }
    if earlier.contains(key) {
      return place + "'\(key)' is given twice (dashes and underscores are the same)"
    }
    for option in [program.outputOption, program.resumeOption].compactMap({ $0 })
    where Configuration.option(for: key) == option {
      return place + "the sweep itself gives each run its '\(key)'; remove the key"
    }
    if value == .array([]) {
      return place
        + "'\(key)' is an empty list, which gives the program nothing: leave the key out, or None"
    }
    let parts = value.arrayValue ?? [value]
    guard let wrong = parts.first(where: { $0.members != nil || $0.arrayValue != nil }) else {
      return nil
    }
    return place
      + "a value of '\(key)' is a word, a number, True, False, None or a list of those; found \(wrong.compact.prefix(60))"
  }

  private static func position(of key: String, _ lines: JSON) -> Position {
    let place = lines[key]?.arrayValue?.compactMap(\.intValue) ?? []
    return place.count == 2
      ? Position(line: place[0], column: place[1]) : Position(line: 1, column: 1)
  }
}
