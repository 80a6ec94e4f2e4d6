import Foundation

struct Spawn {
  enum Output {
    case inherit
    /// Appended to, created when missing.
    case file(String)
    case descriptor(Int32)
  }

  /// The program's path, then its arguments.
  var arguments: [String]
  var environment = Host.inheritedEnvironment
  /// Its standard input; nil for nothing to read.
  var input: Int32?
  var output = Output.inherit
  var errors = Output.inherit
  /// A group of its own receives no Ctrl-C from the terminal: whoever started it forwards signals.
  var ownGroup = false
  /// The processors it may use; nil for those of this process.
  var processors: [Int]?

  func start() throws -> Int32 {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    if let input {
      posix_spawn_file_actions_adddup2(&actions, input, 0)
    } else {
      posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    }
    redirect(1, output, &actions)
    redirect(2, errors, &actions)

    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // Signals that this process waits for are blocked in it; the child must not inherit that.
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    var defaults = sigset_t()
    sigfillset(&defaults)
    posix_spawnattr_setsigdefault(&attributes, &defaults)
    var flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF
    if ownGroup { flags |= POSIX_SPAWN_SETPGROUP }
    posix_spawnattr_setflags(&attributes, Int16(flags))

    // taskset(1) narrows the affinity and then becomes the program: the process id stays.
    var arguments = arguments
    if let processors, let taskset = Host.find("taskset") {
      let list = processors.map(String.init).joined(separator: ",")
      arguments = [taskset, "--cpu-list", list] + arguments
    }
    let program = arguments[0]
    let entries = environment.map { "\($0.key)=\($0.value)" }.sorted()
    var process: Int32 = 0
    let status = Self.withStrings(arguments) { argv in
      Self.withStrings(entries) { envp in
        posix_spawn(&process, program, &actions, &attributes, argv, envp)
      }
    }
    guard status == 0 else {
      throw SweepError.failed("cannot start \(program): \(String(cString: strerror(status)))")
    }
    return process
  }

  private func redirect(
    _ descriptor: Int32, _ output: Output, _ actions: inout posix_spawn_file_actions_t
  ) {
    switch output {
    case .inherit: break
    case .file(let path):
      posix_spawn_file_actions_addopen(
        &actions, descriptor, path, O_WRONLY | O_CREAT | O_APPEND, 0o666)
    case .descriptor(let source): posix_spawn_file_actions_adddup2(&actions, source, descriptor)
    }
  }

  private static func withStrings<Result>(
    _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
  ) -> Result {
    let pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) } + [nil]
    defer { for pointer in pointers { free(pointer) } }
    return body(pointers)
  }
}

package enum Ending: Equatable, Sendable {
  case exit(Int32)
  case signal(Int32)

  init(waitStatus: Int32) {
    let signal = waitStatus & 0x7f
    self = signal == 0 ? .exit((waitStatus >> 8) & 0xff) : .signal(signal)
  }

  /// The exit code as a shell counts it: 128 more than the signal.
  package var code: Int32 {
    switch self {
    case .exit(let code): code
    case .signal(let number): 128 + number
    }
  }
}

package enum Child {
  /// How a child ended; nil while it runs.
  package static func poll(_ process: Int32) -> Ending? {
    var status: Int32 = 0
    return waitpid(process, &status, WNOHANG) == process ? Ending(waitStatus: status) : nil
  }

  package static func wait(_ process: Int32) -> Ending {
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 {
      guard errno == EINTR else { return .exit(127) }
    }
    return Ending(waitStatus: status)
  }

  /// Sends a signal to a child, or to its whole group.
  package static func send(_ signal: Int32, to process: Int32, group: Bool = false) {
    kill(group ? -process : process, signal)
  }

  /// Passes a signal on to a program, the first of its group, or to its ``Keeper``.
  static func pass(_ signal: Int32, to process: Int32, isKeeper: Bool) {
    if isKeeper {
      // A keeper must see the end of what it is told to kill.
      send(signal == Signals.kill ? Signals.quit : signal, to: process)
    } else {
      // Only the program itself knows the request to checkpoint; its children would die of it.
      send(signal, to: process, group: signal != Signals.checkpoint)
    }
  }
}

/// Signals taken in order by the one loop that waits for them, instead of handlers.
package struct Signals {
  package static let terminate = SIGTERM
  package static let checkpoint = SIGUSR1
  package static let kill = SIGKILL
  package static let quit = SIGQUIT

  /// Whether a signal asks a program to end, as a person or a system that shuts down does.
  static func asksToEnd(_ signal: Int32) -> Bool {
    [SIGINT, SIGTERM, SIGHUP, SIGQUIT].contains(signal)
  }

  private let taken: [Int32]

  /// Blocks the signals, and some more, in this thread, and so in those it starts from now on.
  package init(adding more: [Int32] = []) {
    taken = [SIGINT, SIGTERM, SIGUSR1, SIGHUP, SIGCHLD] + more
    var set = sigset_t()
    sigemptyset(&set)
    for signal in taken { sigaddset(&set, signal) }
    pthread_sigmask(SIG_BLOCK, &set, nil)
  }

  /// Waits for the next signal; nil when a child ended or the time passed.
  package func wait(seconds: Double) -> Int32? {
    let signal = Host.signal(among: taken, seconds: seconds)
    return signal == SIGCHLD ? nil : signal
  }

  package static func name(_ signal: Int32) -> String { names[signal] ?? "signal \(signal)" }

  private static let names: [Int32: String] = [
    SIGINT: "SIGINT", SIGTERM: "SIGTERM", SIGKILL: "SIGKILL", SIGUSR1: "SIGUSR1", SIGHUP: "SIGHUP",
    SIGQUIT: "SIGQUIT", SIGSEGV: "SIGSEGV", SIGABRT: "SIGABRT", SIGILL: "SIGILL", SIGBUS: "SIGBUS",
    SIGFPE: "SIGFPE", SIGXCPU: "SIGXCPU", SIGPIPE: "SIGPIPE",
  ]
}
