public import Foundation

/// Runs one of the package's own executables, as a user would.
public struct Program: Sendable {
  /// What came of it.
  public struct Output: Sendable {
    /// The exit code, or minus the signal that ended it.
    public let status: Int32
    /// Standard output.
    public let output: String
    /// Standard error.
    public let error: String
  }

  /// The path of the executable.
  public let path: String

  /// An executable somewhere.
  public init(path: String) { self.path = path }

  /// An executable that was built beside the tests.
  public init(_ name: String) {
    // The test bundle lies beside the products.
    path =
      Bundle.allBundles.first { $0.bundlePath.hasSuffix(".xctest") }
      .map { URL(fileURLWithPath: $0.bundlePath).deletingLastPathComponent().path + "/" + name }
      ?? URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().path + "/"
      + name
  }

  /// Starts it; `environment` is all it sees beside PATH, and somebody must read its pipes.
  public func start(
    _ arguments: [String], in directory: String, environment: [String: String] = [:],
    output: Any?, error: Any?
  ) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.currentDirectoryURL = URL(fileURLWithPath: directory)
    var variables = environment
    for name in ["PATH", "LD_LIBRARY_PATH"] where variables[name] == nil {
      variables[name] = ProcessInfo.processInfo.environment[name]
    }
    process.environment = variables
    process.standardOutput = output
    process.standardError = error
    try process.run()
    return process
  }

  /// Runs it to its end.
  public func run(
    _ arguments: [String], in directory: String, environment: [String: String] = [:]
  ) throws -> Output {
    let output = Pipe()
    // Standard error goes to a file: nobody has to read two pipes at once.
    let errorPath = directory + "/.stderr-\(UUID().uuidString)"
    _ = FileManager.default.createFile(atPath: errorPath, contents: nil)
    defer { try? FileManager.default.removeItem(atPath: errorPath) }
    let errorFile = try FileHandle(forWritingTo: URL(fileURLWithPath: errorPath))
    let process = try start(
      arguments, in: directory, environment: environment, output: output, error: errorFile)
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    let status = process.terminationStatus
    return Output(
      status: process.terminationReason == .uncaughtSignal ? -status : status, output: text,
      error: (try? String(contentsOfFile: errorPath, encoding: .utf8)) ?? "")
  }
}
