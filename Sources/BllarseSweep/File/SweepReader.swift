/// Reads a sweep from whatever form it has: YAML, JSON, a Python module with `create_configs()` and
/// perhaps a `run(config)`, or an executable that prints JSON.
public struct SweepReader {
  let runner: any CommandRunner
  let python: PythonChoice

  /// Makes a reader.
  ///
  /// - Parameters:
  ///   - runner: runs the interpreter and the executables.
  ///   - python: the interpreter for `.py` files.
  public init(
    runner: any CommandRunner = ProcessRunner(), python: PythonChoice = PythonChoice()
  ) {
    self.runner = runner
    self.python = python
  }

  /// Reads a sweep.
  ///
  /// - Throws: ``SweepError``: 64 when there is no such file, 65 when its content is wrong.
  public func read(_ path: String) throws -> SweepFile {
    guard Files.exists(path), !Files.isDirectory(path) else {
      let near = path.contains("/") ? "" : SweepLocation.suggestion(for: path)
      throw SweepError(
        .usage,
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
      throw SweepError(.data, "\(path): the file is not UTF-8 text")
    }
    var file = try SweepFile.decode(text, path: path)
    file.locateProgram()
    return file
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
