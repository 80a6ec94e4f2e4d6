import BllarseSweep

/// What the commands print.
enum Terminal {
  /// A message, which is not a result: standard error.
  static func note(_ message: String) { Files.print(message + "\n", to: 2) }

  /// A failure, each line with the program's name.
  static func error(_ message: String) {
    for line in message.split(separator: "\n") { note("bllarse-sweep: \(line)") }
  }

  /// A result.
  static func write(_ text: String) { Files.print(text, to: 1) }

  /// Clears the screen before a live table is drawn again.
  static func clear() { write("\u{1B}[H\u{1B}[2J") }
}
