import BllarseMLflow
import Foundation

/// Measurements of tracking to one destination.
struct Bench {
  let uri: String
  /// Where journals are kept.
  let directory: String

  func makeTracker() throws -> Tracker {
    var configuration = TrackerConfiguration(
      trackingURI: uri, experiment: "bench", directory: directory,
      environment: ["HOME": "/nonexistent"])
    configuration.logger.logLevel = .critical
    return try Tracker(configuration)
  }

  /// Where the run goes, in a word.
  var destination: String {
    if uri.hasPrefix("sqlite:") { return "into mlflow.db" }
    return uri.hasSuffix(":9") ? "no server there" : "to the server"
  }

  // MARK: - The call

  /// Calls as fast as they go, in short bursts; and calls a millisecond apart, as a training makes them.
  func measureCalls() throws {
    let run = try makeTracker().startRun(name: "latency")
    for (name, count, burst) in [("in bursts of 100", 20_000, 100), ("one a millisecond", 5000, 1)]
    {
      var times: [Double] = []
      for step in 0..<count {
        let start = Time.wall
        run.log(metrics: ["loss": 1 / Double(step + 1)], step: step)
        times.append(1e6 * (Time.wall - start))
        if step % burst == 0 { usleep(1000) }
      }
      show(
        "one logging call, \(name): median; 99 in 100",
        String(format: "%.2f µs; %.1f µs", times.quantile(0.5), times.quantile(0.99)))
    }
    run.finish(waitingUpTo: .seconds(30))
  }

  // MARK: - Delivery

  func measureDelivery() throws {
    let run = try makeTracker().startRun(name: "throughput")
    run.waitForDelivery(upTo: .seconds(10))
    let count = 150_000
    let start = Time.wall
    for step in 0..<count { run.log(metrics: ["loss": Double(step)], step: step) }
    let report = run.waitForDelivery(upTo: .seconds(80))
    let arrived = count - report.undeliveredEvents
    show(
      "delivery \(destination), one metric a call, \(arrived) of them",
      String(format: "%.0f metrics/s", Double(arrived) / (Time.wall - start)))
    run.finish(waitingUpTo: .seconds(1))
  }

  // MARK: - Memory

  /// A million events, in real time the work of hours.
  func measureMemory() throws {
    let run = try makeTracker().startRun(name: "million")
    var marks: [Double] = []
    let start = Time.wall
    for step in 1...1_000_000 {
      run.log(metrics: ["loss": Double(step)], step: step)
      if step == 100_000 || step == 1_000_000 {
        run.flush()
        marks.append(residentMegabytes())
      }
    }
    let logged = Time.wall - start
    let report = run.waitForDelivery(upTo: .seconds(destination == "no server there" ? 1 : 60))
    show(
      "memory after 100,000 and 1,000,000 events, and after delivery (\(destination))",
      String(format: "%.0f, %.0f, %.0f MB", marks[0], marks[1], residentMegabytes()))
    show("a million events logged in (\(destination))", String(format: "%.2f s", logged))
    if report.isComplete {
      show(
        "delivery \(destination), a million events",
        String(format: "%.0f metrics/s", 1e6 / (Time.wall - start)))
    }
    run.finish(waitingUpTo: .zero)
  }
}

/// Prints a figure.
func show(_ name: String, _ value: String) {
  FileHandle.standardOutput.write(Data("\(name)\t\(value)\n".utf8))
}

func residentMegabytes() -> Double {
  let text = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
  let line = text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") } ?? ""
  return (line.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0) / 1024
}
