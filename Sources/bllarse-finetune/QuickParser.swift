import ArgumentParser

/// Reads the command lines of many runs: the parser looks at every declaration again for every line,
/// which takes longer than a small fit.
///
/// Words that ``TrainOption/all`` and ``Text/options`` know are set in a copy of the parsed empty line.
/// Whatever else there is (another command, a call for help, an unknown option, a value that is none) is
/// left to the parser, so that its answers and its messages are the same either way.
struct QuickParser {
  private let train: QuickLine<Train>
  private let text: QuickLine<Text>
  /// What the parser makes of a single option that it does not take, or that asks for something else than
  /// a run.
  private var answers: [[String]: Result<any ParsableCommand, any Error>] = [:]

  /// Parses the empty lines.
  init() throws {
    var options = Dictionary(
      uniqueKeysWithValues: TrainOption.all.map {
        ("--" + $0.name, QuickOption(takesValue: $0.takesValue, set: $0.set))
      })
    for (short, long) in CommandLineWords.shortNames { options["-" + short] = options["--" + long] }
    options["--loss-fn"] = options["--head"]
    train = try QuickLine(options)
    text = try QuickLine(Text.options)
  }

  /// What a command line asks for.
  ///
  /// - Parameter words: in their present spelling.
  /// - Returns: the command.
  /// - Throws: what the parser throws.
  mutating func parse(_ words: [String]) throws -> any ParsableCommand {
    // As the parser does: every group is validated, then the whole.
    if words.first == "text" {
      switch text.read(words.dropFirst()) {
      case .unknown(let part): return try slowly(words, only: ["text"] + part)
      case .read(let text):
        try text.running.validate()
        try text.tracking.validate()
        try text.validate()
        return text
      }
    }
    switch train.read(words.first == "train" ? words.dropFirst() : words[...]) {
    case .unknown(let part): return try slowly(words, only: part)
    case .read(let train):
      try train.running.validate()
      try train.tracking.validate()
      try train.validate()
      return train
    }
  }

  /// Leaves a line to the parser.
  ///
  /// - Parameters:
  ///   - words: the line.
  ///   - part: the words of it that are the reason; when the parser refuses them alone, or takes them
  ///     for something else than a run, it is asked once for all lines that have them.
  /// - Returns: the command.
  /// - Throws: what the parser throws.
  private mutating func slowly(
    _ words: [String], only part: [String]
  ) throws -> any ParsableCommand {
    if let answer = answers[part] { return try answer.get() }
    if part[0].hasPrefix("-") || part.count > 1 {
      let answer = Result { try Finetune.parseAsRoot(part) }
      switch answer {
      case .success(let command) where command is Train || command is Text: break
      case .success, .failure:
        answers[part] = answer
        return try answer.get()
      }
    }
    return try Finetune.parseAsRoot(words)
  }
}
