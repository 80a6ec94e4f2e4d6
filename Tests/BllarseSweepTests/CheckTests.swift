import BllarseTestSupport
import Testing

@testable import BllarseSweep

/// Programs written by the tests.
private struct Scripts {
  let temporary: TemporaryDirectory

  init() throws { temporary = try TemporaryDirectory() }

  /// A program that has a subcommand `check`, which runs some lines of shell.
  func program(_ check: String) throws -> String {
    let dump =
      #"{"command":{"commandName":"p","arguments":[],"subcommands":[{"commandName":"check"}]}}"#
    let path = temporary.file("program")
    try Files.write(
      "#!/bin/sh\ncase $1 in --experimental-dump-help) echo '\(dump)';; check)\n\(check)\n;; esac\n",
      to: path, executable: true)
    return path
  }
}

@Suite("A conversation line by line")
struct LineDialogueTests {
  static func converse(
    _ command: [String], lines: Int, length: Int, silence: Double = 60
  ) throws -> (ending: Ending?, heard: Int) {
    let dialogue = try LineDialogue(command)
    var said = 0
    var heard = 0
    let line = [UInt8](repeating: UInt8(ascii: "x"), count: length)
    let ending = try dialogue.run(silenceSeconds: silence) {
      guard said < lines else { return nil }
      said += 1
      return line
    } answer: {
      #expect($0.count == length || $0.isEmpty)
      heard += 1
    }
    return (ending, heard)
  }

  @Test("more than any pipe holds goes both ways at once")
  func large() throws {
    let (ending, heard) = try Self.converse(["/bin/cat"], lines: 2000, length: 3000)
    #expect(ending == .exit(0) && heard == 2000)
  }

  @Test("a program that stops reading ends the talk, and not this process")
  func early() throws {
    let (ending, heard) = try Self.converse(
      ["/bin/sh", "-c", "head -n 1; exit 3"], lines: 2000, length: 3000)
    #expect(ending == .exit(3) && heard == 1)
  }

  @Test("what goes to standard error neither blocks the talk nor fills the memory")
  func noise() throws {
    let dialogue = try LineDialogue(
      ["/bin/sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' e >&2; echo >&2; echo last >&2; cat"])
    var lines: [[UInt8]] = [Array("a".utf8)]
    var heard: [[UInt8]] = []
    let ending = try dialogue.run(silenceSeconds: 60) {
      lines.popLast()
    } answer: {
      heard.append($0)
    }
    #expect(ending == .exit(0) && heard == [Array("a".utf8)])
    #expect(dialogue.errorText.count <= 1 << 17)
    #expect(dialogue.errorText.suffix(5).elementsEqual(Array("last\n".utf8)))
  }

  @Test("a program that says nothing is ended")
  func silent() throws {
    let (ending, heard) = try Self.converse(
      ["/bin/sleep", "600"], lines: 100_000, length: 10, silence: 0.1)
    #expect(ending == nil && heard == 0)
  }
}

@Suite("Configurations checked by their program")
struct ConfigurationCheckTests {
  private static func check(
    _ yaml: String, program: String, silence: Double = 60
  ) throws -> CheckReport {
    let file = try SweepFile.decode(yaml, path: "/nowhere/s.yaml")
    let expansion = try Expansion(file)
    var checker = ConfigurationChecker(file.program, program: program)
    checker.silenceSeconds = silence
    return try checker.check(Array(0..<expansion.count)) { try expansion.entry(at: $0) }
  }

  @Test("one process answers for all, and every answer goes to its configuration")
  func many() throws {
    let scripts = try Scripts()
    let program = try scripts.program(
      """
      echo one >>'\(scripts.temporary.file("processes"))'
      sed -e 's/.*"--bb","7".*/{"status":64,"message":"seven"}/' \
      -e 's/.*"--aa","\\([0-9]*\\)".*/{"status":0,"notes":["a note"],"memory_bytes":\\1}/'
      """)
    let numbers = (0..<500).map(String.init).joined(separator: ", ")
    let report = try Self.check(
      "grid: {aa: [\(numbers)], bb: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}", program: program)
    #expect(report.asked == Array(0..<5000))
    #expect(report.refusals.map(\.message) == ["seven"])
    #expect(report.refused == (0..<500).map { $0 * 10 + 6 })
    #expect(report.notes.map(\.text) == ["a note"] && report.notes.map(\.count) == [4500])
    #expect(report.largestMemory == .init(index: 4990, bytes: 499))
    #expect(try Files.text(of: scripts.temporary.file("processes")) == "one\n")
  }

  @Test("a leading word is a subcommand of the run, and part of what is asked")
  func subcommand() throws {
    let scripts = try Scripts()
    let program = try scripts.program(
      "cat >'\(scripts.temporary.file("words"))'; echo '{\"status\":0}'")
    _ = try Self.check("program: [x, text]\nbase: {aa: 1, bb: -2}", program: program)
    #expect(
      try Files.text(of: scripts.temporary.file("words"))
        == "[\"text\",\"--aa\",\"1\",\"--bb=-2\"]\n")
  }

  @Test("a program without the subcommand, or without a description, is not asked")
  func unasked() throws {
    let scripts = try Scripts()
    let plain = scripts.temporary.file("plain")
    try Files.write("#!/bin/sh\nexit 1\n", to: plain, executable: true)
    let report = try Self.check("seeds: 3", program: plain)
    #expect(report.asked.isEmpty && report.refusals.isEmpty)
    #expect(
      report.noteLines == [
        "note: plain does not describe its options: what cannot run is not known before it starts"
      ])
    let steps = try Self.check("seeds: 3", program: Fixtures.path("sweeps/programs/steps.sh"))
    #expect(steps.unasked.map(\.program) == ["steps.sh"] && steps.unasked.map(\.count) == [3])
    #expect(steps.unasked.map(\.reason) == ["has no subcommand 'check'"])
  }

  @Test("answers that are none, too few or too many are told with the configuration")
  func faults() throws {
    let scripts = try Scripts()
    func message(_ check: String, silence: Double = 60) throws -> String {
      let program = try scripts.program(check)
      do {
        _ = try Self.check("seeds: 3", program: program, silence: silence)
        return ""
      } catch let error as SweepError {
        #expect(error.code == .failed)
        return error.description
      }
    }
    #expect(
      try message("echo '{\"status\":0}'; cat; echo boom >&2; exit 9")
        == "'program check' answers about configuration 1: [\"--seed\",\"0\"]; expected {\"status\": N, …}; --no-check sends without asking"
    )
    #expect(
      try message("echo '{\"status\":0}'; cat >/dev/null; echo boom >&2; exit 9")
        == "'program check' ended with exit code 9 at configuration 1, after 1 of 3 answers: boom; --no-check sends without asking"
    )
    #expect(
      try message("exec sleep 600", silence: 0.1)
        == "'program check' said nothing for 0.1 s at configuration 0, after 0 of 3 answers; --no-check sends without asking"
    )
    #expect(
      try message("sed 's/.*/{\"status\":0}/'; echo '{\"status\":0}'").hasPrefix(
        "'program check' answers about nothing that was asked: {\"status\":0}"))
  }

  @Test("reasons are grouped, without what a parser says of its usage, and long lists are cut")
  func text() {
    var report = CheckReport()
    for index in 0..<20 {
      let answer: JSON =
        index == 0 || index > 2 && index < 14
        ? .object([
          "status": 64,
          "message":
            "Error: --tune-mode full_network does not exist yet\nUsage: x [--a <a>]\n  See 'x --help'",
        ])
        : index == 14
          ? .object(["status": 65, "message": "a.npz:\n no training split"])
          : .object(["status": 0])
      let understood = report.add(answer, for: index)
      #expect(understood)
    }
    let understood = report.add("x", for: 20)
    #expect(!understood)
    #expect(
      report.refusalText == """
        12 configurations (0,3-13): --tune-mode full_network does not exist yet
        configuration 14: a.npz:
           no training split
        """)
    var long = CheckReport()
    for index in 0..<1000 {
      let answer: JSON = .object(["status": 64, "message": .string("m\(index % 2)")])
      _ = long.add(answer, for: index)
    }
    #expect(long.refusalText.split(separator: "\n")[0].hasPrefix("500 configurations (0,2,4,"))
    #expect(long.refusalText.contains(",…,998): m0"))
    #expect(long.refusalText.utf8.count < 400)
  }

  @Test("what was left out is remembered until it can run")
  func record() throws {
    let scratch = try Scratch("seeds: 4")
    func update(_ statuses: [Int: Int]) throws {
      var report = CheckReport()
      for (index, status) in statuses.sorted(by: { $0.key < $1.key }) {
        let answer: JSON = .object([
          "status": .int(status), "message": .string("why \(status)"),
        ])
        _ = report.add(answer, for: index)
      }
      try RefusalRecord.update(scratch.directory, report)
    }
    try update([0: 0, 1: 64, 2: 65])
    let first = try StatusReader(scratch.directory).all()
    #expect(first.map(\.reason) == ["", "cannot run: why 64", "cannot run: why 65", ""])
    try update([2: 0, 3: 64])
    #expect(try RefusalRecord.read(scratch.directory) == [1: "why 64", 3: "why 64"])
    try Files.write("{", to: "\(scratch.directory.path)/refused.json")
    #expect(throws: SweepError.self) { try StatusReader(scratch.directory) }
  }
}
