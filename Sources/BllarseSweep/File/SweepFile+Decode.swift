extension SweepFile {
  /// The sections of a file, of which a nested block may have those of ``blockSections``.
  package static let topLevelSections = ["name", "program", "identity", "slurm", "resources"]
  package static let blockSections = [
    "base", "grid", "zip", "list", "random", "product", "concat", "seeds", "when", "exclude",
  ]
  package static let programKeys = ["run", "output", "resume", "options", "lists"]
  package static let resourceKeys = ["cpus", "memory", "time", "gpus"]

  /// Decodes a sweep file.
  ///
  /// - Parameters:
  ///   - text: YAML 1.2, of which JSON is a part.
  ///   - path: the file's path, for messages and for the default name.
  /// - Returns: the sweep.
  /// - Throws: ``SweepError`` (65) with a line for every fault: its place, what was found, what was
  ///   expected.
  public static func decode(_ text: String, path: String) throws -> SweepFile {
    try decode(YAMLReader.read(text, file: path), text: text, path: path)
  }

  static func decode(_ root: SourceNode, text: String, path: String) throws -> SweepFile {
    let diagnostics = Diagnostics(file: path)
    var decoder = BlockDecoder(diagnostics: diagnostics)
    guard case .mapping(let entries) = root.content else {
      diagnostics.report(
        "a sweep file is a mapping of sections (\(blockSections.joined(separator: ", "))); found \(root.kind)",
        at: root.position)
      try diagnostics.throwIfAny()
      throw SweepError(.data, "\(path): not a sweep file")
    }
    let known = topLevelSections + blockSections
    for entry in entries where !known.contains(entry.key) {
      diagnostics.report(
        "unknown section '\(entry.key)'\(hint(for: entry.key, among: known)) (sections: \(known.joined(separator: ", ")))",
        at: entry.position)
    }
    var file = SweepFile(
      name: defaultName(path), program: ProgramDescription(), space: Block(), replicateKeys: [],
      ignoredKeys: [], slurm: [], sourceText: text, path: path, keyPositions: [:])
    // Which values make sense depends on the program.
    if let entry = entries.first(where: { $0.key == "program" }) {
      file.decodeProgram(entry.value, diagnostics)
    }
    decoder.listStyles = file.program.lists
    file.space = decoder.block(entries, at: root.position, isRoot: true)
    for entry in entries {
      switch entry.key {
      case "name": file.decodeName(entry, diagnostics)
      case "identity": file.decodeIdentity(entry.value, diagnostics)
      case "slurm": file.decodeSlurm(entry.value, diagnostics)
      case "resources": file.decodeResources(entry.value, diagnostics)
      default: break
      }
    }
    decoder.checkReferences()
    for option in [file.program.outputOption, file.program.resumeOption].compactMap({ $0 }) {
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
    let base = path.split(separator: "/").last.map(String.init) ?? "sweep"
    let stem = base.split(separator: ".", omittingEmptySubsequences: true).first.map(String.init)
    let name = (stem ?? "sweep").map { nameCharacters.contains($0) ? $0 : "-" }
    return String(name)
  }

  private static let nameCharacters = Set(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")

  private mutating func decodeName(_ entry: SourceNode.Entry, _ diagnostics: Diagnostics) {
    guard case .scalar(let value) = entry.value.content, case .string(let text) = value,
      !text.isEmpty, !text.hasPrefix("."), !text.hasPrefix("-"),
      text.allSatisfy({ Self.nameCharacters.contains($0) })
    else {
      diagnostics.report(
        "'name' becomes a directory: letters, digits, '.', '_' and '-' are allowed; found \(entry.value.kind)",
        at: entry.value.position)
      return
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
        diagnostics.report(
          "a list under 'program' is the program and its arguments, all words", at: node.position)
        return
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
        default:
          diagnostics.report(
            "unknown key '\(entry.key)' under 'program'\(hint(for: entry.key, among: Self.programKeys)) (keys: \(Self.programKeys.joined(separator: ", ")))",
            at: entry.position)
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
      diagnostics.report(
        "'lists' says how the program takes a list: \(known.joined(separator: ", ")), or {KEY: one of them}; found \(node.kind)\(hint(for: node.json.plainText, among: known))",
        at: node.position)
      return nil
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
    guard case .mapping(let entries) = node.content else {
      diagnostics.report(
        "'identity' is a mapping: {ignore: [keys that do not change the result]}",
        at: node.position)
      return
    }
    for entry in entries {
      guard entry.key == "ignore", case .sequence(let nodes) = entry.value.content else {
        diagnostics.report(
          "'identity' has one key, 'ignore', with a list of keys; found '\(entry.key)'",
          at: entry.position)
        continue
      }
      ignoredKeys += nodes.compactMap { node in
        if case .scalar(.string(let key)) = node.content {
          BlockDecoder.normalized(key)
        } else {
          nil
        }
      }
    }
  }

  mutating func decodeSlurm(_ node: SourceNode, _ diagnostics: Diagnostics) {
    guard case .mapping(let entries) = node.content else {
      diagnostics.report("'slurm' is a mapping of submit's options", at: node.position)
      return
    }
    for entry in entries {
      let key = BlockDecoder.normalized(entry.key)
      guard SubmitOptions.fileKeys.contains(key) else {
        diagnostics.report(
          "unknown key '\(entry.key)' under 'slurm'\(hint(for: key, among: SubmitOptions.fileKeys)) (keys: \(SubmitOptions.fileKeys.joined(separator: ", ")); anything else goes under 'sbatch_args')",
          at: entry.position)
        continue
      }
      slurm.append((key, entry.value.json))
      checkSlurm(key, entry.value, diagnostics)
    }
  }

  /// Reports a value that `submit` would refuse, before anything runs.
  private func checkSlurm(_ key: String, _ node: SourceNode, _ diagnostics: Diagnostics) {
    var options = SubmitOptions()
    do {
      try options.set(key, to: node.json)
    } catch let error as SweepError {
      diagnostics.report(error.description, at: node.position)
    } catch {
      diagnostics.report("\(error)", at: node.position)
    }
  }

  private mutating func decodeResources(_ node: SourceNode, _ diagnostics: Diagnostics) {
    guard case .mapping(let entries) = node.content else {
      diagnostics.report(
        "'resources' is a mapping (\(Self.resourceKeys.joined(separator: ", ")))", at: node.position
      )
      return
    }
    for entry in entries {
      let value = entry.value.json
      switch (entry.key, value) {
      case ("cpus", .int(let count)) where count > 0: slurm.append(("cpus_per_task", value))
      case ("gpus", .int(let count)) where count > 0:
        slurm.append(("gres", .string("gpu:\(count)")))
      case ("memory", .string), ("memory", .int):
        slurm.append(("mem", value))
        if !SlurmUnits.isMemory(value.plainText) {
          diagnostics.report(
            "'memory' is \(SlurmUnits.memoryForm); found '\(value.plainText)'",
            at: entry.value.position)
        }
      case ("time", .string), ("time", .int):
        slurm.append(("time", value))
        if !SlurmUnits.isTime(value.plainText) {
          diagnostics.report(
            "'time' is \(SlurmUnits.timeForm); found '\(value.plainText)'",
            at: entry.value.position)
        }
      case ("memory", _), ("time", _):
        diagnostics.report(
          "'\(entry.key)' is what SLURM reads, such as \(entry.key == "memory" ? "4G or 500M" : "30 (minutes) or 2-12:00:00"); found \(entry.value.kind)",
          at: entry.value.position)
      case ("cpus", _), ("gpus", _):
        diagnostics.report(
          "'\(entry.key)' is a positive number; found \(entry.value.kind)", at: entry.value.position
        )
      default:
        diagnostics.report(
          "unknown key '\(entry.key)' under 'resources'\(hint(for: entry.key, among: Self.resourceKeys)) (keys: \(Self.resourceKeys.joined(separator: ", ")))",
          at: entry.position)
      }
    }
  }
}
