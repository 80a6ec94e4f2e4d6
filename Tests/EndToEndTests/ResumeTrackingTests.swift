import BllarseTestSupport
import Foundation
import Testing

@Suite(
  "Tracked runs that are killed and resumed", .serialized,
  .withMLflow)
struct ResumeTrackingTests {
  static let epochs = 30
  static let method = [
    "--loss-fn", "CrossEntropy", "-o", "ivon", "-mc", "8", "-bs", "64", "-e", "\(epochs)",
    "--threads", "1", "--save-every", "4", "--enable-mlflow",
  ]

  /// Starts a run, waits until it has finished so many epochs, and sends a signal.
  private func interrupt(
    _ arguments: [String], after epochs: Int, by signal: Int32, in scratch: TemporaryDirectory,
    environment: [String: String]
  ) throws -> Int32 {
    let log = scratch.file("log")
    try Data().write(to: URL(fileURLWithPath: log))
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: log))
    let process = try Program("bllarse-finetune").start(
      arguments, in: scratch.path, environment: environment, output: handle, error: handle)
    let end = Date() + 60
    while process.isRunning, Date() < end {
      let text = try? String(contentsOfFile: scratch.file("out/metrics.jsonl"), encoding: .utf8)
      if (text ?? "").split(separator: "\n").count >= epochs { break }
      usleep(20_000)
    }
    kill(process.processIdentifier, signal)
    let status = process.finish()
    #expect(status != 0, "it was over before")
    return status
  }

  /// One run: killed outright, asked to stop, and ended at last.
  private func interruptTwice(
    _ scratch: TemporaryDirectory, drain: Int = 30, environment: [String: String]
  ) throws {
    let method = Self.method + ["--mlflow-drain-seconds", "\(drain)"]
    let environment = environment.merging(["HOME": scratch.path]) { own, _ in own }
    #expect(
      try interrupt(
        method + ["--output", "out"], after: 10, by: SIGKILL, in: scratch,
        environment: environment) == 128 + SIGKILL)
    let resumed = method + ["--output", "out", "--resume", "out"]
    #expect(
      try interrupt(resumed, after: 18, by: SIGTERM, in: scratch, environment: environment) == 75)
    let last = try Program("bllarse-finetune").run(
      resumed, in: scratch.path, environment: environment)
    #expect(last.status == 0, "\(last.error)")
  }

  /// The run is there once, whole and finished.
  private func check(_ runs: TrackedRuns, local id: String) throws -> String? {
    let mine = try runs.all().filter {
      $0.tags["bllarse.local_run_id"] == id || $0.info.run_id == id
    }
    try #require(mine.count == 1)
    let run = mine[0]
    #expect(run.info.status == "FINISHED")
    for key in ["loss", "acc", "nll", "ece", "epoch"] {
      #expect(try runs.steps(run, key) == Array(1...Self.epochs), "\(key)")
    }
    #expect(try runs.steps(run, "test.acc") == [Self.epochs])
    #expect(run.parameters["epochs"] == "\(Self.epochs)" && run.parameters["optimizer"] == "ivon")
    #expect(run.tags["loss_fn"] == "CrossEntropy" && run.tags["optimizer"] == "ivon")
    return run.info.run_id
  }

  private func localID(_ scratch: TemporaryDirectory) throws -> String {
    let text = try String(contentsOfFile: scratch.file("out/mlflow_run_id"), encoding: .utf8)
    return String(try #require(text.split(separator: "\n").first))
  }

  @Test("on a server: one run, every epoch once, FINISHED; sync afterwards changes nothing")
  func server() throws {
    let scratch = try TemporaryDirectory()
    let runs = TrackedRuns(server: try EndToEndServer.plain())
    let environment = ["MLFLOW_TRACKING_URI": runs.server.address]
    try interruptTwice(scratch, environment: environment)
    let id = try check(runs, local: localID(scratch))
    let sync = try Program("bllarse-mlflow").run(
      ["sync"], in: scratch.path, environment: environment.merging(["HOME": scratch.path]) { $1 })
    #expect(sync.status == 0, "\(sync.output)\(sync.error)")
    #expect(try check(runs, local: localID(scratch)) == id)
  }

  @Test("in mlflow.db, which a plain server opens: one run, every epoch once, FINISHED")
  func file() throws {
    let scratch = try TemporaryDirectory()
    try interruptTwice(scratch, environment: [:])
    let server = try MLflowServer.start(in: scratch.path, arguments: ["--workers", "1"])
    defer { server.kill() }
    let runs = TrackedRuns(server: server)
    #expect(try check(runs, local: localID(scratch)) == localID(scratch))
    #expect(try runs.all().count == 1)
  }

  @Test("with the server away until the end, and the parts delivered in any order: the same")
  func away() throws {
    let scratch = try TemporaryDirectory()
    try interruptTwice(
      scratch, drain: 1,
      environment: [
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
      ])
    let runs = TrackedRuns(server: try EndToEndServer.plain())
    let first = try localID(scratch)
    let journal = scratch.file("mlflow-journal")
    let names = try FileManager.default.contentsOfDirectory(atPath: journal)
    #expect(names.count == 3 && names.contains(first))
    // The last part alone: the others come along.
    for name in names.sorted(by: { a, _ in a != first }) {
      let sync = try Program("bllarse-mlflow").run(
        ["sync", "mlflow-journal/\(name)", "--to", runs.server.address], in: scratch.path,
        environment: ["HOME": scratch.path])
      #expect(sync.status == 0, "\(sync.output)\(sync.error)")
      _ = try check(runs, local: first)
    }
  }
}
