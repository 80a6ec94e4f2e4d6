/// The options that a program accepts, as it describes them itself.
package struct ProgramOptions: Sendable {
  struct Option: Sendable {
    let isFlag: Bool
    let isRepeating: Bool
    let allowed: [String]
  }

  /// Long and short names, without their dashes.
  private let options: [String: Option]
  private let program: String
  /// Whether the program has the subcommand `check`, which says of many runs whether they can run.
  package let hasCheck: Bool

  /// Reads what swift-argument-parser prints on `--experimental-dump-help`; nil for anything else.
  package init?(dump: String, program: String, words: [String] = []) {
    guard let root = try? JSON.parse(dump), let command = root["command"], command.members != nil
    else { return nil }
    // Without a subcommand's name, the words go to the default one.
    let subcommand = words.first ?? command["defaultSubcommand"]?.stringValue
    let chosen = command["subcommands"]?.arrayValue?.first {
      $0["commandName"]?.stringValue == subcommand
    }
    let lists = [command, chosen].map { $0?["arguments"]?.arrayValue ?? [] }
    var options: [String: Option] = [:]
    for argument in lists.joined() {
      guard let kind = argument["kind"]?.stringValue, kind != "positional" else { continue }
      let option = Option(
        isFlag: kind == "flag", isRepeating: argument["isRepeating"]?.boolValue ?? false,
        allowed: argument["allValues"]?.arrayValue?.map(\.plainText) ?? [])
      for name in argument["names"]?.arrayValue ?? [] {
        if let text = name["name"]?.stringValue { options[text] = option }
      }
    }
    self.options = options
    self.program = program
    hasCheck =
      command["subcommands"]?.arrayValue?.contains { $0["commandName"]?.stringValue == "check" }
      ?? false
  }

  package func accepts(_ option: String) -> Bool {
    options[String(option.drop { $0 == "-" })] != nil
  }

  /// Flags that switch off what is on by default, by the key that a sweep file writes.
  package var inversions: [String: String] {
    let positives = options.keys.filter { options["no-\($0)"]?.isFlag == true }
    return Dictionary(
      positives.map { (BlockDecoder.normalized($0), "--no-\($0)") }, uniquingKeysWith: { $1 })
  }

  /// Checks all values that a sweep may give to its keys, without expanding it.
  package func check(_ file: SweepFile) throws {
    let given = file.overrides.compactMap { override in
      fault(override.key, override.value, lists: file.program.lists).map {
        "--set \(override.key): \($0)"
      }
    }
    if !given.isEmpty { throw SweepError.usage(given.joined(separator: "\n")) }
    let diagnostics = Diagnostics(file: file.path)
    var keysWithFaults: Set<String> = []
    for (key, value) in file.space.possibleValues where !file.leavesOut(value) {
      guard let fault = fault(key, value, lists: file.program.lists),
        keysWithFaults.insert(key).inserted
      else { continue }
      diagnostics.report(fault, at: file.keyPositions[key] ?? Position())
    }
    try diagnostics.throwIfAny()
  }

  /// What is wrong with a key's value; nil value for one that is not known before expansion.
  func fault(_ key: String, _ value: JSON?, lists: ListStyles = ListStyles()) -> String? {
    let option = Configuration.option(for: key)
    let name = String(option.drop { $0 == "-" })
    guard let description = options[name] else {
      let near = suggestion(for: name, among: options.keys)
      let hint = near.map { "; did you mean '\(BlockDecoder.normalized($0))'?" } ?? ""
      return "\(program) has no option \(option)\(hint)"
    }
    switch value {
    case nil, .null: return nil
    case .bool where description.isFlag: return nil
    case .bool(let flag):
      return flag ? "\(program)'s \(option) takes a value; 'true' gives it none" : nil
    case .some(let value) where description.isFlag:
      return "\(program)'s \(option) is a flag: true or false; found \(value.compact)"
    case .array(let elements):
      if lists[key] == .json {
        return notAllowed(.string(JSON.array(elements).compact), description, option)
      }
      if !description.isRepeating, elements.count > 1 {
        return
          "\(program)'s \(option) takes one value; found a list ('lists: {\(key): json}' under 'program' gives it as one word)"
      }
      return elements.lazy.compactMap { self.notAllowed($0, description, option) }.first
    case .some(let value): return notAllowed(value, description, option)
    }
  }

  private func notAllowed(_ value: JSON, _ description: Option, _ option: String) -> String? {
    let text = value.plainText
    guard !description.allowed.isEmpty, !description.allowed.contains(text) else { return nil }
    return
      "\(program)'s \(option) does not take '\(text)'\(hint(for: text, among: description.allowed)) (one of: \(description.allowed.joined(separator: ", ")))"
  }
}

extension Block {
  /// Each key with each fixed value that it may get; nil for values built from others or random.
  var possibleValues: [(key: String, value: JSON?)] {
    var result: [(key: String, value: JSON?)] = []
    func add(_ key: String, _ template: Template) {
      let literals = template.possibleLiterals
      result += literals.isEmpty ? [(key, nil)] : literals.map { (key, $0) }
    }
    for entry in base { add(entry.key, entry.value) }
    for dimension in dimensions {
      switch dimension {
      case .axis(let axis):
        switch axis.points {
        case .rows(let rows): for entry in rows.joined() { add(entry.key, entry.value) }
        case .random(let random):
          for parameter in random.parameters {
            if case .choice(let values) = parameter.distribution {
              result += values.map { (parameter.key, $0) }
            } else {
              result.append((parameter.key, nil))
            }
          }
        }
      case .block(let block): result += block.possibleValues
      case .concatenation(let blocks): result += blocks.flatMap(\.possibleValues)
      }
    }
    return result
  }
}
