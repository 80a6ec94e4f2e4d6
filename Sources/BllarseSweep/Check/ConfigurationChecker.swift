/// Asks programs whether the configurations of a sweep can run, before any is sent or started.
///
/// A program that has the subcommand `check` is asked: one process reads the words of each run as a
/// JSON array a line, and answers each with an object:
///
///     ["--loss-fn","IBProbit","--epochs","3"]
///     {"status":0,"notes":["…"],"memory_bytes":52428800}
///     {"status":64,"message":"…"}
///
/// `status` is the exit code that the run would have.
package struct ConfigurationChecker {
  private let description: ProgramDescription
  private let program: String?
  private let silenceSeconds: Double
  private let runner: any CommandRunner

  package init(
    _ description: ProgramDescription, program: String? = nil, silenceSeconds: Double = 300,
    runner: any CommandRunner = ProcessRunner()
  ) {
    self.description = description
    self.program = program
    self.silenceSeconds = silenceSeconds
    self.runner = runner
  }

  package func check(
    _ indices: [Int], program: (Int) throws -> [String], arguments: (Int) throws -> [String]
  ) throws -> CheckReport {
    var report = CheckReport()
    var located: [[String]: Program] = [:]
    var groups: [(program: Program, indices: [Int])] = []
    var ownRuns = 0
    for index in indices {
      let words = try program(index)
      if words == PythonProgram.words {
        ownRuns += 1
        continue
      }
      let found = try located[words] ?? locate(words)
      located[words] = found
      if let place = groups.firstIndex(where: { $0.program.describer == found.describer }) {
        groups[place].indices.append(index)
      } else {
        groups.append((found, [index]))
      }
    }
    if ownRuns > 0 {
      report.unasked.append(
        .init(program: "run(config)", reason: "is the module's own", count: ownRuns))
    }
    for (found, indices) in groups {
      guard found.options?.hasCheck == true else {
        report.unasked.append(
          .init(
            program: Files.name(of: found.command[0]),
            reason: found.options == nil
              ? "does not describe its options" : "has no subcommand 'check'",
            count: indices.count))
        continue
      }
      try ask(found.describer + ["check"], indices, &report) { index in
        // Leading words that are no part of what is asked belong to the run: a subcommand.
        let leading = located[try program(index)]?.command.dropFirst(found.describer.count) ?? []
        return leading + (try arguments(index))
      }
    }
    return report
  }

  private func locate(_ words: [String]) throws -> Program {
    var description = description
    description.command = words
    if let program { description.command[0] = program }
    return try Program.locate(description, runner: runner)
  }

  private func ask(
    _ command: [String], _ indices: [Int], _ report: inout CheckReport,
    words: (Int) throws -> [String]
  ) throws {
    let name = Files.name(of: command[0])
    let dialogue = try LineDialogue(command)
    var said = 0
    var heard = 0
    let ending = try dialogue.run(silenceSeconds: silenceSeconds) {
      guard said < indices.count else { return nil }
      let line = JSON.strings(try words(indices[said])).compact
      said += 1
      return Array(line.utf8)
    } answer: { bytes in
      guard heard < said, let answer = try? JSON.parse(bytes: bytes),
        report.add(answer, for: indices[heard])
      else {
        let line = String(decoding: bytes.prefix(100), as: UTF8.self)
        let about = heard < said ? "configuration \(indices[heard])" : "nothing that was asked"
        throw SweepError(
          .failed,
          "'\(name) check' answers about \(about): \(line); expected {\"status\": N, …}; \(Self.advice)"
        )
      }
      heard += 1
    }
    guard heard < indices.count else { return }
    let reason =
      switch ending {
      case nil: "said nothing for \(JSON.number(silenceSeconds).compact) s"
      case .exit(let code): "ended with exit code \(code)"
      case .signal(let number): "was ended by \(Signals.name(number))"
      }
    let text = String(decoding: dialogue.errorText, as: UTF8.self)
    let last = text.split(whereSeparator: \.isNewline).last.map { ": \($0)" } ?? ""
    throw SweepError(
      .failed,
      "'\(name) check' \(reason) at configuration \(indices[heard]), after \(heard) of \(indices.count) answers\(last); \(Self.advice)"
    )
  }

  private static let advice = "--no-check sends without asking"
}
