import BllarseSweep

/// A sweep whose configurations have their indices, ready to be checked and run.
///
/// Nothing is written before ``write()``: what cannot run leaves no trace.
struct FrozenSweep {
  private(set) var directory: SweepDirectory
  /// The configurations that the file names now, ascending.
  private(set) var selected: [Int]
  let program: Program
  let overrides: [Override]
  /// The file and its configurations; nil for a directory.
  private let source: (file: SweepFile, expansion: Expansion)?
  private let arguments: SweepArguments
  private let extend: Bool
  private var added = 0

  /// Reads a file, or opens a directory; checks the options against the program's own.
  init(
    _ arguments: SweepArguments, _ overrides: OverrideArguments,
    program: String?, venv: String? = nil, extend: Bool = false
  ) throws {
    let python = arguments.pythonChoice(venv: venv)
    self.arguments = arguments
    self.extend = extend
    if arguments.isDirectory {
      try overrides.refuse(for: arguments.sweep)
      try arguments.refuseSecondDirectory()
      if extend {
        throw SweepError.usage(
          "--extend has no effect: \(arguments.sweep) is frozen; give the sweep's file, whose configurations are added"
        )
      }
      directory = try SweepDirectory.open(arguments.sweep)
      self.program = try directory.program.located(
        program: program, python: python, kept: directory.python, source: directory.source)
      self.overrides = []
      selected = Array(0..<directory.manifest.count)
      source = nil
      return
    }
    let file = try arguments.readFile(overrides, venv: venv)
    try file.checkRunnable()
    self.program = try file.program.located(
      program: program, python: python, kept: nil, source: file.path)
    self.overrides = file.overrides
    if let options = self.program.options {
      try options.check(file)
      for note in file.notesOnFalse(options) { Terminal.note("note: \(note)") }
    } else if file.program.describesItself {
      Terminal.note(
        "note: \(program ?? file.program.command[0]) does not describe its options; their names are not checked"
      )
    }
    let expansion = try Expansion(file)
    source = (file, expansion)
    let frozen = try SweepDirectory.freeze(
      file, expansion: expansion, program: self.program, at: arguments.directoryPath(file),
      force: extend, dryRun: true)
    directory = frozen.directory
    selected = frozen.selected.sorted()
    added = frozen.added
    report(expansion.count)
    try checkOverrides()
    for (key, count) in directory.manifest.outdated.sorted(by: { $0.key < $1.key }) {
      Terminal.note(
        "note: \(count) configuration\(count == 1 ? "" : "s") keep the \(key) that \(directory.path) froze: it changes no result; --sweep-dir DIR makes another sweep"
      )
    }
  }

  /// Freezes what is new, and records what it is made with.
  mutating func write(_ report: CheckReport? = nil, record: Bool = true) throws {
    if let source {
      let frozen = try SweepDirectory.freeze(
        source.file, expansion: source.expansion, program: program,
        at: arguments.directoryPath(source.file), force: extend)
      guard frozen.selected.sorted() == selected else {
        throw SweepError.interrupted(
          "\(directory.path) has been extended by another process just now; call the same command again"
        )
      }
      directory = frozen.directory
    }
    if let report { try RefusalRecord.update(directory, report) }
    if record {
      try Provenance.record(
        directory, program: program, arguments: CommandLine.arguments, overrides: overrides)
    }
  }

  /// The manifest's indices of numbers that the user wrote: its own, but with `--set` positions in the
  /// file, whose configurations as they are without it may be frozen already.
  func indices(of numbers: [Int]) throws -> [Int] {
    guard let source, !overrides.isEmpty else { return numbers }
    if let last = numbers.max(), last >= source.expansion.count {
      throw SweepError.noConfiguration(last, of: source.expansion.count)
    }
    let known = Dictionary(
      try directory.manifest.entries().map { ($0.hash, $0.index) }, uniquingKeysWith: { $1 })
    let indices = try numbers.compactMap { known[try source.expansion.configuration(at: $0).hash] }
    if indices != numbers {
      Terminal.note(
        "note: with --set, \(Chunk.ranges(numbers)) of the file is \(Chunk.ranges(indices)) in \(directory.path)"
      )
    }
    return indices
  }

  /// How many configurations the user may number: those of the manifest, or with `--set` of the file.
  var numberable: Int {
    overrides.isEmpty ? directory.manifest.count : source?.expansion.count ?? 0
  }

  /// A value that is no part of a configuration's content is the one that it was frozen with.
  private func checkOverrides() throws {
    guard !overrides.isEmpty else { return }
    let entries = try directory.manifest.entries()
    for override in overrides {
      let others = selected.filter { (entries[$0][override.key] ?? .null) != override.value }
      guard let first = others.first else { continue }
      throw SweepError.usage(
        "--set \(override.key)=\(override.value.plainText): it does not change what is computed, and \(others.count) of these configurations (\(first)\(others.count > 1 ? ", …" : "")) are frozen in \(directory.path) with \((entries[first][override.key] ?? .null).compact); --sweep-dir DIR makes another sweep"
      )
    }
  }

  private func report(_ count: Int) {
    if selected.count < count {
      Terminal.note(
        "note: \(count - selected.count) of \(count) configurations repeat others and run once")
    }
    let known = selected.count - added
    if added > 0, known > 0 {
      Terminal.note("\(added) configurations added to the \(known) that \(directory.path) had")
    }
    if directory.runHasChanged {
      Terminal.note(
        "note: run() in \(directory.source) is not what it was: what runs from now on runs the present one; results that are there stay (run-config --force replaces one)"
      )
    }
    let gone = directory.manifest.count - selected.count
    if gone > 0 {
      let why = overrides.isEmpty ? "no longer in the file" : "not the file's with --set"
      Terminal.note("note: \(gone) configurations of \(directory.path) are \(why)")
    }
  }
}
