import BllarseTestSupport
import Foundation
import GRDB
import Synchronization
import Testing

@testable import BllarseMLflow

@Suite(
  "With a failing MLflow server", .tags(.server), .serialized, .withMLflow)
struct FaultTests {
  @Test(
    "through a proxy that drops, cuts, delays and answers 429, 500, 503, 200 runs arrive exactly once"
  )
  func proxy() async throws {
    let server = try SharedServer.plain()
    let proxy = try FaultProxy(before: server, seed: 20_26, faultProbability: 0.3)
    defer { proxy.stop() }
    let scratch = try TemporaryDirectory()
    let log = LogRecorder()
    var configuration = scratchConfiguration(scratch, uri: proxy.address, log: log)
    configuration.experiment = "proxied"
    configuration.drainTimeout = .seconds(90)
    let tracker = try Tracker(configuration)
    let counter = Counter()
    // Threads, because finishing a run waits.
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<12 {
        group.addTask {
          await onThread {
            while true {
              let index = counter.next()
              guard index < 200, let run = try? tracker.startRun(name: "run-\(index)") else {
                return
              }
              run.log(parameters: ["index": index])
              for step in 0..<50 {
                run.log(metrics: ["a": Double(step), "b": Double(index)], step: step)
              }
              run.set(tags: ["done": "yes"])
              run.finish()
            }
          }
        }
      }
    }
    let faults = proxy.counts.filter { $0.key != .none }.values.reduce(0, +)
    #expect(faults > 300)
    #expect(FaultProxy.Fault.allCases.allSatisfy { (proxy.counts[$0] ?? 0) > 10 } == true)
    // What the drain time did not suffice for, sync delivers.
    let direct = RESTStore(client: try server.client())
    let viaProxy = RESTStore(
      client: MLflowClient(
        address: proxy.address,
        transport: try CurlTransport(tls: TLSSettings(), timeoutSeconds: 20)))
    let outcomes = Synchronizer(viaProxy, log).sync([tracker.settings.journalDirectory])
    #expect(outcomes.filter { !$0.isComplete }.map(\.line).prefix(3) == [])
    #expect(outcomes.allSatisfy { $0.refusedItems == 0 } == true)

    let summaries = try direct.summaries(experiment: "proxied")
    #expect(summaries.count == 200)
    #expect(Set(summaries.map(\.name)).count == 200)
    #expect(summaries.allSatisfy { $0.status == "FINISHED" && $0.tags["done"] == "yes" } == true)
    let client = try server.client()
    for run in summaries {
      let index = try #require(run.parameters["index"].flatMap(Double.init))
      let a = try client.history(run.id, "a")
      #expect(a.map(\.value).sorted() == (0..<50).map(Double.init))
      #expect(try client.history(run.id, "b").map(\.value) == Array(repeating: index, count: 50))
    }
  }

  @Test("a server that is killed in the middle of a run and started again has everything once")
  func restart() throws {
    let scratch = try TemporaryDirectory()
    let folder = scratch.file("server")
    try Files.makeDirectory(folder)
    let port = try MLflowServer.freePort()
    let first = try MLflowServer.start(in: folder, port: port, arguments: ["--workers", "1"])
    let log = LogRecorder()
    let tracker = try Tracker(scratchConfiguration(scratch, uri: first.address, log: log))
    let run = try tracker.startRun(name: "survivor")
    for step in 0..<3000 {
      run.log(metric: "m", Double(step), step: step)
      if step == 1000 { run.waitForDelivery(upTo: .seconds(30)) }
      if step == 2000 { first.kill() }
    }
    run.log(parameters: ["p": 1])
    #expect(!run.waitForDelivery(upTo: .seconds(1)).isComplete)
    let second = try MLflowServer.start(in: folder, port: port, arguments: ["--workers", "1"])
    let report = run.finish(waitingUpTo: .seconds(60))
    #expect(report.isComplete && report.refusedItems == 0)
    let client = try second.client()
    let points = try client.history(try #require(run.remoteID), "m")
    #expect(points.map(\.step).sorted() == Array(0..<3000))
    #expect(try client.runs(tag: Deliverer.localIDTag, value: run.id).count == 1)
    #expect(try client.info(try #require(run.remoteID))["info"]?["status"] == .string("FINISHED"))

    // Killed for good: the run ends within its drain time, and two syncs later give the same.
    let dead = try tracker.startRun(name: "late")
    for step in 0..<500 { dead.log(metric: "m", Double(step), step: step) }
    dead.waitForDelivery(upTo: .seconds(30))
    second.kill()
    for step in 500..<1000 { dead.log(metric: "m", Double(step), step: step) }
    let start = ContinuousClock.now
    let lateReport = dead.finish(waitingUpTo: .seconds(3))
    #expect(start.duration(to: .now) < .seconds(20))
    #expect(lateReport.undeliveredEvents > 500)
    #expect(lateReport.command?.contains("bllarse-mlflow sync") == true)
    let third = try MLflowServer.start(in: folder, port: port, arguments: ["--workers", "1"])
    var lists: [[MetricPoint]] = []
    for _ in 0..<2 {
      let output = try Program("bllarse-mlflow").run(
        ["sync", tracker.settings.journalDirectory, "--to", third.address], in: scratch.path,
        environment: ["HOME": scratch.path])
      #expect(output.status == 0, "\(output.output)\(output.error)")
      lists.append(try third.client().history(try #require(dead.remoteID), "m"))
    }
    #expect(lists[0].map(\.step).sorted() == Array(0..<1000))
    #expect(lists[0] == lists[1])
    third.kill()
  }

  @Test("a wrong password is one clear line; the run succeeds, and sync delivers it all afterwards")
  func password() throws {
    let scratch = try TemporaryDirectory()
    let folder = scratch.file("server")
    try Files.makeDirectory(folder)
    let server = try MLflowServer.start(
      in: folder, arguments: ["--app-name", "basic-auth", "--workers", "1"],
      environment: [
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "x", "MLFLOW_AUTH_ADMIN_PASSWORD": "right-password-1",
      ])
    defer { server.kill() }
    let log = LogRecorder()
    let wrong = [
      "MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "wrong-password-1",
    ]
    let tracker = try Tracker(
      scratchConfiguration(scratch, uri: server.address, log: log, environment: wrong))
    let run = try tracker.startRun(name: "locked out")
    for step in 0..<100 { run.log(metric: "m", Double(step), step: step) }
    usleep(1_500_000)
    for step in 100..<200 { run.log(metric: "m", Double(step), step: step) }
    let start = ContinuousClock.now
    let report = run.finish()
    // Waiting for the 30 seconds that are allowed would change nothing.
    #expect(start.duration(to: .now) < .seconds(25))
    #expect(report.undeliveredEvents == 202 && report.refusedItems == 0)
    #expect(log.warnings.count { $0.contains("user 'admin' or its password is wrong") } == 2)
    #expect(log.warnings.count == 2)  // the line itself, and the summary at the end

    // check says who, and what is wrong.
    let program = Program("bllarse-mlflow")
    let home = ["HOME": scratch.path, "MLFLOW_TRACKING_URI": server.address]
    let bad = try program.run(["check"], in: scratch.path, environment: home.merging(wrong) { $1 })
    #expect(bad.status == 1)
    #expect(bad.error.contains("user 'admin' or its password is wrong"))
    let failed = try program.run(
      ["sync"], in: scratch.path, environment: home.merging(wrong) { $1 })
    #expect(failed.status == 75)

    try Files.makeDirectory(scratch.file(".mlflow"))
    try scratch.write(
      ".mlflow/credentials",
      Array(
        """
        [mlflow]
        mlflow_tracking_username = admin
        mlflow_tracking_password = right-password-1
        """.utf8))
    chmod(scratch.file(".mlflow/credentials"), 0o600)
    let good = try program.run(["check"], in: scratch.path, environment: home)
    #expect(good.status == 0, "\(good.output)\(good.error)")
    #expect(good.output.contains("'admin', an administrator"))
    #expect(good.output.contains("version      3."))
    let output = try program.run(["sync"], in: scratch.path, environment: home)
    #expect(output.status == 0, "\(output.output)\(output.error)")
    let client = try server.client(user: "admin", password: "right-password-1")
    let id = try #require(client.runs(tag: Deliverer.localIDTag, value: run.id).first)
    #expect(try client.history(id, "m").map(\.step).sorted() == Array(0..<200))

    // No secret anywhere: output, log, and every file but the credentials themselves.
    var everything = [bad, failed, good, output].map { $0.output + $0.error }.joined()
    everything += log.lines.joined()
    for directory in RunDirectory.find(below: tracker.settings.journalDirectory) {
      for name in try FileManager.default.contentsOfDirectory(atPath: directory.path) {
        let bytes = (try? Files.bytes(of: directory.path + "/" + name)) ?? []
        everything += String(decoding: bytes, as: UTF8.self)
      }
    }
    for value in try client.info(id).pairs("tags").values { everything += value }
    #expect(everything.contains("locked out"))
    #expect(!everything.contains("wrong-password") && !everything.contains("right-password"))
  }
}

/// Hands out 0, 1, 2 and so on.
final class Counter: Sendable {
  private let value = Atomic<Int>(0)
  func next() -> Int { value.add(1, ordering: .relaxed).oldValue }
}

/// Runs waiting code on a thread of its own, so that it does not hold up other tests.
func onThread(_ body: @escaping @Sendable () -> Void) async {
  await withCheckedContinuation { continuation in
    Thread.detachNewThread {
      body()
      continuation.resume()
    }
  }
}
