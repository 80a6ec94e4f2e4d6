/// A sweep as its file states it.
public struct SweepFile: Sendable {
  /// The sweep's name, also its directory's.
  public var name: String
  /// What runs.
  public var program: ProgramDescription
  package var space = Block()
  /// The keys that only replicate a configuration (`seed`).
  package var replicateKeys: [String] = []
  /// Keys that do not change what is computed, beside ``Configuration/bookkeepingKeys``.
  package var ignoredKeys: [String] = []
  /// Defaults of `submit`: option names without dashes, and their values.
  package var slurm: [JSON.Member] = []
  package var executor: ExecutorChoice?
  package var sourceText: String
  /// The file's path as given.
  public var path: String
  /// Where each key was first written.
  package var keyPositions: [String: Position] = [:]
  /// Values that were given to all configurations beside the file.
  package internal(set) var overrides: [Override] = []
  package var python: PythonSweep?
  package var notes: [String] = []
}

/// The program that runs a configuration.
public struct ProgramDescription: Sendable, Equatable {
  /// The program and its leading arguments; a name without a slash is looked up.
  public var command: [String] = ["bllarse-finetune"]
  /// The option that takes the directory for results; nil when the program has none.
  package var outputOption: String? = "--output"
  /// The option that takes the directory of an interrupted attempt; nil when it cannot resume.
  package var resumeOption: String? = "--resume"
  /// Whether the program describes its own options on `--experimental-dump-help`.
  package var describesItself = true
  package var lists = ListStyles()

  /// A description of `bllarse-finetune`.
  public init() {}

  /// The options that each run is given by the sweep itself.
  var runOptions: [String] { [outputOption, resumeOption].compactMap { $0 } }
}

extension SweepFile {
  /// All keys that some configuration may have, in the file's order.
  package var keys: [String] { space.possibleValues.map(\.key).uniqued }

  /// The sections of a file, of which a nested block may have those of ``blockSections``.
  package static let topLevelSections = [
    "name", "program", "identity", "executor", "slurm", "resources",
  ]
  package static let blockSections = [
    "base", "grid", "zip", "list", "random", "product", "concat", "seeds", "when", "exclude",
  ]
  package static let programKeys = ["run", "output", "resume", "options", "lists"]

  /// Decodes a sweep file's text: YAML 1.2, of which JSON is a part.
  ///
  /// - Throws: ``SweepError`` (65) with a line for every fault: its place, what was found and expected.
  public static func decode(_ text: String, path: String) throws -> SweepFile {
    try decode(YAMLReader.read(text, file: path), text: text, path: path)
  }

  static func decode(_ root: SourceNode, text: String, path: String) throws -> SweepFile {
    let diagnostics = Diagnostics(file: path)
    var decoder = BlockDecoder(diagnostics: diagnostics)
    let entries = diagnostics.entries(
      root,
      else:
        "a sweep file is a mapping of sections (\(blockSections.joined(separator: ", "))); found \(root.kind)"
    )
    try diagnostics.throwIfAny()
    let known = topLevelSections + blockSections
    for entry in entries where !known.contains(entry.key) {
      diagnostics.report(
        "unknown section '\(entry.key)'\(hint(for: entry.key, among: known)) (sections: \(known.joined(separator: ", ")))",
        at: entry.position)
    }
    var file = SweepFile(
      name: defaultName(path), program: ProgramDescription(), sourceText: text, path: path)
    // Which values make sense depends on the program.
    if let entry = entries.first(where: { $0.key == "program" }) {
      file.decodeProgram(entry.value, diagnostics)
    }
    decoder.listStyles = file.program.lists
    file.space = decoder.block(entries)
    for entry in entries {
      switch entry.key {
      case "name": file.decodeName(entry, diagnostics)
      case "identity": file.decodeIdentity(entry.value, diagnostics)
      case "executor": file.decodeExecutor(entry.value, diagnostics)
      case "slurm": file.decodeSlurm(entry.value, diagnostics)
      case "resources": file.decodeResources(entry.value, diagnostics)
      default: break
      }
    }
    decoder.checkReferences()
    for option in file.program.runOptions {
      let key = BlockDecoder.normalized(String(option.drop { $0 == "-" }))
      if let position = decoder.declared[key] {
        diagnostics.report(
          "the sweep itself gives each run its '\(key)'; remove the key", at: position)
      }
    }
    for key in file.program.lists.ofKeys.keys.sorted() where decoder.declared[key] == nil {
      diagnostics.report(
        "'lists' names the key '\(key)', which nothing sets\(hint(for: key, among: decoder.declared.keys))",
        at: entries.first { $0.key == "program" }?.position ?? root.position)
    }
    file.keyPositions = decoder.declared
    file.replicateKeys = decoder.replicateKeys
    // A seed that varies is a replicate however it was written.
    if file.replicateKeys.isEmpty, decoder.declared["seed"] != nil { file.replicateKeys = ["seed"] }
    try diagnostics.throwIfAny()
    return file
  }

  package static func defaultName(_ path: String) -> String {
    let stem = path.split(separator: "/").last?.split(separator: ".").first ?? "sweep"
    return String(stem.map { nameCharacters.contains($0) ? $0 : "-" })
  }

  private static let nameCharacters = Set(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")

  private mutating func decodeName(_ entry: SourceNode.Entry, _ diagnostics: Diagnostics) {
    guard case .scalar(let value) = entry.value.content, case .string(let text) = value,
      !text.isEmpty, !text.hasPrefix("."), !text.hasPrefix("-"),
      text.allSatisfy({ Self.nameCharacters.contains($0) })
    else {
      return diagnostics.report(
        "'name' becomes a directory: letters, digits, '.', '_' and '-' are allowed; found \(entry.value.kind)",
        at: entry.value.position)
    }
    name = text
  }

  private mutating func decodeProgram(_ node: SourceNode, _ diagnostics: Diagnostics) {
    switch node.content {
    case .scalar(.string(let text)) where !text.isEmpty: program.command = [text]
    case .sequence(let nodes):
      let words = nodes.compactMap { node in
        if case .scalar(let word) = node.content, word != .null { word.plainText } else { nil }
      }
      guard words.count == nodes.count, !words.isEmpty else {
        return diagnostics.report(
          "a list under 'program' is the program and its arguments, all words", at: node.position)
      }
      program.command = words
    case .mapping(let entries):
      for entry in entries {
        switch (entry.key, entry.value.content) {
        case ("run", _): decodeProgram(entry.value, diagnostics)
        case ("output", .scalar(let value)): program.outputOption = Self.option(value)
        case ("resume", .scalar(let value)): program.resumeOption = Self.option(value)
        case ("options", .scalar(.bool(let flag))): program.describesItself = flag
        case ("lists", _): decodeLists(entry.value, diagnostics)
        case ("options", _):
          diagnostics.report(
            "'options' says whether the program prints its options: true or false; found \(entry.value.kind)",
            at: entry.value.position)
        default: diagnostics.unknown(entry, under: "program", known: Self.programKeys)
        }
      }
    default:
      diagnostics.report(
        "'program' is a name, a list of words or a mapping (\(Self.programKeys.joined(separator: ", "))); found \(node.kind)",
        at: node.position)
    }
  }

  private mutating func decodeLists(_ node: SourceNode, _ diagnostics: Diagnostics) {
    func style(_ node: SourceNode) -> ListStyle? {
      if case .scalar(.string(let word)) = node.content, let style = ListStyle(rawValue: word) {
        return style
      }
      let known = ListStyle.allCases.map(\.rawValue)
      return diagnostics.fault(
        "'lists' says how the program takes a list: \(known.joined(separator: ", ")), or {KEY: one of them}; found \(node.kind)\(hint(for: node.json.plainText, among: known))",
        at: node.position)
    }
    guard case .mapping(let entries) = node.content else {
      if let style = style(node) { program.lists.standard = style }
      return
    }
    for entry in entries {
      guard let style = style(entry.value) else { continue }
      program.lists.ofKeys[BlockDecoder.normalized(entry.key)] = style
    }
  }

  /// `out_dir` and `--out-dir` are the same option; null means that there is none.
  private static func option(_ value: JSON) -> String? {
    guard case .string(let name) = value, !name.isEmpty else { return nil }
    return name.hasPrefix("-") ? name : Configuration.option(for: name)
  }

  private mutating func decodeIdentity(_ node: SourceNode, _ diagnostics: Diagnostics) {
    let form = "'identity' is a mapping: {ignore: [keys that do not change the result]}"
    for entry in diagnostics.entries(node, else: form) {
      guard entry.key == "ignore", case .sequence(let nodes) = entry.value.content else {
        diagnostics.report(
          "'identity' has one key, 'ignore', with a list of keys; found '\(entry.key)'",
          at: entry.position)
        continue
      }
      ignoredKeys += nodes.compactMap { $0.json.stringValue }.map { BlockDecoder.normalized($0) }
    }
  }

  private mutating func decodeExecutor(_ node: SourceNode, _ diagnostics: Diagnostics) {
    var entries = [SourceNode.Entry(key: "name", position: node.position, value: node)]
    if case .mapping(let pairs) = node.content { entries = pairs }
    guard
      case .scalar(.string(let name))? = entries.first(where: { $0.key == "name" })?.value.content
    else {
      return diagnostics.report(
        "'executor' is one of \(Executors.names.joined(separator: ", ")), or {name: one of them, cpus: N, memory: 4G, …}; found \(node.kind)",
        at: node.position)
    }
    do {
      let type = try Executors.type(named: name)
      let known = Resources.keys + type.keys.filter { !Resources.keys.contains($0) }
      let options = entries.filter { $0.key != "name" }
      executor = ExecutorChoice(
        name: name,
        options: options.compactMap {
          decode($0, known, of: type, in: "executor", advice: "", diagnostics)
        })
    } catch { diagnostics.report("\(error)", at: node.position) }
  }

  mutating func decodeSlurm(_ node: SourceNode, _ diagnostics: Diagnostics) {
    let entries = diagnostics.entries(node, else: "'slurm' is a mapping of submit's options")
    slurm += entries.compactMap {
      decode(
        $0, SlurmExecutor.keys, of: SlurmExecutor.self, in: "slurm",
        advice: "; anything else goes under 'sbatch_args'", diagnostics)
    }
  }

  /// One option of an executor; reports an unknown key, and a value that would be refused later.
  private func decode(
    _ entry: SourceNode.Entry, _ known: [String], of type: any Executor.Type, in section: String,
    advice: String, _ diagnostics: Diagnostics
  ) -> JSON.Member? {
    let key = BlockDecoder.normalized(entry.key)
    guard known.contains(key) else {
      diagnostics.unknown(entry, under: section, known: known, advice: advice)
      return nil
    }
    var options = SubmitOptions(executor: type.name)
    do {
      try options.set(key, to: entry.value.json, section: section)
    } catch { diagnostics.report("\(error)", at: entry.value.position) }
    return JSON.Member(key, entry.value.json)
  }

  private mutating func decodeResources(_ node: SourceNode, _ diagnostics: Diagnostics) {
    let form = "'resources' is a mapping (\(Resources.keys.joined(separator: ", ")))"
    for entry in diagnostics.entries(node, else: form) {
      guard Resources.keys.contains(entry.key) else {
        diagnostics.unknown(entry, under: "resources", known: Resources.keys)
        continue
      }
      var resources = Resources()
      if let expected = resources.set(entry.key, to: entry.value.json) {
        let found = entry.value.json.stringValue.map { "'\($0)'" } ?? entry.value.kind
        diagnostics.report(
          "'\(entry.key)' is \(expected); found \(found)", at: entry.value.position)
      }
      slurm += SlurmExecutor.section(entry.key, entry.value.json).map { [$0] } ?? []
    }
  }
}

/// How a program takes a value that is a list.
package enum ListStyle: String, Sendable, CaseIterable {
  /// `--key a --key b`: the option once for each element.
  case `repeat`
  /// `--key a b`: the option once, then all elements.
  case words
  /// `--key '["a","b"]'`: the option once, the list as one word of JSON.
  case json
}

package struct ListStyles: Sendable, Equatable {
  /// The style of keys that have none of their own.
  package var standard = ListStyle.repeat
  package var ofKeys: [String: ListStyle] = [:]

  package subscript(key: String) -> ListStyle { ofKeys[key] ?? standard }

  /// What belongs to a configuration's identity: nothing where every list repeats its option.
  var identity: [String] {
    let own = ofKeys.filter { $0.value != standard }
    guard standard != .repeat || !own.isEmpty else { return [] }
    let keys = own.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.rawValue)" }
    return [(["lists=\(standard.rawValue)"] + keys).joined(separator: ",")]
  }
}
