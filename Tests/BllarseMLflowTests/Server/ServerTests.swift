import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseMLflow

extension Tag {
  /// Needs a real MLflow server.
  @Tag static var server: Self
}

@Suite("With a real MLflow server", .tags(.server), .withMLflow)
struct ServerTests {
  @Test(
    "a run with 10,000 points, NaN and infinities among them, and a 20 MB artifact arrives whole")
  func whole() throws {
    let server = try SharedServer.plain()
    let scratch = try TemporaryDirectory()
    let tracker = try Tracker(scratchConfiguration(scratch, uri: server.address))
    let run = try tracker.startRun(name: "whole", tags: ["group_id": "g1"])
    run.log(parameters: ["seed": 137, "näme": "ü\"'\\\n"])
    var expected: [String: [Double]] = ["loss": [], "train/acc": []]
    for step in 0..<5000 {
      let loss: Double =
        switch step % 1000 {
        case 7: .nan
        case 8: .infinity
        case 9: -.infinity
        default: 1 / Double(step + 1)
        }
      let accuracy = Double(step) * 1e-4 - 0.25
      expected["loss"]?.append(loss)
      expected["train/acc"]?.append(accuracy)
      run.log(metrics: ["loss": loss, "train/acc": accuracy], step: step)
    }
    var generator = SplitMix64(seed: 5)
    var bytes = [UInt8](repeating: 0, count: 20_000_000)
    for index in stride(from: 0, to: bytes.count, by: 8) {
      withUnsafeBytes(of: generator.next()) { bytes.replaceSubrange(index..<index + 8, with: $0) }
    }
    try scratch.write("head.safetensors", bytes)
    try run.log(artifact: scratch.file("head.safetensors"), as: "checkpoints/ä head.safetensors")
    try run.log(text: "", as: "empty.txt")
    let report = run.finish(waitingUpTo: .seconds(60))
    #expect(report.isComplete && report.refusedItems == 0)

    let client = try server.client()
    let id = try #require(run.remoteID)
    let info = try client.info(id)
    #expect(info["info"]?["status"] == .string("FINISHED"))
    #expect(info.pairs("params") == ["seed": "137", "näme": "ü\"'\\\n"])
    #expect(info.pairs("tags")["group_id"] == "g1")
    for (key, values) in expected {
      let history = try client.history(id, key).sorted { $0.step < $1.step }
      #expect(history.map(\.step) == Array(0..<5000))
      for (point, value) in zip(history, values) {
        // MLflow stores infinities as the greatest finite numbers.
        let stored =
          value.isInfinite
          ? (value > 0 ? Double.greatestFiniteMagnitude : -.greatestFiniteMagnitude) : value
        #expect(point.value == stored || (point.value.isNaN && value.isNaN))
      }
    }
    let (status, body) = try client.bytes(
      "api/2.0/mlflow-artifacts/artifacts/"
        + (try #require(info["info"]?["artifact_uri"]?.stringValue)).dropFirst(
          "mlflow-artifacts:/".count)
        + "/checkpoints/%C3%A4%20head.safetensors")
    #expect(status == 200)
    #expect(body == bytes)
    let list =
      try client.get(
        "mlflow/artifacts/list", query: [("run_id", id)])["files"]?.arrayValue ?? []
    #expect(Set(list.compactMap { $0["path"]?.stringValue }) == ["checkpoints", "empty.txt"])
  }

  @Test("a parent with three children is nested, by the id the server gave or the local one")
  func nesting() throws {
    let server = try SharedServer.plain()
    let scratch = try TemporaryDirectory()
    let tracker = try Tracker(scratchConfiguration(scratch, uri: server.address))
    let parent = try tracker.startRun(name: "parent", parent: .none, tags: ["is_parent": "true"])
    parent.waitForDelivery(upTo: .seconds(30))
    let parentID = try #require(parent.remoteID)
    for id in [parentID, parent.id, parent.id] {
      try Tracker(
        scratchConfiguration(
          scratch, uri: server.address, environment: ["MLFLOW_PARENT_RUN_ID": id])
      ).startRun().finish()
    }
    parent.finish()
    let children = try server.client().runs(tag: "mlflow.parentRunId", value: parentID)
    #expect(children.count == 3)
  }

  @Test("names with slashes, quotes, percent signs and other scripts work everywhere")
  func names() throws {
    let server = try SharedServer.plain()
    let scratch = try TemporaryDirectory()
    var configuration = scratchConfiguration(scratch, uri: server.address)
    configuration.experiment = "a/b 'c' \"d\" 100% &?# 実験"
    for round in 0..<2 {
      let run = try Tracker(configuration).startRun(name: "läuf/'\"%\(round)")
      run.set(tags: ["tag with space/ä": "'\"%"])
      #expect(run.finish().isComplete)
      let info = try server.client().info(try #require(run.remoteID))
      #expect(info["info"]?["run_name"] == .string("läuf/'\"%\(round)"))
      #expect(info.pairs("tags")["tag with space/ä"] == "'\"%")
    }
    let runs = try RESTStore(client: server.client()).summaries(
      experiment: try #require(configuration.experiment))
    #expect(runs.count == 2)
  }

  @Test("a deleted experiment is a clear error; after the restore everything arrives")
  func deletedExperiment() throws {
    let server = try SharedServer.plain()
    let client = try server.client()
    let scratch = try TemporaryDirectory()
    let log = LogRecorder()
    var configuration = scratchConfiguration(scratch, uri: server.address, log: log)
    configuration.experiment = "doomed-\(UInt32.random(in: 0...UInt32.max))"
    let store = RESTStore(client: client)
    let id = try store.experimentID(named: try #require(configuration.experiment))
    let request = JSON.object([.init("experiment_id", .string(id))])
    try client.post("mlflow/experiments/delete", request)
    let run = try Tracker(configuration).startRun()
    run.log(metric: "m", 1)
    let report = run.finish()
    #expect(report.undeliveredEvents == 3)
    #expect(
      report.problem?.contains("mlflow experiments restore --experiment-id \(id)`") == true)
    try client.post("mlflow/experiments/restore", request)
    #expect(Synchronizer(store, log).sync([run.directory]).first?.isComplete == true)
    #expect(
      try store.summaries(experiment: try #require(configuration.experiment)).first?.metrics == [
        "m": 1
      ])
  }

  @Test("a deleted run keeps its events local, names the way back, and is whole after it")
  func deletedRun() throws {
    let server = try SharedServer.plain()
    let client = try server.client()
    let scratch = try TemporaryDirectory()
    let run = try Tracker(scratchConfiguration(scratch, uri: server.address)).startRun()
    run.log(metric: "m", 1, step: 1)
    run.waitForDelivery(upTo: .seconds(30))
    let id = try #require(run.remoteID)
    let request = JSON.object([.init("run_id", .string(id))])
    try client.post("mlflow/runs/delete", request)
    run.log(metric: "m", 2, step: 2)
    let report = run.finish()
    #expect(!report.isComplete && report.refusedItems == 0)
    #expect(report.problem?.contains("mlflow runs restore --run-id \(id)`") == true)
    try client.post("mlflow/runs/restore", request)
    let store = RESTStore(client: client)
    #expect(Synchronizer(store, LogRecorder()).sync([run.directory]).first?.isComplete == true)
    #expect(try client.history(id, "m").count == 2)
  }

  @Test("an item the server refuses is set apart with the server's words, the rest arrives")
  func refused() throws {
    let server = try SharedServer.plain()
    let scratch = try TemporaryDirectory()
    let log = LogRecorder()
    let run = try Tracker(scratchConfiguration(scratch, uri: server.address, log: log)).startRun()
    run.log(parameters: ["a": 1])
    run.log(parameters: ["a": 2, "b": 3])
    run.log(metric: "bad@name", 1)
    run.log(metric: "good", 1)
    let report = run.finish()
    #expect(report.isComplete && report.refusedItems == 2)
    let info = try server.client().info(try #require(run.remoteID))
    #expect(info.pairs("params") == ["a": "1", "b": "3"])
    #expect(try server.client().history(try #require(run.remoteID), "good").count == 1)
    #expect(log.warnings.count == 2)
    #expect(
      log.warnings.contains { $0.contains("parameter 'a' is refused: INVALID_PARAMETER_VALUE") })
  }

  @Test("resent batches change nothing: delivering twice from the start gives the same run")
  func idempotent() throws {
    let server = try SharedServer.plain()
    let scratch = try TemporaryDirectory()
    let run = try Tracker(scratchConfiguration(scratch, uri: server.address)).startRun()
    run.log(parameters: ["p": 1])
    for step in 0..<1500 { run.log(metrics: ["m": step == 3 ? .nan : Double(step)], step: step) }
    run.finish()
    let directory = RunDirectory(path: run.directory)
    unlink(directory.deliveryState(to: .server(server.address)))
    let store = RESTStore(client: try server.client())
    let outcome = try #require(Synchronizer(store, LogRecorder()).sync([run.directory]).first)
    #expect(outcome.isComplete && outcome.deliveredRecords == 1503)
    #expect(try server.client().history(try #require(run.remoteID), "m").count == 1500)
    #expect(try server.client().runs(tag: Deliverer.localIDTag, value: run.id).count == 1)
  }
}

extension Synchronizer {
  init(_ store: any TrackingStore, _ log: LogRecorder) {
    var http = HTTPSettings()
    (http.backoffFactor, http.backoffJitter) = (0.02, 0.02)
    self.init(store: store, http: http, logger: log.logger)
  }
}

extension MLflowClient {
  /// The body of any address.
  func bytes(_ path: String) throws -> (Int, [UInt8]) {
    let transport = try CurlTransport(tls: TLSSettings(), timeoutSeconds: 60)
    let response = try transport.send(HTTPRequest("GET", "\(address)/\(path)")) { false }
    return (response.status, response.body)
  }
}
