import BllarseTestSupport
import Foundation
import Testing

@Suite("Runs that are interrupted within an epoch", .serialized)
struct InterruptedStepTests {
  private let fixture: ResumeFixture

  init() throws { fixture = try ResumeFixture(rows: 1500, columns: 64) }

  /// Starts a run, sends it a signal a while after it has its data, and gives the line it ends with.
  private func interrupt(
    _ method: [String], _ output: String, after seconds: Double, signal: Int32 = SIGTERM
  ) throws -> String {
    let log = output + ".log"
    let process = try fixture.start(fixture.arguments(method, output: output), log: log)
    try fixture.waitFor("1500 train", in: log)
    Thread.sleep(forTimeInterval: seconds)
    kill(process.processIdentifier, signal)
    #expect(process.finish() == 75, "\(method)")
    let lines = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n")
    return String(try #require(lines.last { $0.contains("resume with: ") }))
  }

  @Test(
    "epochs of batches stop between two of them, and a run that goes on is killed and goes on again",
    arguments: [
      ["--update", "merge", "-bs", "32", "--num-update-iters", "3000", "-e", "2"],
      ["--update", "merge", "-bs", "100", "--num-update-iters", "600", "-e", "2"],
      ["--update", "merge", "-bs", "100", "--num-update-iters", "600", "-e", "2", "--parity"],
      [
        "--update", "sites", "-bs", "10", "--num-update-iters", "1500", "-e", "2",
        "--reset-loss-per-epoch",
      ],
      ["--loss-fn", "IBPolyaGamma", "-bs", "50", "--num-update-iters", "8", "-e", "2"],
    ])
  func batches(method: [String]) throws {
    let reference = fixture.directory.file("reference")
    let watch = ContinuousClock.now
    #expect(try finetune.run(fixture.arguments(method, output: reference)).status == 0)
    let whole = ContinuousClock.now - watch
    let output = fixture.directory.file("output")
    let line = try interrupt(method, output, after: 0.2 * whole.inSeconds, signal: SIGUSR1)
    let match = try #require(line.firstMatch(of: /in epoch (\d) after step (\d+) of (\d+);/))
    #expect(try #require(Int(match.2)) <= #require(Int(match.3)), "\(line)")

    let resume = fixture.arguments(method, output: output) + ["--resume", output]
    let process = try fixture.start(resume, log: output + ".log")
    try fixture.waitFor("going on in epoch \(match.1) after step \(match.2)", in: output + ".log")
    Thread.sleep(forTimeInterval: 0.1)
    kill(process.processIdentifier, SIGKILL)
    #expect(process.finish() == 128 + SIGKILL)
    let resumed = try finetune.run(resume)
    #expect(resumed.status == 0, "\(resumed.errors)")
    #expect(try fixture.outcome(output) == fixture.outcome(reference))
  }

  @Test(
    "a fit to all rows stops between iterations, says that it will start anew, and ends with the same bits",
    arguments: [
      ["--update", "cavi", "--num-update-iters", "3000"],
      ["--loss-fn", "IBPolyaGamma", "--update", "cavi", "--num-update-iters", "60"],
    ])
  func fits(method: [String]) throws {
    let method = method + ["-e", "1"]
    let reference = fixture.directory.file("reference")
    #expect(try finetune.run(fixture.arguments(method, output: reference)).status == 0)
    let output = fixture.directory.file("output")
    let line = try interrupt(method, output, after: 0.3)
    #expect(
      line.contains("in epoch 1 during its fit to all rows, which will start anew;"), "\(line)")
    let resumed = try finetune.run(
      fixture.arguments(method, output: output) + ["--resume", output])
    #expect(resumed.status == 0, "\(resumed.errors)")
    #expect(try fixture.outcome(output) == fixture.outcome(reference))
  }
}
