import ArgumentParser
import BllarseSweep

/// Whether and how configurations are checked before any is sent.
struct CheckArguments: ParsableArguments {
  @Flag(help: "Leave out configurations that cannot run, instead of sending nothing.")
  var skipInvalid = false

  @Flag(help: "Do not ask the program first whether each configuration can run.")
  var noCheck = false

  func validate() throws {
    if skipInvalid, noCheck {
      throw ValidationError("--skip-invalid needs the check that --no-check leaves out")
    }
  }

  /// Asks the program about configurations, tells what it says, and returns those that can run.
  func check(
    _ indices: [Int], in directory: SweepDirectory, program: String?
  ) throws -> (indices: [Int], report: CheckReport?) {
    guard !noCheck, !indices.isEmpty else { return (indices, nil) }
    let entries = try directory.manifest.entries()
    let report = try ConfigurationChecker(directory.program, program: program)
      .check(indices) {
        entries[$0].program
      } arguments: {
        entries[$0].arguments
      }
    for line in report.noteLines { Terminal.note(line) }
    let refused = Set(report.refused)
    guard !refused.isEmpty else { return (indices, report) }
    let left = indices.filter { !refused.contains($0) }
    let count = "\(refused.count) of \(indices.count) configurations cannot run"
    guard skipInvalid, !left.isEmpty else {
      let advice = left.isEmpty ? "" : "; --skip-invalid leaves them out"
      throw SweepError(.data, "\(report.refusalText)\n\(count), and none is started\(advice)")
    }
    Terminal.note("\(report.refusalText)\n\(count) and are left out")
    return (left, report)
  }
}
