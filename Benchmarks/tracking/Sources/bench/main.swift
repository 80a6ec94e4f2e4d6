// Measures run tracking: the cost of a logging call, of logging in a training loop, of a million
// events in memory, and how fast metrics reach a server.
//
//   bench ADDRESS DIRECTORY [call] [delivery] [loop] [memory]      all four by default
import BllarseMLflow
import Foundation

func configuration(_ uri: String) -> TrackerConfiguration {
  var configuration = TrackerConfiguration(
    trackingURI: uri, directory: CommandLine.arguments[2], environment: ["HOME": "/nonexistent"])
  configuration.logger.logLevel = .critical
  return configuration
}

func seconds(_ body: () -> Void) -> Double {
  let start = DispatchTime.now().uptimeNanoseconds
  body()
  return Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-9
}

/// Resident memory in megabytes.
func residentMemory() -> Double {
  let text = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
  let line = text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") } ?? ""
  return (line.split(separator: " ").dropFirst().first.flatMap { Double($0) } ?? 0) / 1024
}

func show(_ name: String, _ value: String) {
  FileHandle.standardOutput.write(Data((name.padding(toLength: 62, withPad: " ", startingAt: 0) + value + "\n").utf8))
}

/// About a millisecond of arithmetic that the compiler cannot leave out.
@inline(never) func trainingStep(_ state: inout [Double]) -> Double {
  var sum = 0.0
  for _ in 0..<250 {
    for index in state.indices {
      state[index] = state[index] * 0.999_999 + 1e-9
      sum += state[index]
    }
  }
  return sum
}

func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

let server = CommandLine.arguments[1]
let phases = CommandLine.arguments.dropFirst(3)
func isWanted(_ phase: String) -> Bool { phases.isEmpty || phases.contains(phase) }

// 1. The call.
if isWanted("call") {
  let run = try Tracker(configuration(server)).startRun(name: "latency")
  var times: [Double] = []
  for step in 0..<20_000 {
    let start = DispatchTime.now().uptimeNanoseconds
    run.log(metrics: ["loss": 1 / Double(step + 1)], step: step)
    times.append(Double(DispatchTime.now().uptimeNanoseconds - start) * 1e-3)
    if step % 100 == 0 { usleep(1000) }
  }
  times.sort()
  show("log(metrics:step:), median", String(format: "%.2f µs", times[times.count / 2]))
  show("log(metrics:step:), 99 in 100", String(format: "%.2f µs", times[times.count * 99 / 100]))
  run.finish(waitingUpTo: .seconds(60))
}

// 2. Delivery.
if isWanted("delivery") {
  let run = try Tracker(configuration(server)).startRun(name: "throughput")
  run.waitForDelivery(upTo: .seconds(10))
  let count = 20_000
  let time = seconds {
    for step in 0..<count { run.log(metrics: ["loss": Double(step)], step: step) }
    run.waitForDelivery(upTo: .seconds(60))
  }
  show(
    "delivery to the server, one metric a call",
    String(format: "%.0f metrics/s", Double(count) / time))
  run.finish()
}

// 3. The training loop, with and without a metric a step: blocks in turn, so that drift cancels.
if isWanted("loop") {
  let run = try Tracker(configuration(server)).startRun(name: "overhead")
  var state = [Double](repeating: 1, count: 2048)
  var sink = 0.0
  var step = 0
  var ratios: [Double] = []
  var rates: [Double] = []
  for _ in 0..<9 {
    var times = [0.0, 0.0]
    for isLogging in [false, true, true, false] {
      times[isLogging ? 1 : 0] += seconds {
        for _ in 0..<750 {
          sink += trainingStep(&state)
          step += 1
          if isLogging { run.log(metrics: ["loss": sink], step: step) }
        }
      }
    }
    ratios.append(times[1] / times[0])
    rates.append(1500 / times[1])
  }
  show("training loop", String(format: "%.0f steps/s, a metric a step", median(rates)))
  show(
    "  slowed by (median of 9 pairs; smallest, largest)",
    String(
      format: "%.2f %% (%.2f, %.2f)", 100 * (median(ratios) - 1),
      100 * ((ratios.min() ?? 1) - 1), 100 * ((ratios.max() ?? 1) - 1)))
  run.finish(waitingUpTo: .seconds(60))
  if sink == 0 { print("") }
}

// 4. A million events, with nobody there, and into a file.
for (name, uri) in [("no server", "http://127.0.0.1:9"), ("a file", "sqlite:///million.db")]
where isWanted("memory") {
  let run = try Tracker(configuration(uri)).startRun(name: "million")
  var marks: [Double] = []
  let time = seconds {
    for step in 1...1_000_000 {
      run.log(metrics: ["loss": Double(step)], step: step)
      if step == 100_000 || step == 1_000_000 {
        run.flush()
        marks.append(residentMemory())
      }
    }
  }
  let total = seconds { run.waitForDelivery(upTo: .seconds(uri.hasPrefix("sqlite") ? 60 : 1)) }
  show(
    "memory at 100,000 / 1,000,000 / after delivery (\(name))",
    String(format: "%.0f / %.0f / %.0f MB", marks[0], marks[1], residentMemory()))
  show("  logged in", String(format: "%.2f s", time))
  if uri.hasPrefix("sqlite") {
    show("  delivered", String(format: "%.0f metrics/s", 1_000_000 / (time + total)))
  }
  run.finish(waitingUpTo: .zero)
}
