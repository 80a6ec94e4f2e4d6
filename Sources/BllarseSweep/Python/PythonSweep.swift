/// What a sweep has that is a Python module, beside its configurations.
package struct PythonSweep: Sendable {
  /// A file of the module's folder: the module itself, or a module that it imports from there.
  struct File: Sendable, Equatable {
    /// The path below the folder.
    let name: String
    let text: String
  }

  /// Whether the module's own `run` runs a configuration; otherwise the sweep's program does.
  package let runsItself: Bool
  /// Why its configurations can be listed, but not run.
  package let refusal: String?
  /// The module first.
  let files: [File]
  /// A digest of the code that `run` consists of.
  let fingerprint: String
  /// The interpreter that was asked for; nil for the environment's.
  let interpreter: String?
}

extension SweepFile {
  /// Whether the sweep is a Python module whose own `run` runs a configuration.
  package var runsItself: Bool { python?.runsItself ?? false }

  /// Keys whose false has a flag of its own, where that is used: in a Python module a false flag is left
  /// out, whatever the program has for it.
  package func inversions(_ options: ProgramOptions?) -> [String: String] {
    python == nil ? options?.inversions ?? [:] : [:]
  }

  /// Throws why the sweep cannot be run, if it cannot.
  package func checkRunnable() throws {
    if let reason = python?.refusal { throw SweepError(.data, reason) }
  }

  /// Whether a value becomes no option at all, whatever the program has: false and None of a Python
  /// module, as the Python package did.
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
