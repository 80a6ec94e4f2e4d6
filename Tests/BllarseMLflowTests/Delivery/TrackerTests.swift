@testable import BllarseMLflow
import BllarseTestSupport
import Foundation
import Testing

@Suite("Tracker and run")
struct TrackerTests {
  @Test("what a run logs arrives: metrics, parameters, tags, texts, files, folders, status")
  func everything() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    let tracker = try Tracker(scratchConfiguration(scratch), recordingTo: store)
    let run = try tracker.startRun(name: "a/b 'ü'", tags: ["group_id": "g"])
    run.log(parameters: ["seed": 137, "rate": 1e-3, "name": "x"])
    run.log(metrics: ["loss": .nan, "acc": 0.5], step: 1)
    run.log(metric: "loss", -.infinity, step: 2)
    run.set(description: "**bold**")
    try run.log(text: "hello", as: "notes/a.txt")
    try Files.makeDirectory(scratch.file("out/sub"))
    try scratch.write("out/x.bin", [1, 2, 3])
    try scratch.write("out/sub/y.bin", [])
    try run.log(artifact: scratch.file("out"), as: "results")
    let report = run.finish()
    #expect(report.isComplete && report.refusedItems == 0)
    let stored = try #require(store.runs.first)
    #expect(stored.name == "a/b 'ü'" && stored.experiment == "bllarse")
    #expect(stored.status == .finished && stored.endTime != nil)
    #expect(stored.parameters == ["seed": "137", "rate": "0.001", "name": "x"])
    #expect(stored.metrics["loss"]?.map(\.step) == [1, 2])
    #expect(stored.metrics["loss"]?.first?.value.isNaN == true)
    #expect(stored.metrics["loss"]?.last?.value == -.infinity)
    #expect(stored.tags["group_id"] == "g" && stored.tags["mlflow.note.content"] == "**bold**")
    #expect(stored.tags["mlflow.source.type"] == "LOCAL")
    #expect(
      stored.artifacts == [
        "notes/a.txt": Array("hello".utf8), "results/x.bin": [1, 2, 3], "results/sub/y.bin": [],
      ])
    #expect(run.remoteID == stored.id)
  }

  @Test("a run may go on for days: fifty thousand flushes and wake-ups do no harm")
  func manyFlushes() throws {
    let scratch = try TemporaryDirectory()
    let run = try Tracker(scratchConfiguration(scratch), recordingTo: InMemoryStore()).startRun()
    for _ in 0..<50_000 { run.flush() }
    #expect(run.finish().isComplete)
  }

  @Test("the artifact is the file as it was when it was logged")
  func snapshot() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    let run = try Tracker(scratchConfiguration(scratch), recordingTo: store).startRun()
    let path = try scratch.write("x", [1])
    try run.log(artifact: path)
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    try handle.write(contentsOf: Data([2]))
    try handle.close()
    unlink(path)
    run.finish()
    #expect(store.runs.first?.artifacts == ["x": [1]])
  }

  @Test("a file that is not there is an error at the call")
  func missingArtifact() throws {
    let scratch = try TemporaryDirectory()
    let run = try Tracker(scratchConfiguration(scratch), recordingTo: InMemoryStore()).startRun()
    let error = try #require(throws: TrackingError.self) { try run.log(artifact: "/nowhere/x") }
    #expect(error.description == "the artifact /nowhere/x does not exist")
    #expect(throws: TrackingError.self) { try run.log(text: "", as: "../escape") }
    run.finish()
  }

  @Test("the first end counts, later ones and later events change nothing")
  func endings() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    let log = LogRecorder()
    let run = try Tracker(scratchConfiguration(scratch, log: log), recordingTo: store).startRun()
    run.finish(status: .killed)
    run.finish(status: .finished)
    run.log(metric: "late", 1)
    #expect(store.runs.first?.status == .killed)
    #expect(store.runs.first?.metrics.isEmpty == true)
    #expect(log.warnings.contains { $0.contains("has ended") })
  }

  @Test("the environment's parent is taken, the caller's too, and none if so wanted")
  func parents() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    let tracker = try Tracker(
      scratchConfiguration(scratch, environment: ["MLFLOW_PARENT_RUN_ID": "from-environment"]),
      recordingTo: store)
    for parent in [RunParent.environment, .run("given"), .none] {
      try tracker.startRun(parent: parent).finish()
    }
    #expect(
      store.runs.map { $0.tags["mlflow.parentRunId"] } == ["from-environment", "given", nil])
  }

  @Test("a parent made here gives its local id to children, and is ended by another tracker")
  func parentAcrossProcesses() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    let configuration = scratchConfiguration(scratch)
    let parent = try Tracker(configuration, recordingTo: store).startRun(name: "sweep")
    parent.detach()
    let child = try Tracker(configuration, recordingTo: store).startRun(parent: .run(parent.id))
    child.finish()
    #expect(store.runs.first?.status == .running)
    try Tracker(configuration, recordingTo: store).resumeRun(id: parent.id).finish(status: .failed)
    #expect(store.runs.count == 2)
    #expect(store.runs.first?.status == .failed)
    #expect(store.runs.last?.tags["mlflow.parentRunId"] == store.runs.first?.id)
  }

  @Test("MLFLOW_RUN_ID goes on with that run")
  func runID() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    let first = try Tracker(scratchConfiguration(scratch), recordingTo: store).startRun()
    first.finish(status: .killed)
    let id = try #require(first.remoteID)
    let tracker = try Tracker(
      scratchConfiguration(scratch, environment: ["MLFLOW_RUN_ID": id]), recordingTo: store)
    let second = try tracker.startRun()
    second.log(metric: "m", 1)
    second.waitForDelivery(upTo: .seconds(10))
    #expect(store.runs.first?.status == .running)
    second.finish()
    #expect(store.runs.count == 1 && store.runs.first?.status == .finished)
    #expect(store.runs.first?.metrics["m"]?.count == 1)
  }

  @Test("a dead store does not hold the run up beyond the drain time, and nothing is lost")
  func dead() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    store.failing { _ in .unavailable("connection refused") }
    let log = LogRecorder()
    let tracker = try Tracker(scratchConfiguration(scratch, log: log), recordingTo: store)
    let run = try tracker.startRun(name: "r")
    for step in 0..<100 { run.log(metric: "m", 1, step: step) }
    let start = ContinuousClock.now
    let report = run.finish(waitingUpTo: .milliseconds(300))
    #expect(start.duration(to: .now) < .seconds(5))
    #expect(report.undeliveredEvents == 102)
    #expect(report.command?.hasPrefix("bllarse-mlflow sync ") == true)
    #expect(log.warnings.contains { $0.contains("102 events of run 'r' are still local") })
    store.failing(nil)
    #expect(Synchronizer(store).sync([tracker.settings.journalDirectory]).first?.isComplete == true)
    #expect(store.runs.first?.metrics["m"]?.count == 100)
    #expect(store.runs.first?.status == .finished)
  }

  @Test("a blocked store ends the wait at once, with one line of warning before the last")
  func blocked() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    store.failing { _ in .blocked("wrong password") }
    let log = LogRecorder()
    let run = try Tracker(scratchConfiguration(scratch, log: log), recordingTo: store).startRun()
    for step in 0..<10 { run.log(metric: "m", 1, step: step) }
    let start = ContinuousClock.now
    let report = run.finish()
    #expect(start.duration(to: .now) < .seconds(10))
    #expect(report.problem == "wrong password")
    #expect(log.warnings.count == 2)
    #expect(log.warnings.first?.hasPrefix("wrong password; events are kept in ") == true)
  }

  @Test("a value beyond MLflow's limit is cut openly, and kept whole as an artifact")
  func longValue() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    let run = try Tracker(scratchConfiguration(scratch), recordingTo: store).startRun()
    let text = String(repeating: "x", count: 9000)
    run.log(parameters: ["long": text])
    run.set(tags: ["long": text])
    run.finish()
    let stored = try #require(store.runs.first)
    #expect(stored.parameters["long"]?.count == 6000)
    #expect(stored.tags["long"]?.count == 8000)
    #expect(stored.artifacts["long_values/parameters/long.txt"] == Array(text.utf8))
    #expect(stored.artifacts["long_values/tags/long.txt"] == Array(text.utf8))
  }

  @Test("no secret reaches a journal, a parameter, a tag, a text or a message")
  func secrets() throws {
    let scratch = try TemporaryDirectory()
    let store = InMemoryStore()
    let log = LogRecorder()
    let secrets = ["hunter2-password", "hunter2-token", "hunter2-address"]
    let tracker = try Tracker(
      scratchConfiguration(
        scratch, uri: "http://anna:hunter2-address@127.0.0.1:9/", log: log,
        environment: [
          "MLFLOW_TRACKING_USERNAME": "anna", "MLFLOW_TRACKING_PASSWORD": secrets[0],
          "MLFLOW_TRACKING_TOKEN": secrets[1],
        ]))
    let run = try tracker.startRun(name: "with \(secrets[0])", tags: ["t": secrets[1]])
    run.log(parameters: ["uri": "http://anna:hunter2-address@127.0.0.1:9/", "p": secrets[0]])
    try run.log(text: secrets.joined(separator: " "), as: "config.txt")
    let report = run.finish(waitingUpTo: .milliseconds(200))
    #expect(!report.isComplete)
    var everything = log.lines.joined() + "\(report)" + tracker.trackingURI
    let names = FileManager.default.enumerator(atPath: scratch.path)?.allObjects ?? []
    #expect(names.count > 3)
    for case let name as String in names where !Files.isDirectory(scratch.file(name)) {
      everything += String(decoding: try scratch.read(name), as: UTF8.self)
    }
    #expect(!everything.contains("hunter2"))
    #expect(everything.contains("<redacted>"))
    _ = store
  }
}
