/// Reads a sweep from whatever form it has: YAML, JSON, a Python module with `create_configs()`, or
/// an executable that prints JSON.
public struct SweepReader {
  private let runner: any CommandRunner
  private let python: String

  /// Makes a reader.
  ///
  /// - Parameters:
  ///   - runner: runs the interpreter and the executables.
  ///   - python: the interpreter for `.py` files.
  public init(runner: any CommandRunner = ProcessRunner(), python: String = "python3") {
    self.runner = runner
    self.python = python
  }

  /// Reads a sweep.
  ///
  /// - Throws: ``SweepError``: 64 when there is no such file, 65 when its content is wrong.
  public func read(_ path: String) throws -> SweepFile {
    guard Files.exists(path), !Files.isDirectory(path) else {
      throw SweepError(.usage, "there is no sweep file \(path)")
    }
    let suffix = path.split(separator: ".").last.map { $0.lowercased() } ?? ""
    if suffix == "py" { return try readPython(path) }
    if !["yaml", "yml", "json"].contains(suffix), Files.isExecutableFile(path) {
      return try readOutput(of: [Files.absolute(path)], path: path)
    }
    let bytes = try Files.bytes(of: path)
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw SweepError(.data, "\(path): the file is not UTF-8 text")
    }
    var file = try SweepFile.decode(text, path: path)
    file.locateProgram()
    return file
  }

  private func readPython(_ path: String) throws -> SweepFile {
    try readOutput(of: [python, "-c", Self.pythonScript, Files.absolute(path)], path: path)
  }

  private func readOutput(of command: [String], path: String) throws -> SweepFile {
    let result = try runner.run(command)
    guard result.status == 0 else {
      let lines = result.errors.split(whereSeparator: \.isNewline)
      let reason = lines.last.map(String.init) ?? "nothing on standard error"
      throw SweepError(.data, "\(path): ended with exit code \(result.status): \(reason)")
    }
    let value: JSON
    do {
      value = try JSON.parse(result.output)
    } catch {
      throw SweepError(
        .data, "\(path): must print a JSON list of configurations; its output, \(error)")
    }
    let root: SourceNode
    switch value {
    case .array(let configurations):
      guard configurations.allSatisfy({ $0.members != nil }) else {
        throw SweepError(.data, "\(path): each configuration must be a mapping of options")
      }
      root = SourceNode(json: .object(["list": value]))
    case .object: root = SourceNode(json: value)
    default:
      throw SweepError(
        .data, "\(path): must give a list of configurations; found \(value.compact.prefix(40))")
    }
    var file = try SweepFile.decode(root, text: value.pretty, path: path)
    file.locateProgram()
    return file
  }

  /// What the module prints goes to standard error, so that only the list is on standard output.
  static let pythonScript = """
    import importlib.util, json, os, sys
    out, sys.stdout = sys.stdout, sys.stderr
    path = sys.argv[1]
    sys.path.insert(0, os.path.dirname(path))
    spec = importlib.util.spec_from_file_location("bllarse_sweep_file", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if not hasattr(module, "create_configs"):
        sys.exit("the module has no create_configs()")
    plain = lambda value: value.item() if hasattr(value, "item") else str(value)
    json.dump(list(module.create_configs()), out, default=plain, allow_nan=False)
    """
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
