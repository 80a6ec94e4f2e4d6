import Foundation

/// Runs short commands and returns what they print: a cluster's own, git.
public protocol CommandRunner {
  /// Runs a program with arguments to its end.
  ///
  /// It has the variables of this process (but for MLFLOW_RUN_ID, which names a run of this process) and
  /// those of `environment`.
  ///
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
    (self.status, self.output, self.errors) = (status, output, errors)
  }

  var lastError: String {
    errors.split(whereSeparator: \.isNewline).last.map(String.init) ?? "nothing on standard error"
  }

  var firstError: String {
    errors.split(whereSeparator: \.isNewline).first.map(String.init)
      ?? "exit code \(status), and nothing on standard error"
  }
}

extension CommandRunner {
  /// Runs a command with this process' environment.
  public func run(_ arguments: [String]) throws -> CommandResult {
    try run(arguments, environment: [:])
  }
}

package struct ProcessRunner: CommandRunner {
  package func run(_ arguments: [String], environment: [String: String]) throws -> CommandResult {
    guard let program = Host.find(arguments[0]) else {
      throw SweepError.failed("cannot start \(arguments[0]): not found in PATH")
    }
    let process = try PipedProcess(
      [program] + arguments.dropFirst(),
      environment: Host.inheritedEnvironment.merging(environment) { $1 }, hasInput: false)
    var (output, errors): ([UInt8], [UInt8]) = ([], [])
    let ending = try process.run(next: { nil }, output: { output += $0 }, errors: { errors += $0 })
    return CommandResult(
      status: ending?.code ?? 127, output: String(decoding: output, as: UTF8.self),
      errors: String(decoding: errors, as: UTF8.self))
  }
}

/// A conversation with a program that answers each line of its input with one of its output.
final class LineDialogue {
  private let process: PipedProcess
  /// The end of what it wrote to standard error.
  private(set) var errorText: [UInt8] = []

  init(_ command: [String]) throws { process = try PipedProcess(command) }

  /// Says all lines (`next` is nil after the last) and hears all answers; nil when the program was ended
  /// for its silence; what `next` or `answer` throws ends it too.
  func run(
    silenceSeconds: Double, next: () throws -> [UInt8]?, answer: ([UInt8]) throws -> Void
  ) throws -> Ending? {
    var heard: [UInt8] = []
    return try process.run(silenceSeconds: silenceSeconds) {
      try next().map { $0 + [UInt8(ascii: "\n")] }
    } output: { bytes in
      heard += bytes
      var lines = heard.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      // The last line is whole at the end only.
      heard = Array(lines.popLast() ?? [])
      if bytes.isEmpty, !heard.isEmpty { lines.append(heard[...]) }
      for line in lines { try answer(Array(line)) }
    } errors: {
      errorText += $0
      // A program that talks without end must not fill the memory.
      if errorText.count > 1 << 17 { errorText.removeFirst(errorText.count - 1 << 16) }
    }
  }
}

/// A process whose input, output and errors are pipes to this one, all of which flow at once, so that
/// neither side has to hold what the other has not yet read.
private final class PipedProcess {
  private let process: Int32
  private var input: Int32 = -1
  private let output: Int32
  private let errors: Int32

  init(
    _ command: [String], environment: [String: String] = Host.inheritedEnvironment,
    hasInput: Bool = true
  ) throws {
    var ends: [[Int32]] = []
    for _ in 0..<3 {
      var pair: [Int32] = [-1, -1]
      guard pipe(&pair) == 0 else {
        let fault = Files.failure(.start, command[0])
        for end in ends.joined() { close(end) }
        throw fault
      }
      for descriptor in pair { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
      ends.append(pair)
    }
    (input, output, errors) = (ends[0][1], ends[1][0], ends[2][0])
    defer { for end in [ends[0][0], ends[1][1], ends[2][1]] { close(end) } }
    do {
      process = try Spawn(
        arguments: command, environment: environment, input: hasInput ? ends[0][0] : nil,
        output: .descriptor(ends[1][1]), errors: .descriptor(ends[2][1])
      ).start()
    } catch {
      for end in [input, output, errors] { close(end) }
      throw error
    }
    for descriptor in [input, output, errors] {
      _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    }
    if !hasInput { closeInput() }
  }

  /// Feeds the process what `next` gives until that is nil, and takes what it writes to its end, an empty
  /// piece last; nil when it was ended because it neither read nor wrote for so long.
  func run(
    silenceSeconds: Double? = nil, next: () throws -> [UInt8]?, output: ([UInt8]) throws -> Void,
    errors: ([UInt8]) throws -> Void
  ) throws -> Ending? {
    var isOver = false
    defer {
      if !isOver {
        Child.send(SIGKILL, to: process)
        _ = Child.wait(process)
      }
      for end in [input, self.output, self.errors] where end >= 0 { close(end) }
    }
    isOver = try talk(silenceSeconds, next, output, errors)
    return isOver ? Child.wait(process) : nil
  }

  /// False when the process was silent for too long.
  private func talk(
    _ silenceSeconds: Double?, _ next: () throws -> [UInt8]?,
    _ takeOutput: ([UInt8]) throws -> Void, _ takeErrors: ([UInt8]) throws -> Void
  ) throws -> Bool {
    let patience = silenceSeconds.map { Int32(clamping: Int($0 * 1000)) } ?? -1
    var pending: [UInt8] = []
    var said = 0
    var hasMore = true
    var open = [output, errors]
    while open != [-1, -1] {
      if said == pending.count, input >= 0 {
        pending.removeAll(keepingCapacity: true)
        said = 0
        while hasMore, pending.count < 1 << 16 {
          if let piece = try next() { pending += piece } else { hasMore = false }
        }
        if pending.isEmpty { closeInput() }
      }
      var waiting = [pollfd(fd: input, events: Int16(POLLOUT), revents: 0)]
      waiting += open.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
      let ready = poll(&waiting, 3, patience)
      if ready == 0 { return false }
      guard ready > 0 else {
        if errno == EINTR { continue }
        throw Files.failure(.read, "the program's answers")
      }
      if waiting[0].revents != 0 {
        let count = Self.writeQuietly(pending[said...], to: input)
        if count >= 0 { said += count } else { closeInput() }
      }
      for place in 0..<2 where waiting[place + 1].revents != 0 {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let count = read(open[place], &buffer, buffer.count)
        if count < 0, errno == EINTR || errno == EAGAIN { continue }
        if count <= 0 { open[place] = -1 }
        try (place == 0 ? takeOutput : takeErrors)(Array(buffer[..<max(0, count)]))
      }
    }
    return true
  }

  private func closeInput() {
    if input >= 0 { close(input) }
    input = -1
  }

  /// Writes what fits; negative where nobody reads, without the signal that would end this process.
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
    _ = Host.signal(among: [SIGPIPE], seconds: 0)
    return -1
  }
}
