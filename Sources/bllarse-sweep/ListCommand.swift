import ArgumentParser
import BllarseSweep

struct ListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Lists the configurations of a sweep.")

  @OptionGroup var source: SourceArguments
  @Flag(help: "Print only how many there are.") var count = false

  @Flag(help: "Ask the program whether each can run; print those that cannot, and why.")
  var check = false

  @Option(help: .init("The program to ask instead of the sweep's.", valueName: "path"))
  var program: String?

  @Option(help: "table, json or csv. (default: table)") var format: ListFormat?

  func validate() throws {
    if let format, count {
      throw ValidationError("--format \(format.rawValue) has no effect with --count")
    }
    if count, check { throw ValidationError("--count or --check, not both") }
    if program != nil, !check { throw ValidationError("--program has an effect with --check only") }
  }

  func run() throws {
    try source.sweep.refuseDirectoryOption(for: "list")
    if check { return try runCheck() }
    if let manifest = try source.frozen()?.manifest {
      if count { return print(manifest.count) }
      let entries = try manifest.entries()
      let keys = entries.flatMap { $0.parameters.map(\.key) }.uniqued
      try write(entries.count, keys: keys) { entries[$0] }
    } else {
      let expansion = try source.expansion()
      if count { return print(expansion.count) }
      try write(expansion.count, keys: expansion.file.keys) { try expansion.entry(at: $0) }
    }
  }

  private func write(_ count: Int, keys: [String], entry: (Int) throws -> ManifestEntry) throws {
    let format = format ?? .table
    var text = format == .csv ? ResultTable(columns: ["index", "hash"] + keys, rows: []).csv : ""
    if format == .json { text = "[" }
    for index in 0..<count {
      let entry = try entry(index)
      switch format {
      case .table:
        let words = entry.parameters.map { "\($0.key)=\($0.value.plainText)" }
        text += "\(index)\t\(entry.hash.prefix(8))\t\(words.joined(separator: " ").printable)\n"
      case .json: text += (index == 0 ? "\n" : ",\n") + entry.summary().compact
      case .csv:
        let cells = keys.map { entry[$0] ?? .null }
        text += ResultTable.csvLine([.int(index), .string(entry.hash)] + cells)
      }
      if text.utf8.count > 1 << 16 {
        Terminal.write(text)
        text = ""
      }
    }
    Terminal.write(text + (format == .json ? "\n]\n" : ""))
  }

  private func runCheck() throws {
    let report: CheckReport
    if let directory = try source.frozen() {
      let entries = try directory.manifest.entries()
      report = try ConfigurationChecker(directory.program, program: program)
        .check(Array(entries.indices)) { entries[$0] }
    } else {
      let file = try source.readFile()
      try file.checkRunnable()
      let located = try file.program.located(
        program: program, python: source.pythonChoice, kept: nil, source: file.path)
      try located.options?.check(file)
      let expansion = try Expansion(file)
      let inversions = file.inversions(located.options)
      report = try ConfigurationChecker(file.program, program: program)
        .check(Array(0..<expansion.count)) { try expansion.entry(at: $0, inversions: inversions) }
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

enum ListFormat: String, ExpressibleByArgument, CaseIterable { case table, json, csv }

enum ShowFormat: String, ExpressibleByArgument, CaseIterable { case table, json }

struct ShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Shows one configuration and its command line.")

  @OptionGroup var source: SourceArguments
  @Argument(help: "The configuration's index.") var index: Int
  @Option(help: "table or json.") var format = ShowFormat.table

  func run() throws {
    try source.sweep.refuseDirectoryOption(for: "show")
    let frozen = try source.frozen()?.manifest.entry(at: index)
    let entry = try frozen ?? source.expansion().entry(at: index)
    let command = entry.program + entry.arguments
    if format == .json {
      return print(entry.summary(command).pretty)
    }
    print("index  \(index)\nhash   \(entry.hash)")
    for member in entry.parameters { print("  \(member.key): \(member.value.plainText.printable)") }
    print(Shell.join(command))
  }
}

extension ManifestEntry {
  fileprivate func summary(_ command: [String]? = nil) -> JSON {
    .object([
      "index": .int(index), "hash": .string(hash), "parameters": .object(parameters),
      "command": command.map { .strings($0) },
    ])
  }
}
