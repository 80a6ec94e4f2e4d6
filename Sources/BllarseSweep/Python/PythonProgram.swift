/// The Python program that reads a sweep that is a Python module, and runs its configurations.
///
/// It needs nothing but the user's interpreter (3.8 or later) and its standard library. The reader is
/// handed to the interpreter as text; a sweep whose module has a `run` of its own keeps the program
/// with its sources, so that tasks need no other file.
enum PythonProgram {
  /// The program's file beside a sweep's kept sources.
  static let fileName = "bllarse_python.py"

  /// What a manifest names as the program of configurations that the module's own `run` runs.
  ///
  /// They name no path: where the interpreter and the sources lie is no part of what a
  /// configuration is.
  static let words = ["python3", "run(config)"]

  /// The whole program: the file beside this one, which is compiled in.
  static let text = String(decoding: PackageResources.bllarse_python_py, as: UTF8.self)
}
