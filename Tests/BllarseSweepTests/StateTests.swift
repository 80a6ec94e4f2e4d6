import BllarseTestSupport
import Dispatch
import Synchronization
import Testing

@testable import BllarseSweep

/// A sweep frozen in a directory of its own.
struct Scratch {
  let temporary: TemporaryDirectory
  let directory: SweepDirectory

  init(_ yaml: String) throws {
    temporary = try TemporaryDirectory()
    directory = try Self.freeze(yaml, in: temporary).directory
  }

  static func freeze(
    _ yaml: String, in temporary: TemporaryDirectory, path: String = "/nowhere/sweep.yaml"
  ) throws -> (directory: SweepDirectory, selected: [Int], added: Int) {
    var file = try SweepFile.decode(yaml, path: path)
    file.program.command = ["/bin/true"]
    file.program.describesItself = false
    file.program.outputOption = nil
    let program = Program(
      command: file.program.command, checksum: nil, options: nil, describer: [],
      description: file.program)
    return try SweepDirectory.freeze(
      file, expansion: Expansion(file), program: program, at: temporary.file("sweep"))
  }

  static let claim = AttemptClaim(
    host: "h", process: 1, startTime: 1, started: 0, outputDirectory: "output", resumed: false)

  func finish(_ index: Int, nll: Double, seconds: Double = 1) throws {
    let entry = try directory.manifest.entry(at: index)
    let run = directory.run(index)
    let attempt = try #require(try run.claim(attempt: (run.attempts.last ?? 0) + 1, Self.claim))
    try run.write(
      RunResult(
        index: index, hash: entry.hash, attempt: attempt.number, seconds: seconds, finished: 0,
        host: "h", metrics: .object(["test": .object(["nll": .number(nll), "acc": 1])])))
  }
}

@Suite("A sweep on disk")
struct StateTests {
  @Test("an extension appends, whatever happens to the file, and an index keeps its meaning")
  func extending() throws {
    let temporary = try TemporaryDirectory()
    let first = try Scratch.freeze("grid: {a: [1, 2, 3]}", in: temporary)
    let before = try first.directory.manifest.entries()
    let second = try Scratch.freeze("grid: {a: [0, 2, 5, 1]}\nbase: {uid: new}", in: temporary)
    #expect(second.selected == [3, 1, 4, 0])
    #expect(second.added == 2)
    // What is no part of the content stays as it was frozen, and that can be told.
    #expect(first.directory.manifest.outdated == [:])
    #expect(second.directory.manifest.outdated == ["uid": 2])
    let after = try second.directory.manifest.entries()
    #expect(Array(after.prefix(3)) == before)
    #expect(after.map { $0["a"] } == [1, 2, 3, 0, 5])
    let third = try Scratch.freeze("grid: {a: [0, 2, 5, 1]}", in: temporary)
    #expect(third.added == 0)
    #expect(Files.names(in: temporary.file("sweep/sources")).count == 3)
  }

  @Test("another sweep of the same name is not mixed in")
  func kinship() throws {
    let temporary = try TemporaryDirectory()
    _ = try Scratch.freeze("grid: {a: [1, 2]}", in: temporary)
    #expect(throws: SweepError.self) {
      try Scratch.freeze("grid: {b: [1, 2]}", in: temporary, path: "/elsewhere/sweep.yaml")
    }
  }

  @Test("a program whose claimant died before it could write its id down is not run a second time")
  func unrecordedProgram() throws {
    let scratch = try Scratch("grid: {a: [1]}")
    let entry = try scratch.directory.manifest.entry(at: 0)
    var claim = Scratch.claim
    claim.host = Host.name
    // Nobody: no process of this id started then.
    claim.process = 1 << 30
    let attempt = try #require(try scratch.directory.run(0).claim(attempt: 1, claim))
    let program = try Spawn(
      arguments: ["/bin/sleep", "60"],
      environment: [AttemptDirectory.markName: attempt.programMark(claim)],
      output: .file("/dev/null"), errors: .file("/dev/null")
    ).start()
    let context = LaunchContext(["/bin/true"])
    #expect(
      throws: StartRefusal.busy("attempt 1 runs: process \(1 << 30) on \(Host.name)")
    ) { try RunningAttempt(entry, in: scratch.directory, context: context) }
    Child.send(9, to: program)
    _ = Child.wait(program)
    let next = try RunningAttempt(entry, in: scratch.directory, context: context)
    #expect(next.attempt.number == 2 && attempt.end?.reason == "ended without a word")
    while try next.poll() == nil { Host.sleep(seconds: 0.01) }
  }

  @Test("a claimant in a container, whose process ids mean others here, is not taken for dead")
  func container() throws {
    var claim = AttemptClaim(
      host: Host.name, process: 1, startTime: -1, started: 0, outputDirectory: "output",
      resumed: false, task: nil)
    #expect(claim.isAlive == false)
    claim.processNamespace = Host.processNamespace
    #expect(claim.processNamespace?.hasPrefix("pid:[") == true)
    #expect(try #require(AttemptClaim(claim.json)) == claim && claim.isAlive == false)
    claim.processNamespace = "pid:[1]"
    #expect(claim.isAlive == nil)
  }

  @Test("configurations that repeat others are frozen once")
  func duplicates() throws {
    let temporary = try TemporaryDirectory()
    let frozen = try Scratch.freeze("list: [{a: 1}, {a: 1.0, uid: x}, {a: 2}]", in: temporary)
    #expect(frozen.selected == [0, 1])
    #expect(frozen.directory.manifest.count == 2)
  }

  @Test("a manifest that was emptied is damage that is told, and nobody waits for its lines")
  func emptied() throws {
    let temporary = try TemporaryDirectory()
    _ = try Scratch.freeze("grid: {a: [1, 2]}", in: temporary)
    try temporary.write("sweep/manifest/000000000.jsonl", [])
    let path = temporary.file("sweep/manifest/000000000.jsonl")
    let fault = SweepError(
      .data, "\(path):1: not a manifest's line; restore the file, it is never changed")
    #expect(throws: fault) { try SweepDirectory.open(temporary.file("sweep")) }
    #expect(throws: fault) { try Scratch.freeze("grid: {a: [1, 2, 3]}", in: temporary) }
    try temporary.remove("sweep/manifest/000000000.jsonl")
    #expect(
      throws: SweepError(.usage, "there is no configuration 0; the sweep has none")
    ) { try SweepDirectory.open(temporary.file("sweep")).manifest.entry(at: 0) }
  }

  @Test("entries are found across the manifest's files")
  func segments() throws {
    let values = (0..<2345).map(String.init).joined(separator: ", ")
    let scratch = try Scratch("grid: {a: [\(values)]}")
    #expect(scratch.directory.manifest.count == 2345)
    for index in [0, 999, 1000, 1999, 2000, 2344] {
      #expect(try scratch.directory.manifest.entry(at: index)["a"] == .int(index))
    }
    #expect(
      throws: SweepError(
        .usage, "there is no configuration 2345; the sweep has 2345 (0 to 2344)")
    ) { try scratch.directory.manifest.entry(at: 2345) }
  }

  @Test("processes that extend one sweep at once agree on every index")
  func concurrentExtension() throws {
    let temporary = try TemporaryDirectory()
    let results = Mutex<[[Int]]>([])
    DispatchQueue.concurrentPerform(iterations: 8) { worker in
      let values = (0..<1500).map { String(($0 + 37 * worker) % 1700) }.joined(separator: ", ")
      let frozen = try? Scratch.freeze("grid: {a: [\(values)]}", in: temporary)
      results.withLock { $0.append(frozen?.selected ?? []) }
    }
    #expect(results.withLock { $0.allSatisfy { Set($0).count == 1500 } })
    let entries = try SweepDirectory.open(temporary.file("sweep")).manifest.entries()
    #expect(entries.count == 1700)
    #expect(Set(entries.map(\.hash)).count == 1700)
  }

  @Test("of many that claim an attempt exactly one has it", arguments: 1...20)
  func claims(attempt: Int) throws {
    let temporary = try TemporaryDirectory()
    let run = RunDirectory(path: temporary.file("runs/0/7"), index: 7)
    let winners = Mutex(0)
    DispatchQueue.concurrentPerform(iterations: 16) { _ in
      if let claimed = try? run.claim(attempt: attempt, Scratch.claim), claimed.number == attempt {
        winners.withLock { $0 += 1 }
      }
    }
    #expect(winners.withLock { $0 } == 1)
    #expect(run.attempts == [attempt])
    #expect(run.attempt(attempt).claim == Scratch.claim)
  }

  @Test("a result of other content, or half a result, does not count")
  func validity() throws {
    let scratch = try Scratch("grid: {a: [1]}")
    try scratch.finish(0, nll: 0.5)
    let run = scratch.directory.run(0)
    let hash = try scratch.directory.manifest.entry(at: 0).hash
    #expect(run.result(hash: hash)?.metrics[path: "test.nll"] == .double(0.5))
    #expect(run.result(hash: String(hash.reversed())) == nil)
    let text = try #require(try Files.text(of: "\(run.path)/result.json"))
    try Files.write(String(text.prefix(text.count / 2)), to: "\(run.path)/result.json")
    #expect(run.result(hash: hash) == nil)
  }

  @Test("a dry run writes nothing and numbers as the real one would")
  func dryRun() throws {
    let temporary = try TemporaryDirectory()
    let file = try SweepFile.decode("grid: {a: [1, 2]}", path: "/nowhere/s.yaml")
    let program = Program(
      command: ["/bin/true"], checksum: nil, options: nil, describer: [], description: file.program)
    let frozen = try SweepDirectory.freeze(
      file, expansion: Expansion(file), program: program, at: temporary.file("sweep"), dryRun: true)
    #expect(frozen.selected == [0, 1])
    #expect(try frozen.directory.manifest.entry(at: 1)["a"] == 2)
    #expect(temporary.contents.isEmpty)
  }

  @Test("the end of an attempt is recorded once")
  func endOnce() throws {
    let temporary = try TemporaryDirectory()
    let attempt = AttemptDirectory(path: temporary.path, number: 1)
    var end = AttemptEnd(
      outcome: .done, exitCode: 0, signal: nil, reason: "", seconds: 1, finished: 2)
    try attempt.write(end)
    end.outcome = .failed
    try attempt.write(end)
    #expect(attempt.end?.outcome == .done)
  }
}

@Suite("Program options")
struct ProgramOptionsTests {
  static let dump = """
    {"serializationVersion":0,"command":{"commandName":"p","defaultSubcommand":"train","arguments":[],
    "subcommands":[{"commandName":"train","arguments":[
      {"kind":"option","names":[{"kind":"long","name":"optimizer"},{"kind":"short","name":"o"}],"allValues":["adamw","ivon"]},
      {"kind":"option","names":[{"kind":"long","name":"batch-size"}]},
      {"kind":"flag","names":[{"kind":"long","name":"nodataaug"}]},
      {"kind":"flag","names":[{"kind":"long","name":"bias"}]},
      {"kind":"flag","names":[{"kind":"long","name":"no-bias"}]},
      {"kind":"positional","valueName":"file"}]},
      {"commandName":"evaluate","arguments":[{"kind":"option","names":[{"kind":"long","name":"head"}]}]}]}}
    """

  @Test("names and values are checked where they were written, before anything runs")
  func check() throws {
    let options = try #require(ProgramOptions(dump: Self.dump, program: "p"))
    let good =
      "base: {nodataaug: true, bias: false}\ngrid: {optimizer: [adamw, ivon], batch_size: [1, 2]}"
    #expect(throws: Never.self) { try options.check(try SweepFile.decode(good, path: "s.yaml")) }
    let bad = """
      base: {nodataaug: 3, batch_size: true}
      grid:
        optimiser: [adamw]
        optimizer: [adamw, ivom]
      """
    let message = """
      s.yaml:1:8: p's --nodataaug is a flag: true or false; found 3
      s.yaml:1:22: p's --batch-size takes a value; 'true' gives it none
      s.yaml:3:3: p has no option --optimiser; did you mean 'optimizer'?
      s.yaml:4:3: p's --optimizer does not take 'ivom'; did you mean 'ivon'? (one of: adamw, ivon)
      """
    #expect(throws: SweepError(.data, message)) {
      try options.check(try SweepFile.decode(bad, path: "s.yaml"))
    }
  }

  @Test("a subcommand's options are used when the program is called with its name")
  func subcommands() throws {
    let options = try #require(ProgramOptions(dump: Self.dump, program: "p", words: ["evaluate"]))
    #expect(options.accepts("--head") && !options.accepts("--optimizer"))
    #expect(ProgramOptions(dump: "usage: p", program: "p") == nil)
  }

  @Test("false switches off what is on by default, when there is a flag for it")
  func inversions() throws {
    let options = try #require(ProgramOptions(dump: Self.dump, program: "p"))
    #expect(options.inversions == ["bias": "--no-bias"])
  }
}
