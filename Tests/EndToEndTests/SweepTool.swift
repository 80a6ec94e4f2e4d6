import BllarseTestSupport
import Foundation
import Testing

/// Everything that drives the built `bllarse-sweep`: one test at a time, as each starts processes
/// of its own and several look at the clock.
@Suite("Sweeps end to end", .serialized)
enum SweepEndToEnd {}

/// The built `bllarse-sweep`, called as a user would, in a directory of its own.
final class SweepTool: Sendable {
  struct Result {
    let status: Int32
    let output: String
    let errors: String
  }

  let temporary: TemporaryDirectory
  private let environment: [String: String]

  /// The directory that the executables were built into.
  static let products: String = {
    // .build/debug/PACKAGEPackageTests.xctest
    let tests = CommandLine.arguments.first { $0.hasSuffix(".xctest") } ?? CommandLine.arguments[0]
    return URL(fileURLWithPath: tests).deletingLastPathComponent().path
  }()

  static func product(_ name: String) -> String { "\(products)/\(name)" }
  static let steps = Fixtures.path("sweeps/programs/steps.sh")

  init(environment: [String: String] = [:]) throws {
    temporary = try TemporaryDirectory()
    self.environment = environment.merging(["XDG_CACHE_HOME": temporary.file("cache")]) { own, _ in
      own
    }
  }

  /// Writes a sweep of the steps program; what it holds, holds in the directory `hold`.
  func write(_ name: String = "sweep.yaml", _ yaml: String) throws {
    try FileManager.default.createDirectory(
      atPath: temporary.file("hold"), withIntermediateDirectories: true)
    let yaml = yaml.replacing("HOLD", with: temporary.file("hold"))
    try temporary.write(name, Array("program: \(Self.steps)\n\(yaml)".utf8))
  }

  func start(
    _ arguments: [String], executable: String = "bllarse-sweep", extra: [String: String] = [:]
  ) throws -> (process: Process, output: String, errors: String) {
    let process = Process()
    process.executableURL = URL(
      fileURLWithPath: executable.hasPrefix("/") ? executable : Self.product(executable))
    process.arguments = arguments
    process.currentDirectoryURL = URL(fileURLWithPath: temporary.path)
    var variables = ProcessInfo.processInfo.environment
    for name in variables.keys where name.hasPrefix("MLFLOW_") { variables[name] = nil }
    process.environment = variables.merging(environment) { $1 }.merging(extra) { $1 }
    let stem = temporary.file(".out-\(UUID().uuidString)")
    for suffix in ["1", "2"] {
      _ = FileManager.default.createFile(atPath: stem + suffix, contents: nil)
    }
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: stem + "1"))
    process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: stem + "2"))
    try process.run()
    return (process, stem + "1", stem + "2")
  }

  @discardableResult
  func run(
    _ arguments: String..., executable: String = "bllarse-sweep", extra: [String: String] = [:]
  ) throws -> Result {
    let (process, output, errors) = try start(arguments, executable: executable, extra: extra)
    process.waitUntilExit()
    defer { for path in [output, errors] { try? FileManager.default.removeItem(atPath: path) } }
    return Result(
      status: process.terminationStatus,
      output: try String(contentsOfFile: output, encoding: .utf8),
      errors: try String(contentsOfFile: errors, encoding: .utf8))
  }

  /// Lets configurations that hold in the directory `hold` go on.
  func release(_ indices: Int...) throws {
    for index in indices { try temporary.write("hold/\(index)", []) }
  }

  /// Waits until these attempts have done their first step.
  func waitForStep(of configurations: [Int], attempt: Int = 1) throws {
    _ = try wait(120, "a step of \(configurations)") {
      configurations.allSatisfy {
        !text("sweeps/sweep/runs/0/\($0)/attempt-\(attempt)/output/metrics.jsonl").isEmpty
      } ? true : nil
    }
  }

  /// What the programs of a sweep wrote to standard error, for the message of an expectation.
  func childErrors() -> String {
    let root = temporary.file("sweeps")
    let walker = FileManager.default.enumerator(atPath: root)
    let logs = (walker?.compactMap { $0 as? String } ?? []).filter { $0.hasSuffix("/stderr.log") }
    return logs.sorted().map { "\n\($0):\n" + text("sweeps/" + $0) }.joined()
  }

  func text(_ path: String) -> String {
    (try? String(contentsOfFile: temporary.file(path), encoding: .utf8)) ?? ""
  }

  // MARK: - State

  struct State: Decodable {
    let index: Int
    let state: String
    let reason: String
    let attempts: Int
    let exit_code: Int?
    let task: String?
    let cause: String?
    let node: String
  }

  func states(_ sweep: String = "sweep.yaml") throws -> [State] {
    let result = try run("status", sweep, "--json")
    try #require(result.status == 0, "\(result.errors)")
    return try JSONDecoder().decode([State].self, from: Data(result.output.utf8))
  }

  func words(_ sweep: String = "sweep.yaml") throws -> [String] { try states(sweep).map(\.state) }

  /// Looks until no configuration is queued or running.
  func settled(_ sweep: String = "sweep.yaml", seconds: Double = 300) throws -> [State] {
    try wait(seconds, "the sweep to end") {
      let states = try states(sweep)
      return states.contains { $0.state == "pending" || $0.state == "running" } ? nil : states
    }
  }

  /// Looks until there is an answer.
  @discardableResult
  func wait<Answer>(_ seconds: Double, _ what: String, _ look: () throws -> Answer?) throws
    -> Answer
  {
    let end = Date() + seconds
    while Date() < end {
      if let answer = try look() { return answer }
      Thread.sleep(forTimeInterval: 0.25)
    }
    throw Timeout(
      description:
        "waited \(seconds) s for \(what); \((try? run("status", "sweep.yaml").output) ?? "")")
  }

  struct Timeout: Error, CustomStringConvertible { let description: String }

  /// Begin and end of every attempt, in seconds, from the files.
  func intervals(_ name: String) throws -> [(index: Int, start: Double, end: Double)] {
    let root = temporary.file("sweeps/\(name)/runs")
    guard let walker = FileManager.default.enumerator(atPath: root) else { return [] }
    return try walker.compactMap { entry -> (index: Int, start: Double, end: Double)? in
      guard let path = entry as? String, path.hasSuffix("/claim.json") else { return nil }
      let parts = path.split(separator: "/")
      func number(_ file: String, _ key: String) throws -> Double? {
        let url = URL(fileURLWithPath: "\(root)/\(path)").deletingLastPathComponent()
        guard let data = try? Data(contentsOf: url.appendingPathComponent(file)) else { return nil }
        let object = try JSONSerialization.jsonObject(with: data) as? [String: Any]
        return (object?[key] as? NSNumber)?.doubleValue
      }
      guard let start = try number("claim.json", "started"),
        let end = try number("end.json", "finished"), let index = Int(parts[1])
      else { return nil }
      return (index, start, end)
    }
  }

  /// The largest number of attempts that ran at one moment.
  static func overlap(_ intervals: [(index: Int, start: Double, end: Double)]) -> Int {
    let moments = intervals.flatMap { [($0.start, 1), ($0.end, -1)] }
      .sorted { ($0.0, $0.1) < ($1.0, $1.1) }
    var running = 0
    return moments.reduce(0) { most, moment in
      running += moment.1
      return max(most, running)
    }
  }
}
