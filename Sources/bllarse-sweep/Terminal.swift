import ArgumentParser
import BllarseSweep
import Foundation

enum Terminal {
  /// A message, which is not a result: standard error.
  static func note(_ message: String) {
    Files.print(message.printableLines, to: 2)
  }

  /// A failure, each line with the program's name.
  static func error(_ message: String) {
    for line in message.split(separator: "\n") { note("bllarse-sweep: \(line)") }
  }

  /// A result; where it cannot be written (a full disk), the command ends with 1: half a table must
  /// not pass for a whole one.
  static func write(_ text: String) {
    guard let problem = Files.print(text, to: 1) else { return }
    error("cannot write to standard output: \(problem)")
    BllarseSweepCommand.exit(withError: ExitCode(SweepError.Code.failed.rawValue))
  }

  /// Clears the screen before a live table is drawn again; a file or a pipe gets table after table.
  static func clear() { if isatty(1) == 1 { write("\u{1B}[H\u{1B}[2J") } }
}
