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
  private let silenceSeconds: Double

  package init(
    _ description: ProgramDescription, program: String? = nil, silenceSeconds: Double = 300
  ) {
    (self.description, self.program) = (description, program)
    self.silenceSeconds = silenceSeconds
  }

  /// Asks about some configurations: one process for each program, however many there are.
  package func check(_ indices: [Int], entry: (Int) throws -> ManifestEntry) throws -> CheckReport {
    var report = CheckReport()
    var located: [[String]: Program] = [:]
    var groups: [(program: Program, indices: [Int])] = []
    var ownRuns = 0
    for index in indices {
      let words = try entry(index).program
      if words == PythonProgram.words {
        ownRuns += 1
        continue
      }
      let found = try located[words] ?? description.located(as: words, program: program)
      located[words] = found
      if let place = groups.firstIndex(where: { $0.program.describer == found.describer }) {
        groups[place].indices.append(index)
      } else {
        groups.append((found, [index]))
      }
    }
    if ownRuns > 0 {
      report.unasked.append(
        .init(program: "run(config)", reason: "is the module's own", count: ownRuns))
    }
    for (found, indices) in groups {
      guard found.options?.hasCheck == true else {
        report.unasked.append(
          .init(
            program: Files.name(of: found.command[0]),
            reason: found.options == nil
              ? "does not describe its options" : "has no subcommand 'check'",
            count: indices.count))
        continue
      }
      try ask(found.describer + ["check"], indices, &report) { index in
        // Leading words that are no part of what is asked belong to the run: a subcommand.
        let entry = try entry(index)
        let leading = located[entry.program]?.command.dropFirst(found.describer.count) ?? []
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
public struct CheckReport: Sendable, Equatable {
  /// Configurations that cannot run, for one reason.
  package struct Refusal: Sendable, Equatable {
    /// The exit code that their runs would have.
    package let status: Int
    package let message: String
    package internal(set) var indices: [Int]
  }

  /// Something to know about configurations that can run.
  package struct Note: Sendable, Equatable {
    package let text: String
    package internal(set) var count: Int
  }

  /// The memory of the run that needs most.
  public struct MemoryEstimate: Sendable, Equatable {
    /// The configuration.
    public let index: Int
    /// Bytes.
    public let bytes: Int
  }

  /// A program that cannot be asked.
  package struct Unasked: Sendable, Equatable {
    package let program: String
    package let reason: String
    package let count: Int
  }

  package private(set) var asked: [Int] = []
  /// What cannot run, the first configuration's reason first.
  package private(set) var refusals: [Refusal] = []
  /// Notes, the most frequent first.
  package var notes: [Note] { allNotes.sorted { $0.count > $1.count } }
  /// The largest estimate; nil when no program gave one.
  package private(set) var largestMemory: MemoryEstimate?
  package internal(set) var unasked: [Unasked] = []
  private var allNotes: [Note] = []
  private var refusalPlaces: [String: Int] = [:]
  private var notePlaces: [String: Int] = [:]

  package init() {}

  package var refused: [Int] { refusals.flatMap(\.indices).sorted() }

  /// Adds the answer about one configuration; false for what is none: no object with a number `status`.
  mutating func add(_ answer: JSON, for index: Int) -> Bool {
    guard let status = answer["status"]?.intValue else { return false }
    asked.append(index)
    if status != 0 {
      let message = Self.essence(answer["message"]?.stringValue ?? "exit code \(status)")
      let key = "\(status) \(message)"
      if let place = refusalPlaces[key] {
        refusals[place].indices.append(index)
      } else {
        refusalPlaces[key] = refusals.count
        refusals.append(Refusal(status: status, message: message, indices: [index]))
      }
      return true
    }
    for note in answer["notes"]?.arrayValue ?? [] {
      let text = Self.essence(note.plainText)
      if let place = notePlaces[text] {
        allNotes[place].count += 1
      } else {
        notePlaces[text] = allNotes.count
        allNotes.append(Note(text: text, count: 1))
      }
    }
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
}

// MARK: - As people read it

extension CheckReport {
  /// Reasons and notes beyond this many are only counted.
  private static let shownGroups = 20

  /// What cannot run and why: `12 configurations (0,3-13): REASON`, one reason after another.
  package var refusalText: String {
    var lines: [String] = []
    for refusal in refusals.prefix(Self.shownGroups) {
      let indices = Self.short(refusal.indices.sorted())
      let subject =
        refusal.indices.count == 1
        ? "configuration \(indices)" : "\(refusal.indices.count) configurations (\(indices))"
      lines.append("\(subject): " + refusal.message.replacing("\n", with: "\n  "))
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
    let shown = notes.prefix(Self.shownGroups).map { note in
      "note: \(note.count) configuration\(note.count == 1 ? "" : "s"): \(note.text)"
    }
    let more = allNotes.count - shown.count
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
            "indices": .ints($0.indices.sorted()), "status": .int($0.status),
            "message": .string($0.message),
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
    var reasons = try read(directory)
    let before = reasons
    for index in report.asked { reasons[index] = nil }
    for refusal in report.refusals {
      for index in refusal.indices { reasons[index] = refusal.message }
    }
    guard reasons != before else { return }
    let groups = Dictionary(grouping: reasons.keys) { reasons[$0] ?? "" }
      .map { (message: $0.key, indices: $0.value.sorted()) }
      .sorted { $0.indices[0] < $1.indices[0] }
    let json: JSON = .object([
      "version": 1,
      "refused": .array(
        groups.map { .object(["indices": .ints($0.indices), "message": .string($0.message)]) }),
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
