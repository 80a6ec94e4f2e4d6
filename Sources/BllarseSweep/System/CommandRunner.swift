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

/// A conversation with a program that answers each line of its standard input with one of its
/// standard output.
///
/// Both directions flow at once: neither side has to hold what the other has not yet read, however
/// many lines there are.
final class LineDialogue {
  private let process: Int32
  private var input: Int32
  private let output: Int32
  private let errors: Int32
  /// The end of what it wrote to standard error.
  private(set) var errorText: [UInt8] = []

  init(_ command: [String], environment: [String: String] = Host.inheritedEnvironment) throws {
    var ends: [[Int32]] = []
    for _ in 0..<3 {
      var pair: [Int32] = [0, 0]
      guard pipe(&pair) == 0 else {
        let fault = Files.failure(.start, command[0])
        for end in ends.joined() { close(end) }
        throw fault
      }
      for descriptor in pair { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
      ends.append(pair)
    }
    (input, output, errors) = (ends[0][1], ends[1][0], ends[2][0])
    var spawn = Spawn(command, environment: environment)
    spawn.input = ends[0][0]
    spawn.output = .descriptor(ends[1][1])
    spawn.errors = .descriptor(ends[2][1])
    defer { for end in [ends[0][0], ends[1][1], ends[2][1]] { close(end) } }
    do {
      process = try spawn.start()
    } catch {
      for end in [ends[0][1], ends[1][0], ends[2][0]] { close(end) }
      throw error
    }
    for descriptor in [input, output, errors] {
      _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    }
  }

  /// Says all lines and hears all answers; nil when the program was ended for its silence.
  ///
  /// What `next` (nil after the last line) or `answer` throws ends the program too.
  func run(
    silenceSeconds: Double, next: () throws -> [UInt8]?, answer: ([UInt8]) throws -> Void
  ) throws -> Ending? {
    defer { for end in [input, output, errors] where end >= 0 { close(end) } }
    do {
      guard try converse(silenceSeconds, next, answer) else {
        endProcess()
        return nil
      }
    } catch {
      endProcess()
      throw error
    }
    return Child.wait(process)
  }

  private func endProcess() {
    Child.send(Signals.kill, to: process)
    _ = Child.wait(process)
  }

  /// False when the program was silent for too long.
  private func converse(
    _ silenceSeconds: Double, _ next: () throws -> [UInt8]?, _ answer: ([UInt8]) throws -> Void
  ) throws -> Bool {
    var pending: [UInt8] = []
    var said = 0
    var heard: [UInt8] = []
    var open = (output: true, errors: true)
    var hasMore = true
    while open.output || open.errors {
      if said == pending.count, input >= 0 {
        pending.removeAll(keepingCapacity: true)
        said = 0
        while hasMore, pending.count < 1 << 16 {
          guard let line = try next() else {
            hasMore = false
            break
          }
          pending += line
          pending.append(UInt8(ascii: "\n"))
        }
        if pending.isEmpty { closeInput() }
      }
      var waiting = [
        pollfd(fd: input, events: Int16(POLLOUT), revents: 0),
        pollfd(fd: open.output ? output : -1, events: Int16(POLLIN), revents: 0),
        pollfd(fd: open.errors ? errors : -1, events: Int16(POLLIN), revents: 0),
      ]
      let ready = poll(&waiting, 3, Int32(clamping: Int(silenceSeconds * 1000)))
      if ready == 0 { return false }
      guard ready > 0 else {
        if errno == EINTR { continue }
        throw Files.failure(.read, "the program's answers")
      }
      if waiting[0].revents != 0 {
        let count = Self.writeQuietly(pending[said...], to: input)
        if count >= 0 { said += count } else { closeInput() }
      }
      if waiting[1].revents != 0 {
        open.output = Self.read(output, appendingTo: &heard)
        try takeLines(&heard, atEnd: !open.output, answer)
      }
      if waiting[2].revents != 0 {
        open.errors = Self.read(errors, appendingTo: &errorText)
        // A program that talks without end must not fill the memory.
        if errorText.count > 1 << 17 { errorText.removeFirst(errorText.count - 1 << 16) }
      }
    }
    return true
  }

  private func closeInput() {
    if input >= 0 { close(input) }
    input = -1
  }

  private func takeLines(
    _ heard: inout [UInt8], atEnd: Bool, _ answer: ([UInt8]) throws -> Void
  ) throws {
    var start = 0
    while let end = heard[start...].firstIndex(of: UInt8(ascii: "\n")) {
      try answer(Array(heard[start..<end]))
      start = end + 1
    }
    heard.removeFirst(start)
    if atEnd, !heard.isEmpty { try answer(heard) }
  }

  /// False at the end.
  private static func read(_ descriptor: Int32, appendingTo bytes: inout [UInt8]) -> Bool {
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    let count = Foundation.read(descriptor, &buffer, buffer.count)
    if count > 0 { bytes += buffer[..<count] }
    return count > 0 || (count < 0 && (errno == EINTR || errno == EAGAIN))
  }

  /// Writes what fits; a program that no longer reads is an answer, not a signal that ends this
  /// process: then negative.
  private static func writeQuietly(_ bytes: ArraySlice<UInt8>, to descriptor: Int32) -> Int {
    var pipeSignal = sigset_t()
    sigemptyset(&pipeSignal)
    sigaddset(&pipeSignal, SIGPIPE)
    var before = sigset_t()
    pthread_sigmask(SIG_BLOCK, &pipeSignal, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    if count >= 0 { return count }
    if errno == EINTR || errno == EAGAIN { return 0 }
    // The signal waits for this thread: taken here, it is gone before the mask is.
    var none = timespec()
    sigtimedwait(&pipeSignal, nil, &none)
    return -1
  }
}
