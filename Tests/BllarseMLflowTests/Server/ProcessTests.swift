import BllarseTestSupport
import Foundation
import GRDB
import Testing

@testable import BllarseMLflow

@Suite("Processes that track", .serialized)
struct ProcessTests {
  private let program = Program("mlflow-test-program")

  private func count(_ path: String, _ sql: String) throws -> Int {
    try DatabaseQueue(path: path).read { try Int.fetchOne($0, sql: sql) ?? -1 }
  }

  /// Reads what a process says until it has said a word.
  private static func wait(for word: String, on pipe: Pipe) throws {
    var text = ""
    while !text.contains(word) {
      let data = pipe.fileHandleForReading.availableData
      try #require(!data.isEmpty, "it ended without '\(word)': \(text)")
      text += String(decoding: data, as: UTF8.self)
    }
  }

  @Test("eight processes at once lose nothing in one new file")
  func eight() throws {
    let scratch = try TemporaryDirectory()
    let processes = try (0..<8).map { index in
      try program.start(
        [scratch.path, "1000", "metrics=3", "name=p\(index)", "pause=200", "drain=120"],
        in: scratch.path,
        environment: ["HOME": scratch.path], output: FileHandle.nullDevice,
        error: FileHandle.nullDevice)
    }
    for process in processes { process.waitUntilExit() }
    #expect(processes.map(\.terminationStatus) == Array(repeating: 0, count: 8))
    let path = scratch.file("mlflow.db")
    #expect(try count(path, "SELECT count(*) FROM metrics") == 24_000)
    #expect(try count(path, "SELECT count(*) FROM runs WHERE status = 'FINISHED'") == 8)
    #expect(try count(path, "SELECT count(*) FROM experiments") == 2)
    #expect(
      try count(path, "SELECT count(*) FROM latest_metrics WHERE step = 1000") == 24)
  }

  @Test("events that no disk took are said to be lost, with the reason, and not to be local")
  func lost() throws {
    let scratch = try TemporaryDirectory()
    // A file of this process may have one block, as on a disk that is full.
    let run = try Program(path: "/bin/bash").run(
      [
        "-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"", program.path, scratch.path, "200",
        "name=unlucky", "drain=1",
      ], in: scratch.path, environment: ["HOME": scratch.path])
    #expect(run.status == 0, "\(run.error)")
    #expect(run.error.contains("the last events of run 'unlucky' are lost"), "\(run.error)")
    #expect(run.error.contains("cannot be written (File too large)"), "\(run.error)")
    #expect(!run.error.contains("are still local"), "\(run.error)")
  }

  @Test("SIGKILL at fifty random moments: every event before the last flush is delivered by sync")
  func kill() throws {
    let scratch = try TemporaryDirectory()
    var generator = SplitMix64(seed: 50)
    var flushed: [String: Int] = [:]
    // On a machine that is busy the moments are later: most must find a run that logs.
    var longest = 0.6
    var kills = 0
    while kills < 50 || flushed.values.count(where: { $0 > 0 }) < 30 {
      try #require(kills < 500, "processes are killed before they log")
      // Five at a time, each with its own moment.
      let running = try (0..<5).map { _ in
        let pipe = Pipe()
        let process = try program.start(
          [scratch.path, "1000000", "pause=100", "flush=7"], in: scratch.path,
          environment: [
            "HOME": scratch.path, "MLFLOW_TRACKING_URI": "sqlite:///" + scratch.file("live.db"),
          ], output: pipe, error: FileHandle.nullDevice)
        return (process, pipe)
      }
      let moments = running.map { _ in Double.random(in: 0.02...longest, using: &generator) }
        .sorted()
      var waited = 0.0
      for ((process, pipe), moment) in zip(running, moments) {
        usleep(UInt32((moment - waited) * 1e6))
        waited = moment
        Foundation.kill(process.processIdentifier, SIGKILL)
        let text = String(
          decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        kills += 1
        let lines = text.split(separator: "\n")
        guard let id = lines.first(where: { $0.hasPrefix("id ") })?.dropFirst(3) else {
          longest *= 1.1
          continue
        }
        // A last line may be torn too: only whole ones count.
        let whole = text.hasSuffix("\n") ? lines[...] : lines.dropLast()
        flushed[String(id)] =
          whole.compactMap { $0.hasPrefix("flushed ") ? Int($0.dropFirst(8)) : nil }.last ?? 0
      }
    }
    // Into the file that some were delivering to when they were killed, and twice.
    for round in 0..<2 {
      let output = try Program("bllarse-mlflow").run(
        ["sync", "--quiet", scratch.file("mlflow-journal"), "--to", "sqlite:///live.db"],
        in: scratch.path, environment: ["HOME": scratch.path])
      #expect(output.status == 0, "round \(round): \(output.output) \(output.error)")
    }
    let path = scratch.file("live.db")
    for (id, steps) in flushed {
      let stored = try DatabaseQueue(path: path).read {
        try Int.fetchAll(
          $0, sql: "SELECT step FROM metrics WHERE run_uuid = ? ORDER BY step", arguments: [id])
      }
      #expect(stored.count >= steps, "\(id)")
      #expect(stored == Array(stride(from: 1, through: stored.count, by: 1)), "\(id)")
      #expect(
        try count(path, "SELECT count(*) FROM runs WHERE run_uuid = '\(id)' AND status = 'KILLED'")
          == 1)
    }
  }

  @Test("SIGTERM ends the run KILLED, and the process by that signal")
  func terminate() throws {
    let scratch = try TemporaryDirectory()
    let pipe = Pipe()
    let process = try program.start(
      [scratch.path, "100", "end=signal"], in: scratch.path, environment: ["HOME": scratch.path],
      output: pipe, error: FileHandle.nullDevice)
    try Self.wait(for: "waiting", on: pipe)
    Foundation.kill(process.processIdentifier, SIGTERM)
    process.waitUntilExit()
    #expect(process.terminationReason == .uncaughtSignal && process.terminationStatus == SIGTERM)
    let path = scratch.file("mlflow.db")
    #expect(try count(path, "SELECT count(*) FROM runs WHERE status = 'KILLED'") == 1)
    #expect(try count(path, "SELECT count(*) FROM metrics") == 100)
  }

  @Test("under nohup a lost terminal does not end the run, and SIGTERM does")
  func nohup() throws {
    let scratch = try TemporaryDirectory()
    let pipe = Pipe()
    let process = try Program(path: "/usr/bin/nohup").start(
      [program.path, scratch.path, "100", "end=signal"], in: scratch.path,
      environment: ["HOME": scratch.path], output: pipe, error: FileHandle.nullDevice)
    try Self.wait(for: "waiting", on: pipe)
    Foundation.kill(process.processIdentifier, SIGHUP)
    usleep(500_000)
    #expect(process.isRunning)
    Foundation.kill(process.processIdentifier, SIGTERM)
    process.waitUntilExit()
    #expect(process.terminationReason == .uncaughtSignal && process.terminationStatus == SIGTERM)
    #expect(
      try count(scratch.file("mlflow.db"), "SELECT count(*) FROM runs WHERE status = 'KILLED'") == 1
    )
  }

  @Test("two syncs at once deliver a sweep once, into one file")
  func twice() throws {
    let scratch = try TemporaryDirectory()
    let parent = String(repeating: "f", count: 32)
    _ = try writeJournal(
      [.tags(["is_parent": "true"]), .end(.finished)], id: parent, in: scratch.file("j"))
    for index in 0..<40 {
      let id = String(index, radix: 16)
      _ = try writeJournal(
        (0..<50).map { .metric("m", Double($0), step: $0) } + [.end(.finished)],
        id: String(repeating: "0", count: 32 - id.count) + id, in: scratch.file("j"), parent: parent
      )
    }
    let arguments = ["sync", "j", "--to", "sqlite:///all.db", "--quiet"]
    let sync = Program("bllarse-mlflow")
    let processes = try (0..<2).map { _ in
      try sync.start(
        arguments, in: scratch.path, environment: ["HOME": scratch.path],
        output: FileHandle.nullDevice, error: FileHandle.nullDevice)
    }
    for process in processes { process.waitUntilExit() }
    #expect(processes.map(\.terminationStatus) == [0, 0])
    let path = scratch.file("all.db")
    #expect(try count(path, "SELECT count(*) FROM runs WHERE status = 'FINISHED'") == 41)
    #expect(try count(path, "SELECT count(*) FROM metrics") == 2000)
    #expect(
      try count(
        path,
        "SELECT count(*) FROM tags WHERE key = 'mlflow.parentRunId' AND value = '\(parent)'") == 40)
  }

  @Test("the command line: exit codes and messages")
  func commandLine() throws {
    let scratch = try TemporaryDirectory()
    let program = Program("bllarse-mlflow")
    func run(_ arguments: String..., variables: [String: String] = [:]) throws -> Program.Output {
      try program.run(
        arguments, in: scratch.path, environment: ["HOME": scratch.path].merging(variables) { $1 })
    }
    let noFolder = try run("sync")
    #expect(noFolder.status == 65)
    #expect(noFolder.error.contains("no folder \(scratch.path)/mlflow-journal"))
    #expect(try run("sync", "--to", "file:mlruns").status == 64)
    #expect(try run("runs", "--limit", "0").status == 64)
    let settings = try run("check", variables: ["MLFLOW_TRACKING_URI": "file:mlruns"])
    #expect(settings.status == 65 && settings.error.contains("file store"))
    let dead = try run("check", "--tracking-uri", "http://127.0.0.1:9")
    #expect(dead.status == 1)
    #expect(dead.error.hasPrefix("bllarse-mlflow: cannot reach http://127.0.0.1:9: "))
    _ = try writeJournal([.metric("m", 1)], in: scratch.file("mlflow-journal"))
    let unreachable = try run(
      "sync", "--to", "http://127.0.0.1:9",
      variables: [
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
      ])
    #expect(unreachable.status == 75)
    let delivered = try run("sync")
    #expect(delivered.status == 0)
    #expect(delivered.output.contains("delivered 2 events; ended KILLED, its process is gone"))
    let list = try run("runs", "test")
    #expect(list.output.contains("KILLED"))
    let pruned = try run("sync", "--prune")
    #expect(pruned.status == 0)
    #expect(RunDirectory.find(below: scratch.file("mlflow-journal")).isEmpty)
  }
}

@Suite("TLS")
struct TLSTests {
  @Test("certificates are checked, against the file that is given; a client shows its own")
  func certificates() throws {
    let scratch = try TemporaryDirectory()
    let openssl = Program(path: "/usr/bin/openssl")
    for name in ["server", "client"] {
      let made = try openssl.run(
        [
          "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
          "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "\(name).key", "-out", "\(name).crt",
        ],
        in: scratch.path)
      #expect(made.status == 0, "\(made.error)")
    }
    try scratch.write("client.pem", scratch.read("client.crt") + scratch.read("client.key"))
    let port = try MLflowServer.freePort()
    let server = try openssl.start(
      [
        "s_server", "-accept", "127.0.0.1:\(port)", "-cert", "server.crt", "-key", "server.key",
        "-www", "-Verify", "1", "-verify_return_error", "-CAfile", "client.crt", "-quiet",
      ],
      in: scratch.path, output: FileHandle.nullDevice, error: FileHandle.nullDevice)
    defer { Foundation.kill(server.processIdentifier, SIGKILL) }
    try MLflowServer.waitForListener(on: port)
    func status(_ tls: TLSSettings) throws -> Int {
      let transport = try CurlTransport(tls: tls, timeoutSeconds: 10)
      return try transport.send(HTTPRequest("GET", "https://127.0.0.1:\(port)/")) { false }.status
    }
    var tls = TLSSettings()
    tls.clientPath = scratch.file("client.pem")
    let unchecked = #expect(throws: TransportError.self) { try status(tls) }
    #expect(unchecked?.mayHaveArrived == false)
    tls.authorityPath = scratch.file("server.crt")
    #expect(try status(tls) == 200)
    tls.authorityPath = nil
    tls.isVerified = false
    #expect(try status(tls) == 200)
    tls.clientPath = nil
    #expect(throws: TransportError.self) { try status(tls) }
  }
}
