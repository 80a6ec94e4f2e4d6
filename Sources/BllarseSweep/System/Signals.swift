import Foundation

/// Signals taken in order by the one loop that waits for them, instead of handlers.
package struct Signals {
  package static let interrupt = SIGINT
  package static let terminate = SIGTERM
  package static let checkpoint = SIGUSR1
  package static let hangUp = SIGHUP
  package static let kill = SIGKILL
  package static let quit = SIGQUIT

  /// Whether a signal asks a program to end, as a person or a system that shuts down does.
  static func asksToEnd(_ signal: Int32) -> Bool {
    [SIGINT, SIGTERM, SIGHUP, SIGQUIT].contains(signal)
  }

  private var set = sigset_t()

  /// Blocks the signals, and some more, in this thread, and so in those it starts from now on.
  package init(adding more: [Int32] = []) {
    sigemptyset(&set)
    for signal in [SIGINT, SIGTERM, SIGUSR1, SIGHUP, SIGCHLD] + more { sigaddset(&set, signal) }
    pthread_sigmask(SIG_BLOCK, &set, nil)
  }

  /// Waits for the next signal; nil when a child ended or the time passed.
  package func wait(seconds: Double) -> Int32? {
    var set = set
    let whole = seconds.rounded(.down)
    var timeout = timespec(tv_sec: Int(whole), tv_nsec: Int((seconds - whole) * 1e9))
    let signal = sigtimedwait(&set, nil, &timeout)
    return signal > 0 && signal != SIGCHLD ? signal : nil
  }

  package static func name(_ signal: Int32) -> String {
    switch signal {
    case SIGINT: "SIGINT"
    case SIGTERM: "SIGTERM"
    case SIGKILL: "SIGKILL"
    case SIGUSR1: "SIGUSR1"
    case SIGHUP: "SIGHUP"
    case SIGQUIT: "SIGQUIT"
    case SIGSEGV: "SIGSEGV"
    case SIGABRT: "SIGABRT"
    case SIGILL: "SIGILL"
    case SIGBUS: "SIGBUS"
    case SIGFPE: "SIGFPE"
    case SIGXCPU: "SIGXCPU"
    case SIGPIPE: "SIGPIPE"
    default: "signal \(signal)"
    }
  }
}
