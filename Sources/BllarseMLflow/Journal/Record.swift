/// What is known of a run when it starts: the first record of its journal.
package struct RunHeader: Equatable, Sendable {
  package var localID, name, experiment: String
  /// The parent's id, as a server gave it or local; nil for a run at the top level.
  package var parentID: String?
  /// The run that this journal goes on with, if it was not made here.
  package var resumedID: String?
  package var user: String
  package var tags: [String: String]
}

package enum Event: Equatable, Sendable {
  case start(RunHeader)
  case metrics([Metric], step: Int)
  case parameters([String: String])
  case tags([String: String])
  case artifact(StagedArtifact)
  case end(RunStatus)
  /// The process let go of the run without ending it.
  case detached

  package struct Metric: Equatable, Sendable {
    package var key: String
    package var value: Double

    package static func == (first: Self, second: Self) -> Bool {
      first.key == second.key
        && (first.value == second.value || (first.value.isNaN && second.value.isNaN))
    }
  }
}

/// A file that waits for delivery in the run's folder.
package struct StagedArtifact: Equatable, Sendable {
  /// Where it appears in the run, with `/` between folders, and its name in the journal's `artifacts`.
  package var path, file: String
  package var size: Int
}

/// An event with its place in the journal and the time it was logged, in milliseconds since 1970.
package struct Record: Equatable, Sendable {
  package var sequence, time: Int
  package var event: Event
}

// MARK: - The line

/// A journal is text: one line a record, `CRC32 SPACE JSON LINEFEED`, so that `cut -d' ' -f2- | jq`
/// reads it. The checksum is over the JSON's bytes, eight hexadecimal digits.
extension Record {
  package var line: [UInt8] {
    let place = [JSON.Member("seq", .int(sequence)), JSON.Member("time", .int(time))]
    let json = JSON.object(place + event.members).bytes
    let checksum = json.withUnsafeBytes(CRC32.checksum)
    return Array("\(String.digits(checksum, radix: 16, width: 8)) ".utf8) + json + [0x0A]
  }

  /// Reads a line without its line feed; nil if it is torn or damaged.
  package init?(line: UnsafeBufferPointer<UInt8>) {
    guard line.count > 9, line[8] == UInt8(ascii: " "),
      let stated = UInt32(String(decoding: line[0..<8], as: UTF8.self), radix: 16)
    else { return nil }
    let text = UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: line[9...]))
    guard CRC32.checksum(text) == stated, let json = JSON.lenient(text),
      let sequence = json["seq"]?.integer, let time = json["time"]?.integer, let event = Event(json)
    else { return nil }
    self.init(sequence: sequence, time: time, event: event)
  }
}

extension Event {
  fileprivate var members: [JSON.Member] {
    let (name, members): (JSON, KeyValuePairs<String, JSON?>) =
      switch self {
      case .start(let header): ("start", ["version": 1, "run": header.json])
      case .metrics(let metrics, let step):
        (
          "metrics",
          [
            "step": .int(step),
            "values": .object(metrics.map { JSON.Member($0.key, .double($0.value)) }),
          ]
        )
      case .parameters(let values): ("parameters", ["values": .strings(values)])
      case .tags(let values): ("tags", ["values": .strings(values)])
      case .artifact(let file):
        (
          "artifact",
          ["path": .string(file.path), "file": .string(file.file), "size": .int(file.size)]
        )
      case .end(let status): ("end", ["status": .string(status.rawValue)])
      case .detached: ("detached", [:])
      }
    return [JSON.Member("event", name)] + (JSON.object(members).members ?? [])
  }

  fileprivate init?(_ json: JSON) {
    switch json["event"]?.stringValue {
    case "start":
      guard let run = json["run"], let header = RunHeader(run) else { return nil }
      self = .start(header)
    case "metrics":
      guard let step = json["step"]?.integer, let members = json["values"]?.members else {
        return nil
      }
      self = .metrics(
        members.map { Metric(key: $0.key, value: $0.value.double ?? .nan) }, step: step)
    case "parameters": self = .parameters(json["values"]?.strings ?? [:])
    case "tags": self = .tags(json["values"]?.strings ?? [:])
    case "artifact":
      guard let path = json["path"]?.stringValue, let file = json["file"]?.stringValue,
        let size = json["size"]?.integer
      else { return nil }
      self = .artifact(StagedArtifact(path: path, file: file, size: size))
    case "end":
      guard let status = json["status"]?.stringValue.flatMap(RunStatus.init) else { return nil }
      self = .end(status)
    case "detached": self = .detached
    default: return nil
    }
  }
}

extension RunHeader {
  fileprivate var json: JSON {
    .object([
      "id": .string(localID), "name": .string(name), "experiment": .string(experiment),
      "user": .string(user), "parent": parentID.map(JSON.string),
      "resumes": resumedID.map(JSON.string), "tags": .strings(tags),
    ])
  }

  fileprivate init?(_ json: JSON) {
    guard let localID = json["id"]?.stringValue, let name = json["name"]?.stringValue,
      let experiment = json["experiment"]?.stringValue
    else { return nil }
    self.init(
      localID: localID, name: name, experiment: experiment, parentID: json["parent"]?.stringValue,
      resumedID: json["resumes"]?.stringValue, user: json["user"]?.stringValue ?? "",
      tags: json["tags"]?.strings ?? [:])
  }
}

extension JSON {
  /// A whole number, also one that was written as a string, as protobuf writes 64-bit integers.
  package var integer: Int? {
    switch self {
    case .int(let value): value
    case .double(let value): Int(exactly: value)
    case .string(let text): Int(text)
    default: nil
    }
  }

  /// A number, or one of the strings that stand for NaN and the infinities.
  package var double: Double? {
    switch self {
    case .string("NaN"): .nan
    case .string("Infinity"): .infinity
    case .string("-Infinity"): -.infinity
    default: doubleValue
    }
  }

  /// The value with each string in it, keys included, replaced.
  package func mapStrings(_ transform: (String) -> String) -> JSON {
    switch self {
    case .string(let text): .string(transform(text))
    case .array(let items): .array(items.map { $0.mapStrings(transform) })
    case .object(let members):
      .object(members.map { Member(transform($0.key), $0.value.mapStrings(transform)) })
    default: self
    }
  }

  /// An object whose members are strings, in the order of their keys.
  package static func strings(_ values: [String: String]) -> JSON {
    .object(values.sorted { $0.key < $1.key }.map { Member($0.key, .string($0.value)) })
  }

  /// The members of an object whose values are strings.
  package var strings: [String: String] {
    var values: [String: String] = [:]
    for member in members ?? [] { values[member.key] = member.value.stringValue }
    return values
  }
}
