/// Asks programs whether the configurations of a sweep can run, before any is sent or started.
///
/// A program that has the subcommand `check` is asked: one process reads the words of each run as a
/// JSON array a line, and answers each with an object:
///
///     ["--loss-fn","IBProbit","--epochs","3"]
///     {"status":0,"notes":["…"],"memory_bytes":52428800}
///     {"status":64,"message":"…"}
///
/// `status` is the exit code that the run would have.
package struct ConfigurationChecker {
  private let description: ProgramDescription
  private let program: String?
  /// How long a program may say nothing.
  var silenceSeconds = 300.0

  package init(_ description: ProgramDescription, program: String? = nil) {
    (self.description, self.program) = (description, program)
  }

  /// Asks about some configurations: one process for each program, however many there are.
  package func check(_ indices: [Int], entry: (Int) throws -> ManifestEntry) throws -> CheckReport {
    var report = CheckReport()
    var located: [[String]: Program] = [:]
    let runs = try indices.map { (index: $0, words: try entry($0).program) }
    let asked = runs.filter { $0.words != PythonProgram.words }
    if asked.count < runs.count {
      report.unasked.append(("run(config)", "is the module's own", runs.count - asked.count))
    }
    for words in asked.map(\.words).uniqued {
      located[words] = try description.located(as: words, program: program)
    }
    for (describer, runs) in asked.grouped(by: { located[$0.words]?.describer ?? [] }) {
      guard let options = located[runs[0].words]?.options, options.hasCheck else {
        let reason =
          located[runs[0].words]?.options == nil
          ? "does not describe its options" : "has no subcommand 'check'"
        report.unasked.append((Files.name(of: describer[0]), reason, runs.count))
        continue
      }
      try ask(describer + ["check"], runs.map(\.index), &report) { index in
        // Leading words that are no part of what is asked belong to the run: a subcommand.
        let entry = try entry(index)
        let leading = located[entry.program]?.command.dropFirst(describer.count) ?? []
        return leading + entry.arguments
      }
    }
    return report
  }

  private func ask(
    _ command: [String], _ indices: [Int], _ report: inout CheckReport,
    words: (Int) throws -> [String]
  ) throws {
    let name = Files.name(of: command[0])
    let dialogue = try LineDialogue(command)
    var said = 0
    var heard = 0
    let ending = try dialogue.run(silenceSeconds: silenceSeconds) {
      guard said < indices.count else { return nil }
      let line = JSON.strings(try words(indices[said])).compact
      said += 1
      return Array(line.utf8)
    } answer: { bytes in
      guard heard < said, let answer = try? JSON.parse(bytes: bytes),
        report.add(answer, for: indices[heard])
      else {
        let line = String(decoding: bytes.prefix(100), as: UTF8.self)
        let about = heard < said ? "configuration \(indices[heard])" : "nothing that was asked"
        throw SweepError.failed(
          "'\(name) check' answers about \(about): \(line); expected {\"status\": N, …}; \(Self.advice)"
        )
      }
      heard += 1
    }
    guard heard < indices.count else { return }
    let reason =
      switch ending {
      case nil: "said nothing for \(JSON.number(silenceSeconds).compact) s"
      case .exit(let code): "ended with exit code \(code)"
      case .signal(let number): "was ended by \(Signals.name(number))"
      }
    let text = String(decoding: dialogue.errorText, as: UTF8.self)
    let last = text.split(whereSeparator: \.isNewline).last.map { ": \($0)" } ?? ""
    throw SweepError.failed(
      "'\(name) check' \(reason) at configuration \(indices[heard]), after \(heard) of \(indices.count) answers\(last); \(Self.advice)"
    )
  }

  private static let advice = "--no-check sends without asking"
}

/// What programs said of a sweep's configurations before any of them runs.
public struct CheckReport: Sendable {
  /// The memory of the run that needs most.
  public struct MemoryEstimate: Sendable, Equatable {
    /// The configuration.
    public let index: Int
    /// Bytes.
    public let bytes: Int
  }

  package private(set) var asked: [Int] = []
  package private(set) var largestMemory: MemoryEstimate?
  /// Programs that cannot be asked, and of how many configurations.
  package internal(set) var unasked: [(program: String, reason: String, count: Int)] = []
  private var refusedRuns: [(index: Int, status: Int, message: String)] = []
  private var noteTexts: [String] = []

  package var refused: [Int] { refusedRuns.map(\.index).sorted() }

  /// What cannot run, the first configuration's reason first, with the exit code that the runs would have.
  package var refusals: [(status: Int, message: String, indices: [Int])] {
    refusedRuns.grouped { "\($0.status) \($0.message)" }
      .map { ($1[0].status, $1[0].message, $1.map(\.index).sorted()) }
  }

  /// What is to know about configurations that can run, the most frequent first.
  package var notes: [(text: String, count: Int)] {
    noteTexts.grouped { $0 }.map { ($0, $1.count) }.sorted { $0.1 > $1.1 }
  }

  /// Adds the answer about one configuration; false for what is none: no object with a number `status`.
  mutating func add(_ answer: JSON, for index: Int) -> Bool {
    guard let status = answer["status"]?.intValue else { return false }
    asked.append(index)
    if status != 0 {
      let message = answer["message"]?.stringValue ?? "exit code \(status)"
      refusedRuns.append((index, status, Self.essence(message)))
      return true
    }
    noteTexts += answer["notes"]?.arrayValue?.map { Self.essence($0.plainText) } ?? []
    if let bytes = answer["memory_bytes"]?.intValue, bytes > largestMemory?.bytes ?? 0 {
      largestMemory = MemoryEstimate(index: index, bytes: bytes)
    }
    return true
  }

  /// A parser's message without its headings and its usage, which are no reason.
  static func essence(_ message: String) -> String {
    var kept: [String] = []
    for line in message.split(whereSeparator: \.isNewline).map(String.init) {
      if line.hasPrefix("Usage:") || line.hasPrefix("See '") || line.hasPrefix("Help:") {
        if kept.isEmpty { continue } else { break }
      }
      let heading = ["Error: ", "error: ", "Warning: ", "note: "].first { line.hasPrefix($0) }
      kept.append(heading.map { String(line.dropFirst($0.count)) } ?? line)
    }
    return kept.isEmpty ? message.trimmed : kept.joined(separator: "\n")
  }

  /// Reasons and notes beyond this many are only counted.
  private static let shownGroups = 20

  /// What cannot run and why: `12 configurations (0,3-13): REASON`, one reason after another.
  package var refusalText: String {
    let refusals = refusals
    var lines = refusals.prefix(Self.shownGroups).map { refusal in
      let indices = Self.short(refusal.indices)
      let subject =
        refusal.indices.count == 1
        ? "configuration \(indices)" : "\(refusal.indices.count) configurations (\(indices))"
      return "\(subject): " + refusal.message.replacing("\n", with: "\n  ")
    }
    let rest = refusals.dropFirst(Self.shownGroups)
    if !rest.isEmpty {
      let count = rest.reduce(0) { $0 + $1.indices.count }
      lines.append(
        "\(count) more configurations for \(rest.count) other reasons ('list --check --format json' names all)"
      )
    }
    return lines.joined(separator: "\n")
  }

  /// Lines to tell beside the refusals: notes by their number, and what could not be asked.
  package var noteLines: [String] {
    let notes = notes
    let shown = notes.prefix(Self.shownGroups).map { note in
      "note: \(note.count) configuration\(note.count == 1 ? "" : "s"): \(note.text)"
    }
    let more = notes.count - shown.count
    return shown + (more > 0 ? ["note: and \(more) other notes"] : [])
      + unasked.map {
        "note: \($0.program) \($0.reason): what cannot run is not known before it starts"
      }
  }

  package var json: JSON {
    .object([
      "asked": .int(asked.count),
      "refused": .array(
        refusals.map {
          .object([
            "indices": .ints($0.indices), "status": .int($0.status), "message": .string($0.message),
          ])
        }),
      "notes": .array(notes.map { .object(["text": .string($0.text), "count": .int($0.count)]) }),
      "largest_memory": largestMemory.map {
        .object(["index": .int($0.index), "bytes": .int($0.bytes)])
      } ?? .null,
      "not_asked": .array(
        unasked.map {
          .object([
            "program": .string($0.program), "reason": .string($0.reason), "count": .int($0.count),
          ])
        }),
    ])
  }

  /// Ascending indices as ranges, as far as a line goes.
  private static func short(_ indices: [Int]) -> String {
    let text = Chunk.ranges(indices)
    guard text.utf8.count > 120 else { return text }
    let cut = text.prefix(120).lastIndex(of: ",") ?? text.startIndex
    return text[..<cut] + ",…,\(indices.last ?? 0)"
  }
}

/// What the last check said of configurations that were left out, kept so that their status tells.
package enum RefusalRecord {
  private static func path(_ directory: SweepDirectory) -> String {
    "\(directory.path)/refused.json"
  }

  /// Keeps the answers of a check; what it did not ask about stays as it was.
  package static func update(_ directory: SweepDirectory, _ report: CheckReport) throws {
    let before = try read(directory)
    var reasons = before
    for index in report.asked { reasons[index] = nil }
    for refusal in report.refusals {
      for index in refusal.indices { reasons[index] = refusal.message }
    }
    guard reasons != before else { return }
    let groups = reasons.sorted { $0.key < $1.key }.grouped(by: \.value)
    let json: JSON = .object([
      "version": 1,
      "refused": .array(
        groups.map { .object(["indices": .ints($1.map(\.key)), "message": .string($0)]) }),
    ])
    try Files.write(json.compact + "\n", to: path(directory))
  }

  package static func read(_ directory: SweepDirectory) throws -> [Int: String] {
    guard let text = try Files.text(of: path(directory)) else { return [:] }
    guard let groups = try? JSON.parse(text)["refused"]?.arrayValue else {
      throw SweepError.data(
        "\(path(directory)): not a record of refused configurations; remove the file")
    }
    var reasons: [Int: String] = [:]
    for group in groups {
      for index in group["indices"]?.ints ?? [] {
        reasons[index] = group["message"]?.stringValue ?? ""
      }
    }
    return reasons
  }
}
