import ArgumentParser
import BllarseCore
import BllarseMLflow
import Foundation

/// `bllarse-finetune check`: what would become of many runs, without fitting any.
struct Check: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Checks many runs at once: their options, and the files that these name.",
    discussion: """
      Reads standard input, where every line is a JSON array: the words of one run after \
      bllarse-finetune. Writes one JSON object a line, in the same order: status is the exit status that \
      the run would have as far as options and files tell (0, or 64 or 65 with a message), notes is what \
      the run would say about its options, and memory_bytes is an estimate of its memory at its peak.
      """)

  func run() throws {
    var parser = QuickParser()
    let files = FileHeaders()
    while let line = readLine(strippingNewline: true) {
      print(RunOutput.json(RunCheck(line: line, parser: &parser, files: files)))
      // Who asks may wait for each answer.
      fflush(nil)
    }
  }
}

struct RunCheck: Encodable {
  var status: Int32 = 0
  var message: String?
  var notes: [String]?
  var memoryBytes: Int?

  private enum CodingKeys: String, CodingKey {
    case status, message, notes
    case memoryBytes = "memory_bytes"
  }

  /// Checks a run: the line is a JSON array of the words of its command line.
  init(line: String, parser: inout QuickParser, files: FileHeaders) {
    var (words, spellings): ([String], [String]) = ([], [])
    do {
      guard let parsed = RunOutput.decode([String].self, from: line) else {
        status = 64
        message = "the line is not a JSON array of words, the arguments of a run: \(line)"
        return
      }
      words = parsed
      let line = try CommandLineWords(words)
      spellings = line.notes
      let configuration: RunConfiguration
      switch try parser.parse(line.words) {
      case .train(let given):
        configuration = try Train.check(given)
        notes = line.notes + Train.notes(configuration, given)
      case .text(let given):
        configuration = try Text.check(given)
        notes =
          try line.notes
          + (configuration.data.text.map {
            try Text.notes(configuration, given, files.content(of: $0.cache))
          } ?? [])
      case .command:
        refuse(words)
        return
      }
      memoryBytes = try RunPlan(configuration, files: files).memoryBytes
    } catch let error as DataError {
      status = 65
      message = "\(error)"
      notes = nil
    } catch {
      status = Finetune.exitCode(for: error).rawValue
      message = Finetune.message(for: error)
      // A call for help or for the version is no run either.
      if status == 0 { refuse(words) }
      notes = spellings.isEmpty ? nil : spellings
    }
  }

  private mutating func refuse(_ words: [String]) {
    status = 64
    message =
      "'\(words.joined(separator: " "))' asks for something else than a run; only runs can be checked"
  }
}

/// Reads the command lines of many runs: the parser looks at every declaration again for every line,
/// which takes longer than a small fit.
///
/// Words that are declared options are taken as such. Whatever else there is (another command, a call for
/// help, an unknown option) is left to the parser, so that its answers and its messages are the same either
/// way.
struct QuickParser {
  enum Answer {
    case train(GivenOptions)
    case text(GivenOptions)
    case command(any ParsableCommand)
  }

  /// The options of a run by what stands for them on a command line, dashes included.
  private let options = Self.byName(RunConfiguration.options + TrackingList.options)
  private let laplaceOptions = Self.byName(Laplace.options)
  private let textOptions = Self.byName(
    TextCacheList.options + TextMethodList.options + SplitList.options + RunningList.options
      + TrackingList.options)
  /// What the parser makes of a single option that it does not take, or that asks for something else than
  /// a run.
  private var answers: [[String]: Result<any ParsableCommand, any Error>] = [:]

  private static func byName(_ list: [OptionInfo]) -> [String: OptionInfo] {
    var options: [String: OptionInfo] = [:]
    for info in list {
      for name in [info.name, info.otherName].compactMap({ $0 }) { options["--" + name] = info }
      if let name = info.shortName { options["-" + name] = info }
    }
    return options
  }

  /// What a command line asks for, whose words are in their present spelling.
  mutating func parse(_ words: [String]) throws -> Answer {
    let isText = words.first == "text"
    let isLaplace = words.first == "laplace"
    let options = isText ? textOptions : isLaplace ? laplaceOptions : options
    var given = GivenOptions()
    var rest = isText || isLaplace || words.first == "train" ? words.dropFirst() : words[...]
    while let word = rest.popFirst() {
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard let info = options[String(parts[0])] else {
        // With what may be its value: alone it could be refused for want of one.
        let value = word.hasPrefix("-") ? rest.first.flatMap { Self.isValue($0) ? $0 : nil } : nil
        return try slowly(words, only: [word] + (value.map { [$0] } ?? []))
      }
      switch info.arity {
      case .flag where parts.count == 1: given[info.name] = ""
      case .value where parts.count > 1 && !parts[1].isEmpty: given[info.name] = String(parts[1])
      case .value where parts.count == 1 && rest.first.map(Self.isValue) == true:
        given[info.name] = rest.popFirst()
      case .list where parts.count == 1 && rest.first.map(Self.isValue) == true:
        let values = rest.prefix(while: Self.isValue)
        given.give(info.name, Array(values))
        rest = rest.dropFirst(values.count)
      case .flag, .value, .list: return try slowly(words, only: [word])
      }
    }
    if isLaplace { given["head"] = HeadRegistry.givenWeights }
    return isText ? .text(given) : .train(given)
  }

  /// Whether the parser takes a word for a value: one that begins with a dash is an option, a dash alone is not.
  private static func isValue(_ word: String) -> Bool { word == "-" || !word.hasPrefix("-") }

  /// Leaves a line to the parser because of a part of it: when the parser refuses that alone, or takes it
  /// for something else than a run, it is asked once for all lines that have it.
  private mutating func slowly(_ words: [String], only part: [String]) throws -> Answer {
    let alone =
      (words.first.map { ["text", "laplace"].contains($0) && part[0] != $0 ? [$0] : [] } ?? [])
      + part
    if let answer = answers[alone] { return .command(try answer.get()) }
    if part[0].hasPrefix("-") || part.count > 1 {
      let answer = Result { try Finetune.parseAsRoot(alone) }
      let command = try? answer.get()
      if !(command is Train || command is Text || command is Laplace) {
        answers[alone] = answer
        return .command(try answer.get())
      }
    }
    switch try Finetune.parseAsRoot(words) {
    case let train as Train: return .train(train.given)
    case let laplace as Laplace: return .train(laplace.given)
    case let text as Text: return .text(text.given)
    case let command: return .command(command)
    }
  }
}
