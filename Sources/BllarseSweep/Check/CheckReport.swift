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

  /// A parser's message without its headings and what it says about its usage: the same for every
  /// configuration, and no reason.
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
      "notes": .array(
        notes.map { .object(["text": .string($0.text), "count": .int($0.count)]) }),
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
