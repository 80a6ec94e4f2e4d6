import BllarseTestSupport
import Foundation
import Synchronization
import Testing

@testable import BllarseMLflow

@Suite("With a hostile or limited MLflow server", .tags(.server), .serialized, .withMLflow)
struct HostileServerTests {
  /// With every character that some encoding writes otherwise.
  private static let password = "p\"q\\r/s+t&<ü>%1 '?~w0rd"

  /// A process that logs so many steps to `address`, and how long it took.
  private struct Outcome: Sendable {
    var fault = ""
    var status: Int32 = 0
    var text = ""
    var seconds = 0.0
  }

  /// Logs a run, with patience for a server that other tests keep busy unless it is to be tried.
  private static func log(
    _ name: String, to address: String, in directory: String, options: [String],
    timeout: String = "60"
  ) throws -> Outcome {
    let start = ContinuousClock.now
    let output = try Program("mlflow-test-program").run(
      [directory, "20", "name=\(name)"] + options, in: directory,
      environment: Self.environment(address, directory)
        .merging(["MLFLOW_HTTP_REQUEST_TIMEOUT": timeout]) { $1 })
    return Outcome(
      fault: name, status: output.status, text: output.output + output.error,
      seconds: start.duration(to: .now).seconds)
  }

  private static func environment(_ address: String, _ directory: String) -> [String: String] {
    [
      "HOME": directory, "MLFLOW_TRACKING_URI": address, "MLFLOW_TRACKING_USERNAME": "anna",
      "MLFLOW_TRACKING_PASSWORD": password, "MLFLOW_HTTP_REQUEST_TIMEOUT": "1",
      "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0.02",
      "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.02",
    ]
  }

  /// Runs `body` for each item at once, on threads, because processes are waited for.
  private func together<Item: Sendable>(
    _ items: [Item], _ body: @escaping @Sendable (Item) -> Outcome?
  ) async -> [Outcome] {
    await withTaskGroup(of: Outcome?.self) { group in
      for item in items {
        group.addTask {
          let result = Mutex<Outcome?>(nil)
          await onThread { result.withLock { $0 = body(item) } }
          return result.withLock { $0 }
        }
      }
      var outcomes: [Outcome] = []
      for await outcome in group { if let outcome { outcomes.append(outcome) } }
      return outcomes
    }
  }

  /// Checks that the runs are whole on the server.
  private func expectWhole(_ names: Set<String>, on server: MLflowServer) throws {
    let client = try server.client()
    let runs = try RESTStore(client: client).summaries(experiment: "bllarse")
      .filter { names.contains($0.name) }
    #expect(Set(runs.map(\.name)) == names)
    #expect(runs.count == names.count)
    for run in runs {
      #expect(run.status == "FINISHED" && run.parameters["steps"] == "20")
      #expect(try client.history(run.id, "m0").map(\.step).sorted() == Array(1...20))
    }
  }

  @Test("a limit of requests: runs arrive whole, by few requests")
  func limited() async throws {
    let server = try SharedServer.plain()
    let hostile = try HostileServer(before: server)
    defer { hostile.stop() }
    let scratch = try TemporaryDirectory()
    let count = 8
    let names = (0..<count).map { "limited-\($0)" }
    let outcomes = await together(names) { name in
      try? Self.log(
        name, to: hostile.address + "/rate=4", in: scratch.path, options: ["drain=60"])
    }
    #expect(outcomes.allSatisfy { $0.status == 0 && $0.text.contains("left 0") } == true)
    let counts = try hostile.counts("rate=4")
    // One more makes the experiment, where this is the first test to use it.
    #expect(counts.taken <= 5 * count + 1, "\(counts)")
    try expectWhole(Set(names), on: server)

    // One after the other no more requests are sent than a run needs, refused ones included.
    for name in ["alone-1", "alone-2"] {
      let outcome = try Self.log(
        name, to: hostile.address + "/rate=1.0", in: scratch.path, options: ["drain=60"])
      #expect(outcome.text.contains("left 0"))
    }
    let alone = try hostile.counts("rate=1.0")
    #expect(alone.taken <= 10 && alone.taken + alone.refused <= 12, "\(alone)")
    try expectWhole(["alone-1", "alone-2"], on: server)
  }

  @Test("a store that refuses every second request gets everything, each run once")
  func everySecond() async throws {
    let server = try SharedServer.plain()
    let hostile = try HostileServer(before: server)
    defer { hostile.stop() }
    let scratch = try TemporaryDirectory()
    let ways = ["429", "503", "500", "cut"]
    let outcomes = await together(ways) { way in
      try? Self.log(
        "every2-" + way, to: hostile.address + "/every2=" + way, in: scratch.path,
        options: ["drain=60"])
    }
    for outcome in outcomes { #expect(outcome.text.contains("left 0"), "\(outcome)") }
    try expectWhole(Set(ways.map { "every2-" + $0 }), on: server)
  }

  @Test("no fault traps, hangs, tells a secret, moves the cursor or loses anything")
  func faults() async throws {
    let server = try SharedServer.plain()
    let hostile = try HostileServer(before: server)
    defer { hostile.stop() }
    let scratch = try TemporaryDirectory()
    let faults = [
      "429-huge", "429-overflow", "429-date", "429-nonsense", "503-huge", "500", "cut", "truncated",
      "torn", "drip", "trickle", "silent", "redirect", "circle", "401", "html200", "json200",
      "list200", "204", "echo200", "echo400", "echo403", "echo500", "echo502", "escapes", "ids",
    ]
    let program = Program("bllarse-mlflow")
    let outcomes = await together(faults) { fault in
      let address = hostile.address + "/" + fault
      guard
        var outcome = try? Self.log(
          fault, to: address, in: scratch.path, options: ["drain=1"], timeout: "1")
      else { return nil }
      for command in [["check"], ["sync", "mlflow-journal"], ["runs"]] {
        let start = ContinuousClock.now
        var environment = Self.environment(address, scratch.path)
        // Without a wish that can be read they are patient for a minute.
        if fault == "429-nonsense" { environment["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0" }
        guard
          let output = try? program.run(command, in: scratch.path, environment: environment)
        else { return nil }
        outcome.seconds = max(outcome.seconds, start.duration(to: .now).seconds)
        // A failure has its exit code, and its line.
        if ![1, 75].contains(output.status) || output.output.isEmpty && output.error.isEmpty {
          outcome.status = output.status == 0 ? 99 : output.status
        }
        outcome.text += "\(command):\n" + output.output + output.error
      }
      return outcome
    }
    #expect(outcomes.count == faults.count)
    for outcome in outcomes {
      #expect(outcome.status == 0, "\(outcome)")
      // The drain's ceiling is ten seconds, a request's limit five; other tests take their time.
      #expect(outcome.seconds < 120, "\(outcome)")
      let hidden = outcome.text.unicodeScalars.filter {
        $0 != "\n" && [.control, .format, .lineSeparator].contains($0.properties.generalCategory)
      }
      #expect(hidden.isEmpty, "\(outcome.fault): \(outcome.text.debugDescription)")
      #expect(!outcome.text.contains("\nINJECTED"))
    }
    var everything = outcomes.map(\.text).joined()
    for directory in RunDirectory.find(below: scratch.file("mlflow-journal")) {
      for name in try FileManager.default.contentsOfDirectory(atPath: directory.path) {
        let bytes = (try? Files.bytes(of: directory.path + "/" + name)) ?? []
        everything += String(decoding: bytes, as: UTF8.self)
      }
    }
    for form in try Self.forms(of: Self.password) {
      #expect(!everything.contains(form), "found \(form)")
    }
    #expect(everything.contains("<redacted>"))

    // Nothing is lost: a server that is well gets it all.
    let output = try program.run(
      ["sync", "mlflow-journal", "--to", server.address], in: scratch.path,
      environment: ["HOME": scratch.path])
    #expect(output.status == 0, "\(output.output)\(output.error)")
    try expectWhole(Set(faults), on: server)
  }

  /// The forms in which a secret may be told, made without the code under test.
  private static func forms(of secret: String) throws -> [String] {
    let json = String(
      decoding: try JSONSerialization.data(withJSONObject: [secret]), as: UTF8.self)
    let plain = CharacterSet(
      charactersIn: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
    let percent = try #require(secret.addingPercentEncoding(withAllowedCharacters: plain))
    return [
      secret, json, percent, percent.lowercased(), Data(secret.utf8).base64EncodedString(),
      Data("anna:\(secret)".utf8).base64EncodedString().replacing("=", with: ""), "w0rd",
    ]
  }

  @Test("a proxy that is down is named, and not the server behind it")
  func deadProxy() throws {
    let scratch = try TemporaryDirectory()
    let port = try MLflowServer.freePort()
    for (variable, scheme) in [
      ("http_proxy", "http"), ("https_proxy", "https"), ("ALL_PROXY", "http"),
    ] {
      let output = try Program("bllarse-mlflow").run(
        ["check", "--tracking-uri", "\(scheme)://mlflow.example.org"], in: scratch.path,
        environment: [
          "HOME": scratch.path, variable: "http://otto:pr0xy-w0rd@127.0.0.1:\(port)",
        ])
      #expect(output.status == 1)
      #expect(
        output.error.contains(
          "the proxy http://127.0.0.1:\(port), which \(variable) names, cannot be used"),
        "\(output.error)")
      #expect(!output.error.contains("pr0xy"))
    }
    // What is not to go through the proxy is not blamed on it.
    let direct = try Program("bllarse-mlflow").run(
      ["check", "--tracking-uri", "http://127.0.0.1:\(try MLflowServer.freePort())"],
      in: scratch.path,
      environment: [
        "HOME": scratch.path, "http_proxy": "http://127.0.0.1:\(port)", "no_proxy": "127.0.0.1",
      ])
    #expect(direct.status == 1 && !direct.error.contains("proxy"), "\(direct.error)")
  }
}
