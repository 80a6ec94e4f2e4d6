import ArgumentParser
import BllarseMLflow
import BllarseStartup
import BllarseSweep
import Foundation

@main
struct BllarseSweepCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bllarse-sweep",
    abstract: "Runs the configurations of a sweep, here or on a SLURM cluster.",
    discussion: """
      SWEEP is a sweep file (YAML, JSON, a Python module with create_configs() and run(config), a \
      program that prints JSON), a sweep's directory, or the name of a sweep in ./sweeps. A file's \
      state is in sweeps/NAME.

      Exit codes: 0 done, 1 a run (now or before) or a cluster's command failed, 64 wrong command line, 65 wrong \
      content of a file, 75 interrupted (the same command goes on).
      """,
    version: Versions.bllarse,
    subcommands: [
      ListCommand.self, ShowCommand.self, RunConfigCommand.self, RunCommand.self,
      SubmitCommand.self, StatusCommand.self, LogsCommand.self, RetryCommand.self,
      CancelCommand.self, CollectCommand.self,
    ])

  /// Help is a command of its own for the parser.
  private static var asksForHelp: Bool {
    CommandLine.arguments.dropFirst().contains { ["help", "--help", "-h"].contains($0) }
  }

  static func main() {
    bllarse_report_exhausted_memory("bllarse-sweep")
    // A keeper is part of a run, not a command: it reads no options and no files.
    if CommandLine.arguments.count > 1, CommandLine.arguments[1] == Keeper.word {
      exit(withError: ExitCode(Keeper.run(Array(CommandLine.arguments.dropFirst(2)))))
    }
    for note in EnvironmentFiles.load() { Terminal.note("note: \(note)") }
    do {
      var command = try parseAsRoot()
      if !asksForHelp { try Files.requireWorkingDirectory() }
      try command.run()
    } catch let error as SweepError {
      Terminal.error(error.description)
      exit(withError: ExitCode(error.code.rawValue))
    } catch { exit(withError: error) }
  }
}

enum Terminal {
  /// A message, which is not a result: standard error.
  static func note(_ message: String) { Files.print(message.printableLines, to: 2) }

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
