import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

/// Small data, runs on it, and what they leave.
final class ResumeFixture: Sendable {
  let directory: TemporaryDirectory
  let features: String

  /// Writes a feature file with a validation split.
  init(seed: Int = 41, rows: Int = 400, columns: Int = 12, classes: Int = 4) throws {
    directory = try TemporaryDirectory()
    features = directory.file("features.safetensors")
    var generator = SplitMix64(seed: seed)
    let centres = (0..<classes).map { _ in (0..<columns).map { _ in generator.normal() } }
    var writer = SafetensorsWriter()
    for (name, count) in [("train", rows), ("val", 80), ("test", 80)] {
      var elements: [Float] = []
      var labels: [Int32] = []
      for row in 0..<count {
        labels.append(Int32(row % classes))
        elements += centres[row % classes].map { Float($0 + 1.5 * generator.normal()) }
      }
      writer.add("X_\(name)", Matrix<Float>(rows: count, columns: columns, elements: elements))
      writer.add("y_\(name)", labels)
    }
    try writer.write(to: features)
  }

  /// The command line of a run, one thread, a checkpoint after each epoch.
  func arguments(_ method: [String], output: String) -> [String] {
    ["--features", features, "--threads", "1", "--save-every", "1", "--output", output] + method
  }

  /// Starts a run.
  func start(
    _ arguments: [String], log: String, environment: [String: String] = [:]
  ) throws -> Process {
    let process = Process()
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.executableURL = URL(fileURLWithPath: finetune.path)
    process.arguments = arguments
    try Data().write(to: URL(fileURLWithPath: log))
    let handle = FileHandle(forWritingAtPath: log)
    process.standardOutput = handle
    process.standardError = handle
    process.standardInput = FileHandle.nullDevice
    try process.run()
    return process
  }

  /// Waits until a text appears in a log.
  func waitFor(_ text: String, in log: String) throws {
    for _ in 0..<4000 {
      if (try? String(contentsOfFile: log, encoding: .utf8))?.contains(text) == true { return }
      Thread.sleep(forTimeInterval: 0.005)
    }
    Issue.record("\(text) does not appear in \(log)")
  }

  /// What must be the same for every run with the same arguments.
  struct Outcome: Equatable {
    let head: Data
    let best: Data
    let metrics: [[String: Double]]
  }

  /// Reads what a finished run left; seconds do not count.
  func outcome(_ output: String) throws -> Outcome {
    let lines = try String(contentsOfFile: output + "/metrics.jsonl", encoding: .utf8)
      .split(separator: "\n")
    let metrics = try lines.map { line in
      var record = try JSONDecoder().decode([String: Double].self, from: Data(line.utf8))
      record["seconds"] = nil
      return record
    }
    return Outcome(
      head: try Data(contentsOf: URL(fileURLWithPath: output + "/head.safetensors")),
      best: try Data(contentsOf: URL(fileURLWithPath: output + "/best.safetensors")),
      metrics: metrics)
  }

  /// The names in an output directory.
  func names(_ output: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: output).sorted()
  }
}

extension Process {
  /// Waits for the end and tells the status; 128 + n after signal n.
  func finish() -> Int32 {
    waitUntilExit()
    return terminationReason == .uncaughtSignal ? 128 + terminationStatus : terminationStatus
  }
}

extension Duration {
  /// The duration in seconds.
  var inSeconds: Double {
    Double(components.seconds) + Double(components.attoseconds) * 1e-18
  }
}
