/// Which of the user's Pythons reads a Python sweep, and runs what has a `run` of its own.
public struct PythonChoice: Sendable, Equatable {
  /// A Python environment's directory.
  package var venv: String?
  /// An interpreter's path or name.
  package var path: String?

  /// Makes a choice; with neither, the environment's.
  public init(venv: String? = nil, path: String? = nil) {
    self.venv = venv
    self.path = path
  }

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
    if let path = Host.variable("BLLARSE_PYTHON") {
      return try Self.find(path, named: "BLLARSE_PYTHON")
    }
    if let recorded { return try Self.find(recorded, named: "the sweep's --python") }
    return try Self.find("python3", named: "the default")
  }

  private static func interpreter(of venv: String, named name: String) throws -> String {
    let path = "\(Files.absolute(venv))/bin/python"
    guard Files.isExecutableFile(path) else {
      throw SweepError(
        .usage,
        "\(name) \(venv): there is no \(path) on \(Host.name); it must be the directory of a Python environment"
      )
    }
    return path
  }

  private static func find(_ program: String, named name: String) throws -> String {
    if let path = Host.find(program) { return path }
    throw SweepError(
      .usage,
      "there is no Python '\(program)' (\(name)) on \(Host.name); --venv DIR or --python PATH names one"
    )
  }
}
