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
      print(RunCheck(line: line, parser: &parser, files: files).json)
      // Who asks may wait for each answer.
      fflush(nil)
    }
  }
}

/// What would become of one run.
struct RunCheck: Encodable {
  var status: Int32 = 0
  var message: String?
  var notes: [String]?
  var memoryBytes: Int?

  private enum CodingKeys: String, CodingKey {
    case status, message, notes
    case memoryBytes = "memory_bytes"
  }

  /// Checks a run.
  ///
  /// - Parameters:
  ///   - line: a JSON array of the words of its command line.
  ///   - parser: reads the words.
  ///   - files: where the headers of files are kept.
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
      case .command(let text as Text):
        configuration = try text.configuration()
        notes = line.notes + text.optionNotes + text.notes(try files.content(of: text.task().cache))
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

  /// The answer in one line.
  var json: String { RunOutput.json(self) }
}
