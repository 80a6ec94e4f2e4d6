/// A sweep's state on disk.
///
/// Files are the database; nothing runs beside the runs themselves.
///
///     sweep.json               name, program, replicate keys
///     sources/0001.yaml        the file as it was read, each version; a Python module's are folders
///     manifest/000000000.jsonl the frozen configurations
///     varying.json             the keys whose values differ among them
///     provenance/0001.json     git state, checksums, host; 0001.diff beside it
///     submissions/0001/        script, plan, one file a chunk with its job id
///     runs/0/17/               attempt-1/{claim,end}.json and output, result.json
public struct SweepDirectory: Sendable {
  /// The directory.
  public let path: String
  /// The frozen configurations.
  package private(set) var manifest: Manifest
  /// The sweep's name.
  public let name: String
  package let program: ProgramDescription
  package let replicateKeys: [String]
  /// The sweep file that the directory was last made from.
  package let source: String
  /// The Python module as it was last kept; nil when the sweep was no Python module.
  package let python: KeptPython?
  /// Whether the code of the module's `run` is another than the directory had before.
  package private(set) var runHasChanged = false
  package let slurm: [JSON.Member]
  package let executor: ExecutorChoice?

  /// Opens an existing directory.
  ///
  /// - Throws: ``SweepError``: 64 when it is no sweep directory, 65 when it is damaged.
  public static func open(_ path: String) throws -> SweepDirectory {
    let path = Files.absolute(path)
    guard let text = try Files.text(of: "\(path)/sweep.json") else {
      throw SweepError.usage("\(path) is no sweep directory: it has no sweep.json")
    }
    guard let json = try? JSON.parse(text) else { throw damaged(path) }
    return try SweepDirectory(json, at: path)
  }

  private init(_ json: JSON, at path: String) throws {
    guard json["version"]?.intValue == 1, let name = json["name"]?.stringValue,
      let command = json["program"]?["command"]?.arrayValue, !command.isEmpty
    else { throw Self.damaged(path) }
    (self.path, self.name) = (path, name)
    manifest = try Manifest(directory: "\(path)/manifest")
    var program = ProgramDescription()
    program.command = command.map(\.plainText)
    program.outputOption = json["program"]?["output"]?.stringValue
    program.resumeOption = json["program"]?["resume"]?.stringValue
    program.describesItself = json["program"]?["options"]?.boolValue ?? true
    self.program = program
    replicateKeys = json["replicate_keys"]?.arrayValue?.map(\.plainText) ?? []
    source = json["source"]?.stringValue ?? ""
    python = json["python"].flatMap { KeptPython($0) }
    slurm = json["slurm"]?.members ?? []
    executor = json["executor"].flatMap { ExecutorChoice($0) }
  }

  private static func damaged(_ path: String) -> SweepError {
    SweepError.data("\(path)/sweep.json: not a sweep's description of version 1")
  }

  /// Freezes a file's configurations in a directory, which is made when it is missing and extended
  /// when it exists: configurations that are there keep their indices.
  ///
  /// By `force` even a directory is extended that shares no configuration with the file. A dry run writes
  /// nothing; its directory holds the new configurations in memory.
  ///
  /// - Returns: the directory, the indices of the file's configurations, how many are new.
  /// - Throws: ``SweepError`` when the directory is another sweep's or cannot be written.
  public static func freeze(
    _ file: SweepFile, expansion: Expansion, program: Program, at path: String,
    force: Bool = false, dryRun: Bool = false
  ) throws -> (directory: SweepDirectory, selected: [Int], added: Int) {
    let path = Files.absolute(path)
    var before = 0
    var earlier: KeptPython?
    if Files.exists("\(path)/sweep.json") {
      let old = try open(path)
      before = old.manifest.count
      earlier = old.python
      if before > 0, !force { try checkKinship(old, file, expansion) }
    } else if Files.isDirectory(path), !Files.names(in: path).isEmpty {
      throw SweepError.usage(
        "\(path) exists and is no sweep directory; choose another with --sweep-dir")
    }
    let python = try file.python.map {
      try KeptPython.keep($0, path: file.path, in: path, dryRun: dryRun)
    }
    let json: JSON = .object([
      "version": 1, "name": .string(file.name),
      "program": .object([
        "command": .strings(file.program.command),
        "output": .optional(file.program.outputOption),
        "resume": .optional(file.program.resumeOption),
        "options": .bool(file.program.describesItself),
      ]), "replicate_keys": .strings(file.replicateKeys),
      "source": .string(Files.absolute(file.path)), "slurm": .object(file.slurm),
      "set": .object(file.overrides.map { JSON.Member($0.key, $0.value) }),
      "python": python?.json ?? .null, "executor": file.executor?.json,
    ])
    if !dryRun {
      try Files.makeDirectory(path)
      try Files.write(json.pretty + "\n", to: "\(path)/sweep.json")
      if python == nil { try keepSource(file, in: path) }
    }
    var directory = try SweepDirectory(json, at: path)
    directory.runHasChanged =
      file.runsItself && earlier != nil && earlier?.fingerprint != python?.fingerprint
    let selected = try directory.manifest.append(
      expansion, program: file.program.command, inversions: file.inversions(program.options),
      lists: file.program.lists, dryRun: dryRun)
    if !dryRun { try directory.keepVaryingKeys() }
    return (directory, selected, directory.manifest.count - before)
  }

  /// A directory of the same name that shares nothing with the file is another sweep's.
  private static func checkKinship(
    _ old: SweepDirectory, _ file: SweepFile, _ expansion: Expansion
  ) throws {
    guard Files.absolute(file.path) != old.source else { return }
    let known = Set(try old.manifest.entries().map(\.hash))
    for index in 0..<min(expansion.count, 10_000)
    where known.contains(try expansion.configuration(at: index).hash) { return }
    throw SweepError.usage(
      "\(old.path) holds another sweep of that name (from \(old.source)); give this one another 'name' or --sweep-dir"
    )
  }

  private static func keepSource(_ file: SweepFile, in path: String) throws {
    let directory = "\(path)/sources"
    let names = Files.names(in: directory)
    if let last = names.last, !Files.isDirectory("\(directory)/\(last)"),
      try Files.text(of: "\(directory)/\(last)") == file.sourceText
    {
      return
    }
    let suffix = file.path.hasSuffix(".json") ? "json" : "yaml"
    _ = try number(in: directory, after: names.count) {
      try Files.create("\(directory)/\($0).\(suffix)", file.sourceText)
    }
  }

  /// The first number that is free in a directory, which is made where it is missing: of several
  /// processes that create something by a number, each gets its own.
  static func number(
    in directory: String, after last: Int, create: (String) throws -> Bool
  ) throws -> String {
    try Files.makeDirectory(directory)
    var number = last + 1
    while try !create(number.digits(4)) { number += 1 }
    return number.digits(4)
  }

  /// A configuration's directory; a thousand share a parent, which no file system finds too many.
  package func run(_ index: Int) -> RunDirectory {
    RunDirectory(path: "\(path)/runs/\(index / 1000)/\(index)", index: index)
  }
}

extension Int {
  /// The number with zeros in front of it, so many digits at least.
  func digits(_ count: Int) -> String {
    String(repeating: "0", count: Swift.max(0, count - String(self).count)) + String(self)
  }
}

extension Sequence {
  /// The elements by a key of theirs, the keys in the order of their first appearance.
  package func grouped<Key: Hashable>(
    by key: (Element) -> Key
  ) -> [(key: Key, elements: [Element])] {
    var places: [Key: Int] = [:]
    var groups: [(key: Key, elements: [Element])] = []
    for element in self {
      let key = key(element)
      if let place = places[key] {
        groups[place].elements.append(element)
      } else {
        places[key] = groups.count
        groups.append((key, [element]))
      }
    }
    return groups
  }
}

extension JSON {
  /// The content of a file; nil where there is none, or what it holds is not JSON.
  package init?(file path: String) {
    guard let text = try? Files.text(of: path), let json = try? JSON.parse(text) else { return nil }
    self = json
  }

  package static func strings(_ texts: some Sequence<String>) -> JSON {
    .array(texts.map { .string($0) })
  }
  static func ints(_ numbers: some Sequence<Int>) -> JSON { .array(numbers.map { .int($0) }) }
  var ints: [Int] { arrayValue?.compactMap(\.intValue) ?? [] }
}

package enum SweepLocation {
  /// The directory of the sweep that a word names.
  ///
  /// A path that exists is itself. Otherwise the sweeps below `root` are looked through: the directory of
  /// that name, else those whose sweep is called so, or whose name begins so and goes on with a dash and
  /// hexadecimal digits (`NAME-HASH`).
  package static func directory(named word: String, in root: String = "sweeps") throws -> String? {
    guard !Files.exists(word), !word.isEmpty, !word.contains("/") else { return nil }
    if isSweep("\(root)/\(word)") { return "\(root)/\(word)" }
    let found = Files.names(in: root).map { "\(root)/\($0)" }.filter { path in
      let name = JSON(file: "\(path)/sweep.json")?["name"]?.stringValue
      return isSweep(path) && (name == word || isHashed(Files.name(of: path), word))
    }
    guard found.count > 1 else { return found.first }
    throw SweepError.usage(
      "\(word) names \(found.count) sweeps: \(found.joined(separator: ", ")); give one of these directories"
    )
  }

  private static func isSweep(_ path: String) -> Bool { Files.exists("\(path)/sweep.json") }

  private static func isHashed(_ name: String, _ word: String) -> Bool {
    guard name.hasPrefix("\(word)-") else { return false }
    let rest = name.dropFirst(word.count + 1)
    return rest.count >= 6 && rest.allSatisfy(\.isHexDigit)
  }

  /// `; did you mean 'x'?`, for a word that names neither a file nor a sweep.
  package static func suggestion(for word: String, in root: String = "sweeps") -> String {
    hint(for: word, among: Files.names(in: root).filter { isSweep("\(root)/\($0)") })
  }
}
