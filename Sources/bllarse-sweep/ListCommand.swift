import ArgumentParser
import BllarseSweep

struct ListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Lists the configurations of a sweep.")

  @OptionGroup var sweep: SweepArguments
  @OptionGroup var overrides: OverrideArguments
  @OptionGroup var python: VenvArguments

  @Flag(help: "Print only how many there are.")
  var count = false

  @Flag(help: "Ask the program whether each can run; print those that cannot, and why.")
  var check = false

  @Option(help: ArgumentHelp("The program to ask instead of the sweep's.", valueName: "path"))
  var program: String?

  @Option(help: "table, json or csv. (default: table)")
  var format: ListFormat?

  func validate() throws {
    if let format, count {
      throw ValidationError("--format \(format.rawValue) has no effect with --count")
    }
    if count, check { throw ValidationError("--count or --check, not both") }
    if program != nil, !check { throw ValidationError("--program has an effect with --check only") }
  }

  func run() throws {
    try sweep.refuseDirectoryOption(for: "list")
    if check { return try runCheck() }
    if sweep.isDirectory {
      try overrides.refuse(for: sweep.sweep)
      let manifest = try SweepDirectory.open(sweep.sweep).manifest
      if count { return print(manifest.count) }
      let entries = try manifest.entries()
      var seen: Set<String> = []
      let keys = entries.flatMap(\.parameters).map(\.key).filter { seen.insert($0).inserted }
      try write(entries.count, keys: keys) { (entries[$0].hash, entries[$0].parameters) }
    } else {
      let file = try sweep.readFile(overrides, venv: python.venv)
      python.note(for: sweep.sweep, isPython: file.python != nil)
      let expansion = try Expansion(file)
      if count { return print(expansion.count) }
      try write(expansion.count, keys: file.keys) {
        let configuration = try expansion.configuration(at: $0)
        return (configuration.hash, configuration.parameters)
      }
    }
  }

  private func write(
    _ count: Int, keys: [String], row: (Int) throws -> (hash: String, parameters: [JSON.Member])
  ) throws {
    let format = format ?? .table
    var text = format == .csv ? ResultTable(columns: ["index", "hash"] + keys, rows: []).csv : ""
    if format == .json { text = "[" }
    for index in 0..<count {
      let (hash, parameters) = try row(index)
      switch format {
      case .table:
        let words = parameters.map { "\($0.key)=\($0.value.plainText)" }
        text += "\(index)\t\(hash.prefix(8))\t\(words.joined(separator: " ").printable)\n"
      case .json:
        let entry: JSON = .object([
          "index": .int(index), "hash": .string(hash), "parameters": .object(parameters),
        ])
        text += (index == 0 ? "\n" : ",\n") + entry.compact
      case .csv:
        let cells = keys.map { key in parameters.first { $0.key == key }?.value ?? .null }
        text += ResultTable.csvLine([.int(index), .string(hash)] + cells)
      }
      if text.utf8.count > 1 << 16 {
        Terminal.write(text)
        text = ""
      }
    }
    Terminal.write(text + (format == .json ? "\n]\n" : ""))
  }
}

enum ListFormat: String, ExpressibleByArgument, CaseIterable {
  case table, json, csv
}

enum ShowFormat: String, ExpressibleByArgument, CaseIterable {
  case table, json
}

struct ShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Shows one configuration and its command line.")

  @OptionGroup var sweep: SweepArguments
  @OptionGroup var overrides: OverrideArguments
  @OptionGroup var python: VenvArguments

  @Argument(help: "The configuration's index.")
  var index: Int

  @Option(help: "table or json.")
  var format = ShowFormat.table

  func run() throws {
    try sweep.refuseDirectoryOption(for: "show")
    let hash: String
    let parameters: [JSON.Member]
    let command: [String]
    if sweep.isDirectory {
      try overrides.refuse(for: sweep.sweep)
      let entry = try SweepDirectory.open(sweep.sweep).manifest.entry(at: index)
      (hash, parameters, command) = (entry.hash, entry.parameters, entry.program + entry.arguments)
    } else {
      let file = try sweep.readFile(overrides, venv: python.venv)
      python.note(for: sweep.sweep, isPython: file.python != nil)
      let expansion = try Expansion(file)
      guard (0..<expansion.count).contains(index) else {
        throw SweepError.noConfiguration(index, of: expansion.count)
      }
      let configuration = try expansion.configuration(at: index)
      (hash, parameters) = (configuration.hash, configuration.parameters)
      command = file.program.command + (file.runsItself ? [] : configuration.arguments())
    }
    if format == .json {
      let value: JSON = .object([
        "index": .int(index), "hash": .string(hash), "parameters": .object(parameters),
        "command": .array(command.map { .string($0) }),
      ])
      return print(value.pretty)
    }
    print("index  \(index)\nhash   \(hash)")
    for member in parameters { print("  \(member.key): \(member.value.plainText.printable)") }
    print(Shell.join(command))
  }
}

extension ListCommand {
  /// Asks the program about all configurations, and prints which cannot run.
  func runCheck() throws {
    let report: CheckReport
    if sweep.isDirectory {
      try overrides.refuse(for: sweep.sweep)
      let directory = try SweepDirectory.open(sweep.sweep)
      let entries = try directory.manifest.entries()
      report = try ConfigurationChecker(directory.program, program: program)
        .check(Array(entries.indices)) {
          entries[$0].program
        } arguments: {
          entries[$0].arguments
        }
    } else {
      let file = try sweep.readFile(overrides, venv: python.venv)
      try file.checkRunnable()
      let located = try file.program.located(
        program: program, python: sweep.pythonChoice(venv: python.venv), kept: nil,
        source: file.path)
      try located.options?.check(file)
      let expansion = try Expansion(file)
      report = try ConfigurationChecker(file.program, program: program)
        .check(Array(0..<expansion.count)) { _ in
          file.program.command
        } arguments: {
          try expansion.configuration(at: $0)
            .arguments(inversions: file.inversions(located.options))
        }
    }
    for line in report.noteLines { Terminal.note(line) }
    switch format ?? .table {
    case .json: Terminal.write(report.json.pretty + "\n")
    case .csv:
      let rows = report.refusals.flatMap { refusal in
        refusal.indices.map { [JSON.int($0), .int(refusal.status), .string(refusal.message)] }
      }
      Terminal.write(ResultTable(columns: ["index", "status", "message"], rows: rows).csv)
    case .table:
      let refused = report.refused.count
      let reasons = refused > 0 ? report.refusalText + "\n" : ""
      Terminal.write(
        "\(reasons)\(refused) of \(report.asked.count) configurations that were asked about cannot run\n"
      )
    }
    if !report.refusals.isEmpty { throw ExitCode(SweepError.Code.data.rawValue) }
  }
}
