import Foundation

/// Runs short commands and returns what they print: a cluster's own, git.
public protocol CommandRunner {
  /// Runs a command to its end.
  ///
  /// - Parameters:
  ///   - arguments: the program and its arguments.
  ///   - environment: variables set in addition to those of this process (but for MLFLOW_RUN_ID, which
  ///     names a run of this process).
  /// - Returns: what it printed and how it ended.
  /// - Throws: ``SweepError`` when the program cannot be started.
  func run(_ arguments: [String], environment: [String: String]) throws -> CommandResult
}

/// What a command printed and how it ended.
public struct CommandResult: Sendable, Equatable {
  /// The exit code; 128 more than the signal that ended it.
  public var status: Int32
  /// Standard output.
  public var output: String
  /// Standard error.
  public var errors: String

  /// Makes a result.
  public init(status: Int32, output: String = "", errors: String = "") {
    self.status = status
    self.output = output
    self.errors = errors
  }

  /// The first line of what went wrong.
  var firstError: String {
    let lines = errors.split(whereSeparator: \.isNewline)
    return lines.first.map(String.init) ?? "exit code \(status), and nothing on standard error"
  }
}

extension CommandRunner {
  /// Runs a command with this process' environment.
  public func run(_ arguments: [String]) throws -> CommandResult {
    try run(arguments, environment: [:])
  }
}

/// Runs commands for real.
public struct ProcessRunner: CommandRunner {
  /// Makes a runner.
  public init() {}

  /// Runs a command to its end.
  public func run(_ arguments: [String], environment: [String: String]) throws -> CommandResult {
    guard let program = Host.find(arguments[0]) else {
      throw SweepError(.failed, "cannot start \(arguments[0]): not found in PATH")
    }
    var out: [Int32] = [0, 0]
    var err: [Int32] = [0, 0]
    guard pipe(&out) == 0, pipe(&err) == 0 else { throw Files.failure(.start, program) }
    for descriptor in out + err { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    var spawn = Spawn(
      [program] + arguments.dropFirst(),
      environment: Host.inheritedEnvironment.merging(environment) { $1 })
    spawn.output = .descriptor(out[1])
    spawn.errors = .descriptor(err[1])
    defer {
      close(out[0])
      close(err[0])
    }
    let process: pid_t
    do {
      defer {
        close(out[1])
        close(err[1])
      }
      process = try spawn.start()
    }
    let (output, errors) = Self.drain(out[0], err[0])
    return CommandResult(status: Child.wait(process).code, output: output, errors: errors)
  }

  /// Reads two pipes until both are closed; neither may fill while the other is waited for.
  private static func drain(_ first: Int32, _ second: Int32) -> (String, String) {
    var waiting = [
      pollfd(fd: first, events: Int16(POLLIN), revents: 0),
      pollfd(fd: second, events: Int16(POLLIN), revents: 0),
    ]
    var texts: [[UInt8]] = [[], []]
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while waiting.contains(where: { $0.fd >= 0 }) {
      guard poll(&waiting, 2, -1) >= 0 || errno == EINTR else { break }
      for index in 0..<2 where waiting[index].fd >= 0 && waiting[index].revents != 0 {
        let count = read(waiting[index].fd, &buffer, buffer.count)
        if count > 0 {
          texts[index].append(contentsOf: buffer[..<count])
        } else if count == 0 || errno != EINTR {
          waiting[index].fd = -1
        }
      }
    }
    return (String(decoding: texts[0], as: UTF8.self), String(decoding: texts[1], as: UTF8.self))
  }
}
