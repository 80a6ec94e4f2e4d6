import ArgumentParser

/// An option as ``QuickLine`` sets it.
struct QuickOption<Command>: Sendable {
  /// Whether it takes a value.
  let takesValue: Bool
  /// Sets it from the text of its value; false when the text is no value of it.
  let set: @Sendable (inout Command, String) -> Bool

  /// An option with a value and a default.
  static func value<Value: ExpressibleByArgument>(
    _ path: any WritableKeyPath<Command, Value> & Sendable
  ) -> QuickOption {
    QuickOption(takesValue: true) { command, text in
      guard let value = Value(argument: text) else { return false }
      command[keyPath: path] = value
      return true
    }
  }

  /// An option with a value and without a default.
  static func value<Value: ExpressibleByArgument>(
    _ path: any WritableKeyPath<Command, Value?> & Sendable
  ) -> QuickOption {
    QuickOption(takesValue: true) { command, text in
      guard let value = Value(argument: text) else { return false }
      command[keyPath: path] = value
      return true
    }
  }

  /// A switch.
  static func flag(_ path: any WritableKeyPath<Command, Bool> & Sendable) -> QuickOption {
    QuickOption(takesValue: false) { command, _ in
      command[keyPath: path] = true
      return true
    }
  }
}

/// A command line that is read by setting options in a copy of the parsed empty one.
struct QuickLine<Command: ParsableCommand> {
  /// What came of the words.
  enum Outcome {
    /// All of them are known; nothing is validated yet.
    case read(Command)
    /// These words are for the parser to judge.
    case unknown([String])
  }

  private let empty: Command
  private let options: [String: QuickOption<Command>]

  /// Parses the empty line.
  ///
  /// - Parameter options: by their names with dashes.
  /// - Throws: what the parser throws; nothing, as a line without words is a run.
  init(_ options: [String: QuickOption<Command>]) throws {
    empty = try Command.parse([])
    self.options = options
  }

  /// Reads the words after the command's name.
  func read(_ words: some Sequence<String>) -> Outcome {
    var command = empty
    var rest = Array(words)[...]
    while let word = rest.popFirst() {
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard let option = options[String(parts[0])] else {
        // With what may be its value: alone it could be refused for want of one.
        let value = word.hasPrefix("-") ? rest.first.flatMap { $0.hasPrefix("-") ? nil : $0 } : nil
        return .unknown([word] + (value.map { [$0] } ?? []))
      }
      guard option.takesValue else {
        guard parts.count == 1, option.set(&command, "") else { return .unknown([word]) }
        continue
      }
      if parts.count > 1 {
        guard option.set(&command, String(parts[1])) else { return .unknown([word]) }
      } else if let value = rest.first, !value.hasPrefix("-") {
        guard option.set(&command, value) else { return .unknown([word, value]) }
        rest = rest.dropFirst()
      } else {
        return .unknown([word])
      }
    }
    return .read(command)
  }
}
