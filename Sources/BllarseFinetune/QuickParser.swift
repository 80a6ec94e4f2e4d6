import ArgumentParser
import BllarseCore

/// Reads the command lines of many runs: the parser looks at every declaration again for every line,
/// which takes longer than a small fit.
///
/// Words that are declared options are taken as such. Whatever else there is (another command, a call for
/// help, an unknown option) is left to the parser, so that its answers and its messages are the same either
/// way.
struct QuickParser {
  /// What a command line asks for.
  enum Answer {
    /// A run with these options.
    case train(GivenOptions)
    /// Another command.
    case command(any ParsableCommand)
  }

  /// The options of a run by what stands for them on a command line, dashes included.
  private let options: [String: OptionInfo]
  /// What the parser makes of a single option that it does not take, or that asks for something else than
  /// a run.
  private var answers: [[String]: Result<any ParsableCommand, any Error>] = [:]

  init() {
    var options: [String: OptionInfo] = [:]
    for info in RunConfiguration.options + TrackingList.options {
      for name in [info.name, info.otherName].compactMap({ $0 }) { options["--" + name] = info }
      if let name = info.shortName { options["-" + name] = info }
    }
    self.options = options
  }

  /// What a command line asks for.
  ///
  /// - Parameter words: in their present spelling.
  /// - Returns: the options of a run, or another command.
  /// - Throws: what the parser throws.
  mutating func parse(_ words: [String]) throws -> Answer {
    var given = GivenOptions()
    var rest = (words.first == "train" ? words.dropFirst() : words[...])
    while let word = rest.popFirst() {
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard let info = options[String(parts[0])] else {
        // With what may be its value: alone it could be refused for want of one.
        let value = word.hasPrefix("-") ? rest.first.flatMap { $0.hasPrefix("-") ? nil : $0 } : nil
        return try slowly(words, only: [word] + (value.map { [$0] } ?? []))
      }
      switch info.arity {
      case .flag:
        guard parts.count == 1 else { return try slowly(words, only: [word]) }
        given[info.name] = ""
      case .value where parts.count > 1: given[info.name] = String(parts[1])
      case .value:
        guard let value = rest.first, !value.hasPrefix("-") else {
          return try slowly(words, only: [word])
        }
        given[info.name] = value
        rest = rest.dropFirst()
      case .list: return try slowly(words, only: [word])
      }
    }
    return .train(given)
  }

  /// Leaves a line to the parser.
  ///
  /// - Parameters:
  ///   - words: the line.
  ///   - part: the words of it that are the reason; when the parser refuses them alone, or takes them
  ///     for something else than a run, it is asked once for all lines that have them.
  /// - Returns: what the parser makes of it.
  /// - Throws: what the parser throws.
  private mutating func slowly(_ words: [String], only part: [String]) throws -> Answer {
    if let answer = answers[part] { return .command(try answer.get()) }
    if part[0].hasPrefix("-") || part.count > 1 {
      let answer = Result { try Finetune.parseAsRoot(part) }
      switch answer {
      case .success(let command) where command is Train || command is Text: break
      case .success, .failure:
        answers[part] = answer
        return .command(try answer.get())
      }
    }
    let command = try Finetune.parseAsRoot(words)
    return (command as? Train).map { .train($0.given) } ?? .command(command)
  }
}
