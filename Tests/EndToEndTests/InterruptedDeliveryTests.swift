import BllarseTestSupport
import Foundation
import Testing

@Suite("Runs that are interrupted while a server is waited for", .serialized)
struct InterruptedDeliveryTests {
  private let fixture: ResumeFixture

  init() throws { fixture = try ResumeFixture(rows: 100) }

  /// Starts a run that is tracked by a server that is not there, for which it waits half a minute.
  private func start(_ arguments: [String], log: String) throws -> Process {
    try fixture.start(
      arguments + [
        "--enable-mlflow", "--mlflow-tracking-uri", "http://127.0.0.1:9", "--mlflow-drain-seconds",
        "60",
      ], log: log, environment: ["BLLARSE_MLFLOW_JOURNAL": fixture.directory.file("journal")])
  }

  /// Sends a signal and waits for the end: the status, and whether it came soon.
  private func end(_ process: Process, by signal: Int32) -> (status: Int32, isSoon: Bool) {
    let watch = ContinuousClock.now
    kill(process.processIdentifier, signal)
    let status = process.finish()
    // Two seconds, and what a busy machine adds.
    return (status, ContinuousClock.now - watch < .seconds(10))
  }

  @Test(
    "one whose results are written ends with 0, and says what is left in the journal",
    arguments: [SIGTERM, SIGINT])
  func results(signal: Int32) throws {
    let output = fixture.directory.file("out")
    let process = try start(
      fixture.arguments(["--loss-fn", "MSE"], output: output), log: output + ".log")
    try fixture.waitFor("written to", in: output + ".log")
    let (status, isSoon) = end(process, by: signal)
    #expect(status == 0 && isSoon)
    #expect(FileManager.default.fileExists(atPath: output + "/result.json"))
    let log = try String(contentsOfFile: output + ".log", encoding: .utf8)
    #expect(log.contains("are still local"), "\(log)")
  }

  @Test("one that failed says why, with its status")
  func failure() throws {
    let output = fixture.directory.file("out")
    let missing = fixture.directory.file("missing.npz")
    let log = output + ".log"
    let process = try start(["--features", missing, "--output", output], log: log)
    for _ in 0..<2000
    where !FileManager.default.fileExists(atPath: fixture.directory.file("journal")) {
      Thread.sleep(forTimeInterval: 0.005)
    }
    Thread.sleep(forTimeInterval: 1)
    let (status, isSoon) = end(process, by: SIGTERM)
    #expect(isSoon)
    let text = try String(contentsOfFile: log, encoding: .utf8)
    #expect(status == 65 && text.contains("error: \(missing): "), "\(status): \(text)")
  }
}
