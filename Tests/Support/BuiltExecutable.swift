import Foundation

/// One of the package's executables, as the tests' build made it.
public struct BuiltExecutable: Sendable {
  /// Its path.
  public let path: String

  /// An executable somewhere.
  public init(path: String) { self.path = path }

  /// Finds an executable beside the test bundle.
  ///
  /// - Parameter name: the product's name, "bllarse-finetune".
  public init(_ name: String) {
    let bundle =
      (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    path =
      URL(fileURLWithPath: bundle).deletingLastPathComponent().appendingPathComponent(name).path
  }

  /// What a finished process left.
  public struct Outcome: Sendable {
    /// The exit status; 128 + n after signal n.
    public let status: Int32
    /// What it wrote to standard output.
    public let output: String
    /// What it wrote to standard error.
    public let errors: String

    /// The lines of standard error that report an error.
    public var errorLines: [String] {
      errors.split(separator: "\n").map(String.init).filter {
        $0.contains("error:") || $0.contains("Error:")
      }
    }
  }

  /// Runs it and waits for its end.
  ///
  /// - Parameters:
  ///   - arguments: the command line after the name.
  ///   - environment: variables added to this process's own.
  ///   - directory: the working directory, this process's own by default.
  /// - Returns: status and output.
  /// - Throws: what keeps the process from starting.
  public func run(
    _ arguments: [String], environment: [String: String] = [:], directory: String? = nil
  ) throws -> Outcome {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    if let directory { process.currentDirectoryURL = URL(fileURLWithPath: directory) }
    // Files rather than pipes: no reader is needed while the process runs.
    let files = try TemporaryDirectory()
    for name in ["out", "err"] { try files.write(name, []) }
    process.standardOutput = FileHandle(forWritingAtPath: files.file("out"))
    process.standardError = FileHandle(forWritingAtPath: files.file("err"))
    process.standardInput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    let status = process.terminationStatus
    func text(_ name: String) throws -> String {
      String(decoding: try Data(contentsOf: URL(fileURLWithPath: files.file(name))), as: UTF8.self)
    }
    return Outcome(
      status: process.terminationReason == .uncaughtSignal ? 128 + status : status,
      output: try text("out"), errors: try text("err"))
  }
}
