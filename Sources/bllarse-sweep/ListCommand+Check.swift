import ArgumentParser
import BllarseSweep

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
