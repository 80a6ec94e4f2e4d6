import ArgumentParser

/// Reads the command lines of many runs: the parser looks at every declaration again for every line,
/// which takes longer than a small fit.
///
/// Words that ``TrainOption/all`` knows are set in a copy of the parsed empty line. Whatever else there is
/// (another command, a call for help, an unknown option, a value that is none) is left to the parser, so
/// that its answers and its messages are the same either way.
struct QuickParser {
  private let empty: Train
  private let options: [String: TrainOption]
  /// What the parser says to a single option that it does not take.
  private var faults: [[String]: any Error] = [:]

  /// Parses the empty line.
  init() throws {
    empty = try Train.parse([])
    var options = Dictionary(
      uniqueKeysWithValues: TrainOption.all.map { ("--" + $0.name, $0) })
    for (short, long) in CommandLineWords.shortNames { options["-" + short] = options["--" + long] }
    options["--head"] = options["--loss-fn"]
    self.options = options
  }

  /// What a command line asks for.
  ///
  /// - Parameter words: in their present spelling.
  /// - Returns: the command.
  /// - Throws: what the parser throws.
  mutating func parse(_ words: [String]) throws -> any ParsableCommand {
    var train = empty
    var rest = words[...]
    if rest.first == "train" { rest = rest.dropFirst() }
    while let word = rest.popFirst() {
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard let option = options[String(parts[0])] else { return try slowly(words, only: [word]) }
      guard option.takesValue else {
        guard parts.count == 1, option.set(&train, "") else {
          return try slowly(words, only: [word])
        }
        continue
      }
      if parts.count > 1 {
        guard option.set(&train, String(parts[1])) else { return try slowly(words, only: [word]) }
      } else if let value = rest.first, !value.hasPrefix("-") {
        guard option.set(&train, value) else { return try slowly(words, only: [word, value]) }
        rest = rest.dropFirst()
      } else {
        return try slowly(words, only: [word])
      }
    }
    // As the parser does: every group, then the whole.
    try train.running.validate()
    try train.tracking.validate()
    try train.validate()
    return train
  }

  /// Leaves a line to the parser.
  ///
  /// - Parameters:
  ///   - words: the line.
  ///   - part: the words of it that are the reason; when the parser refuses them alone, it is asked once
  ///     for all lines that have them.
  /// - Returns: the command.
  /// - Throws: what the parser throws.
  private mutating func slowly(
    _ words: [String], only part: [String]
  ) throws -> any ParsableCommand {
    if let fault = faults[part] { throw fault }
    if part[0].hasPrefix("-") {
      do { _ = try Finetune.parseAsRoot(part) } catch {
        faults[part] = error
        throw error
      }
    }
    return try Finetune.parseAsRoot(words)
  }
}
