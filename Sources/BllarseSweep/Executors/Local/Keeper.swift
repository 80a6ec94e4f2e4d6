/// A process between a launcher and a program of its own, which writes the program's end down.
///
/// Only a process' parent learns how it ended. A launcher that is killed would take that knowledge
/// along; the keeper stays with the program, passes signals on, gives the sign of life and ends when
/// the program does.
package enum Keeper {
  /// The first word after the program's name that makes it a keeper.
  package static let word = "keep-run"

  /// The words that start this very program as a keeper, even where its file was replaced meanwhile.
  package static var ownCommand: [String]? {
    guard let path = Host.executablePath else { return nil }
    return [Files.isExecutableFile(path) ? path : "/proc/\(Host.processID)/exe", word]
  }

  /// Starts a program, given after the attempt's directory, and stays until it ends with its exit code.
  package static func run(_ words: [String]) -> Int32 {
    guard words.count > 1 else {
      Files.print("bllarse-sweep \(word): expected a directory and a program\n", to: 2)
      return SweepError.Code.usage.rawValue
    }
    let signals = Signals(adding: [Signals.quit])
    let attempt = AttemptDirectory(path: words[0], number: 0)
    let started = Host.monotonic
    func end(_ ending: Ending) -> Int32 {
      // Where it cannot be written (a full disk), the launcher still has the exit code.
      try? attempt.write(
        ExitRecord(ending: ending, seconds: Host.monotonic - started, finished: Host.now))
      return ending.code
    }
    let process: Int32
    do {
      process = try Spawn(
        arguments: Array(words.dropFirst()), environment: Host.environment, ownGroup: true
      ).start()
    } catch {
      Files.print("\(error)\n", to: 2)
      return end(.exit(127))
    }
    var sent: (signal: Int32, time: Double) = (0, 0)
    while true {
      if let signal = signals.wait(seconds: heartbeatSeconds) {
        // Who signals a whole process tree reaches the keeper twice: itself, and through the launcher.
        if signal != sent.signal || Host.monotonic - sent.time > 0.2 {
          let passed = signal == Signals.quit ? Signals.kill : signal
          Child.pass(passed, to: process, isKeeper: false)
        }
        sent = (signal, Host.monotonic)
      } else {
        // A full disk must not end a run that may still finish.
        try? attempt.beat()
      }
      if let ending = Child.poll(process) { return end(ending) }
    }
  }

  static let heartbeatSeconds = 10.0
}
