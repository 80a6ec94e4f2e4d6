// A program that logs as a training would, for tests that kill it, start many of it, or measure it.
//
//   mlflow-test-program DIRECTORY STEPS [KEY=VALUE…]
//     name=TEXT       the run's name
//     metrics=N       metrics a step (1)
//     pause=N         microseconds between steps (0)
//     flush=N         flush after every so many steps, and say so on standard output (never)
//     end=STATUS      FINISHED, FAILED, KILLED, none (leave without ending), signal (say "waiting", end on SIGTERM)
//     drain=SECONDS   how long to wait at the end (30)
//
// The destination comes from the environment, as for any program.
import BllarseMLflow
import Foundation

let arguments = CommandLine.arguments
guard arguments.count >= 3, let steps = Int(arguments[2]) else {
  FileHandle.standardError.write(
    Data("usage: mlflow-test-program DIRECTORY STEPS [KEY=VALUE…]\n".utf8))
  exit(64)
}
let options = Dictionary(
  arguments.dropFirst(3).map { argument in
    let parts = argument.split(separator: "=", maxSplits: 1).map(String.init)
    return (parts[0], parts.count > 1 ? parts[1] : "")
  }, uniquingKeysWith: { $1 })
func number(_ name: String, _ fallback: Int) -> Int { options[name].flatMap(Int.init) ?? fallback }

func say(_ line: String) {
  FileHandle.standardOutput.write(Data((line + "\n").utf8))
}

var configuration = TrackerConfiguration(directory: arguments[1])
configuration.drainTimeout = .seconds(number("drain", 30))
let tracker = try Tracker(configuration)
let run = try tracker.startRun(name: options["name"])
say("id \(run.id)")
var handler: TerminationHandler?
if options["end"] == "signal" { handler = run.endOnTermination() }
run.log(parameters: ["seed": 137, "steps": steps])

let metricCount = number("metrics", 1)
let flushInterval = number("flush", 0)
let pause = UInt32(number("pause", 0))
for step in stride(from: 1, through: steps, by: 1) {
  var metrics: [String: Double] = [:]
  for index in 0..<metricCount { metrics["m\(index)"] = Double(step) + Double(index) / 1024 }
  run.log(metrics: metrics, step: step)
  if flushInterval > 0, step % flushInterval == 0 {
    run.flush()
    say("flushed \(step)")
  }
  if pause > 0 { usleep(pause) }
}
switch options["end"] ?? "FINISHED" {
case "none": _exit(3)
case "signal":
  say("waiting")
  while true { sleep(1) }
case let status:
  let report = run.finish(status: RunStatus(rawValue: status) ?? .finished)
  say("left \(report.undeliveredEvents)")
}
