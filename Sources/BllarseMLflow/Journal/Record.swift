/// What is known of a run when it starts: the first record of its journal.
package struct RunHeader: Equatable, Sendable {
  package var localID: String
  package var name: String
  package var experiment: String
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
  /// Where the artifact appears in the run, with `/` between folders.
  package var path: String
  /// The file's name inside the `artifacts` folder beside the journal.
  package var file: String
  package var size: Int
}

/// An event with its place in the journal and the time it was logged, in milliseconds since 1970.
package struct Record: Equatable, Sendable {
  package var sequence: Int
  package var time: Int
  package var event: Event
}

// MARK: - The line

/// A journal is text: one line a record, `CRC32 SPACE JSON LINEFEED`, so that `cut -d' ' -f2- | jq`
/// reads it. The checksum is over the JSON's bytes, eight hexadecimal digits.
extension Record {
  /// Appends the record's line to `bytes`.
  package func appendLine(to writer: inout JSON.Writer) {
    let start = writer.bytes.count
    writer.append(raw: "00000000 {\"seq\":")
    writer.append(integer: sequence)
    writer.append(raw: ",\"time\":")
    writer.append(integer: time)
    switch event {
    case .start(let header):
      writer.append(raw: ",\"event\":\"start\",\"version\":1,\"run\":")
      writer.append(header.json)
    case .metrics(let metrics, let step):
      writer.append(raw: ",\"event\":\"metrics\",\"step\":")
      writer.append(integer: step)
      writer.append(raw: ",\"values\":{")
      for (index, metric) in metrics.enumerated() {
        if index > 0 { writer.append(raw: ",") }
        writer.append(string: metric.key)
        writer.append(raw: ":")
        writer.append(number: metric.value)
      }
      writer.append(raw: "}")
    case .parameters(let values):
      writer.append(raw: ",\"event\":\"parameters\",\"values\":")
      writer.append(.strings(values))
    case .tags(let values):
      writer.append(raw: ",\"event\":\"tags\",\"values\":")
      writer.append(.strings(values))
    case .artifact(let artifact):
      writer.append(raw: ",\"event\":\"artifact\",\"path\":")
      writer.append(string: artifact.path)
      writer.append(raw: ",\"file\":")
      writer.append(string: artifact.file)
      writer.append(raw: ",\"size\":")
      writer.append(integer: artifact.size)
    case .end(let status):
      writer.append(raw: ",\"event\":\"end\",\"status\":")
      writer.append(string: status.rawValue)
    case .detached: writer.append(raw: ",\"event\":\"detached\"")
    }
    writer.append(raw: "}")
    let end = writer.bytes.count
    let checksum = writer.bytes.withUnsafeBytes {
      CRC32.checksum(UnsafeRawBufferPointer(rebasing: $0[start + 9..<end]))
    }
    for digit in 0..<8 {
      let nibble = UInt8(truncatingIfNeeded: checksum >> UInt32(28 - 4 * digit)) & 15
      writer.bytes[start + digit] = JSON.Writer.hexadecimal(nibble)
    }
    writer.append(raw: "\n")
  }

  /// Reads a line without its line feed; nil if it is torn or damaged.
  package init?(line: UnsafeBufferPointer<UInt8>) {
    guard line.count > 9, line[8] == UInt8(ascii: " "),
      let stated = UInt32(String(decoding: line[0..<8], as: UTF8.self), radix: 16)
    else { return nil }
    let text = UnsafeRawBufferPointer(UnsafeBufferPointer(rebasing: line[9...]))
    guard CRC32.checksum(text) == stated, let json = try? JSON.parse(text, isLenient: true),
      let sequence = json["seq"]?.integer, let time = json["time"]?.integer, let event = Event(json)
    else { return nil }
    self.init(sequence: sequence, time: time, event: event)
  }
}

extension Event {
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
