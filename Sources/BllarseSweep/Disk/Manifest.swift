/// One line of a manifest: a configuration as it was frozen.
package struct ManifestEntry: Sendable, Equatable {
  /// The position, for ever.
  package let index: Int
  /// As in ``Configuration``.
  package let hash: String
  package let groupHash: String
  /// The program and its leading arguments as the sweep file named them.
  package let program: [String]
  package let arguments: [String]
  package let parameters: [JSON.Member]

  var json: JSON {
    .object([
      "index": .int(index), "hash": .string(hash), "group": .string(groupHash),
      "program": .strings(program), "arguments": .strings(arguments),
      "parameters": .object(parameters),
    ])
  }

  init(
    index: Int, configuration: Configuration, program: [String], inversions: [String: String],
    lists: ListStyles
  ) {
    (self.index, self.program) = (index, program)
    (hash, groupHash) = (configuration.hash, configuration.groupHash)
    arguments =
      program == PythonProgram.words
      ? [] : configuration.arguments(inversions: inversions, lists: lists)
    parameters = configuration.parameters
  }

  init?(_ json: JSON) {
    guard let index = json["index"]?.intValue, let hash = json["hash"]?.stringValue,
      let group = json["group"]?.stringValue, let program = json["program"]?.arrayValue,
      let arguments = json["arguments"]?.arrayValue, let parameters = json["parameters"]?.members
    else { return nil }
    (self.index, self.hash, groupHash, self.parameters) = (index, hash, group, parameters)
    (self.program, self.arguments) = (program.map(\.plainText), arguments.map(\.plainText))
  }

  package subscript(key: String) -> JSON? { parameters.first { $0.key == key }?.value }
}

/// The frozen list of a sweep's configurations, in files of at most a thousand lines, each named by the
/// index of its first line, created whole and never changed.
package struct Manifest: Sendable {
  static let segmentSize = 1000
  private let directory: String
  private var segments: [(start: Int, path: String)] = []
  /// Entries of a dry run, which are written nowhere.
  private var unwritten: [ManifestEntry] = []
  package private(set) var count = 0
  /// Keys of the last appended expansion that are no part of the content and were frozen with other
  /// values, and in how many configurations.
  package private(set) var outdated: [String: Int] = [:]

  init(directory: String) throws {
    self.directory = directory
    try reload()
  }

  private mutating func reload() throws {
    segments = Files.names(in: directory).compactMap { name in
      guard name.hasSuffix(".jsonl"), let start = Int(name.dropLast(6)) else { return nil }
      return (start, "\(directory)/\(name)")
    }
    segments.sort { $0.start < $1.start }
    count = 0
    if let last = segments.last {
      let lines = try Files.bytes(of: last.path).count { $0 == UInt8(ascii: "\n") }
      // A file is created whole; who waited for lines to come would wait for ever.
      guard lines > 0 else { throw damaged(last.path, line: 1) }
      count = last.start + lines
    }
  }

  /// The configuration at an index; an error (64) where there is none, (65) where its file is damaged.
  package func entry(at index: Int) throws -> ManifestEntry {
    if let first = unwritten.first?.index, index >= first, index < count {
      return unwritten[index - first]
    }
    guard (0..<count).contains(index), let segment = segments.last(where: { $0.start <= index })
    else { throw SweepError.noConfiguration(index, of: count) }
    let lines = try Files.bytes(of: segment.path).split(separator: UInt8(ascii: "\n"))
    let offset = index - segment.start
    guard offset < lines.count else { throw damaged(segment.path, line: offset + 1) }
    return try parse(lines[offset], path: segment.path, offset, index: index)
  }

  package func entries() throws -> [ManifestEntry] {
    var result: [ManifestEntry] = []
    result.reserveCapacity(count)
    for segment in segments {
      let lines = try Files.bytes(of: segment.path).split(separator: UInt8(ascii: "\n"))
      for (offset, line) in lines.enumerated() {
        result.append(try parse(line, path: segment.path, offset, index: segment.start + offset))
      }
    }
    return result + unwritten
  }

  private func parse(
    _ line: ArraySlice<UInt8>, path: String, _ offset: Int, index: Int
  ) throws -> ManifestEntry {
    guard let json = try? JSON.parse(bytes: Array(line)), let entry = ManifestEntry(json),
      entry.index == index
    else { throw damaged(path, line: offset + 1) }
    return entry
  }

  private func damaged(_ path: String, line: Int) -> SweepError {
    SweepError.data("\(path):\(line): not a manifest's line; restore the file, it is never changed")
  }

  /// Appends the configurations of an expansion that are not there yet, and returns the index of each; of
  /// several processes that append at once one creates a file, and the others read it and go on.
  mutating func append(
    _ expansion: Expansion, program: [String], inversions: [String: String],
    lists: ListStyles = ListStyles(), dryRun: Bool
  ) throws -> [Int] {
    if !dryRun { try Files.makeDirectory(directory) }
    var known: [String: ManifestEntry] = [:]
    func learn(_ entries: [ManifestEntry]) { for entry in entries { known[entry.hash] = entry } }
    learn(try entries())
    outdated = [:]
    var seen: Set<String> = []
    var pending: [Configuration] = []

    func flush() throws {
      while !pending.isEmpty {
        let start = count
        let new = pending.enumerated().map { offset, configuration in
          ManifestEntry(
            index: start + offset, configuration: configuration, program: program,
            inversions: inversions, lists: lists)
        }
        if dryRun {
          unwritten += new
          count += new.count
          learn(new)
        } else {
          let text = new.map { $0.json.compact + "\n" }.joined()
          let isOwn = try Files.create("\(directory)/\(start.digits(9)).jsonl", text)
          try reload()
          learn(isOwn ? new : try entries())
        }
        pending.removeAll { known[$0.hash] != nil }
      }
    }

    var order: [String] = []
    for index in 0..<expansion.count {
      let configuration = try expansion.configuration(at: index)
      guard seen.insert(configuration.hash).inserted else { continue }
      order.append(configuration.hash)
      guard let old = known[configuration.hash] else {
        pending.append(configuration)
        if pending.count == Self.segmentSize { try flush() }
        continue
      }
      for key in Self.differences(old.parameters, configuration.parameters) {
        outdated[key, default: 0] += 1
      }
    }
    try flush()
    return order.compactMap { known[$0]?.index }
  }

  /// Keys with other values; null is no value.
  private static func differences(_ one: [JSON.Member], _ other: [JSON.Member]) -> Set<String> {
    guard one != other else { return [] }
    let pairs = [one, other].map { Set($0.filter { $0.value != .null }) }
    return Set(pairs[0].symmetricDifference(pairs[1]).map(\.key))
  }
}
