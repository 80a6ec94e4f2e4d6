import Foundation
import Synchronization

/// SIGTERM, SIGINT and SIGUSR1 (SLURM's warning before a time limit): the first asks the run to stop after
/// its step and to write a checkpoint, the second ends the process at once.
enum Interruption {
  /// The first signal, or 0.
  private static let received = Atomic<Int32>(0)

  /// The signal that asked the run to stop, if one did.
  static var signal: Int32? {
    let value = received.load(ordering: .relaxed)
    return value == 0 ? nil : value
  }

  /// Begins to listen.
  ///
  /// - Parameter stopsGracefully: whether the first signal is only noted; otherwise it ends the process.
  static func listen(stopsGracefully: Bool) {
    // The first access initialises the counter, here and not in a handler.
    guard received.load(ordering: .relaxed) == 0, stopsGracefully else { return }
    // A parent that blocks signals (a thread pool's thread, some launchers) hands its mask down.
    var mask = sigset_t()
    sigemptyset(&mask)
    for number in [SIGTERM, SIGINT, SIGUSR1] {
      sigaddset(&mask, number)
      Foundation.signal(number) { number in
        // Only what may be called in a signal handler: an atomic exchange and _exit.
        let (isFirst, _) = Interruption.received.compareExchange(
          expected: 0, desired: number, ordering: .relaxed)
        if !isFirst { _exit(128 + number) }
      }
    }
    sigprocmask(SIG_UNBLOCK, &mask, nil)
  }
}

/// A command line that a shell takes for the same words.
enum CommandLineText {
  /// This process's arguments, with a checkpoint to go on from.
  static func resuming(_ directory: String, arguments: [String] = CommandLine.arguments) -> String {
    var words = arguments
    if !words.contains(where: { $0 == "--resume" || $0.hasPrefix("--resume=") }) {
      words += ["--resume", directory]
    }
    return words.map(quoted).joined(separator: " ")
  }

  private static func quoted(_ word: String) -> String {
    let plain = word.unicodeScalars.allSatisfy {
      CharacterSet.alphanumerics.contains($0) || "-_./=:,+@%".unicodeScalars.contains($0)
    }
    return plain && !word.isEmpty
      ? word : "'" + word.replacingOccurrences(of: "'", with: "'\\''") + "'"
  }
}
