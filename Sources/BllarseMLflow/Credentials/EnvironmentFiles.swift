import Foundation

/// `.env` and `.env.secrets` of the working directory, where people keep what tracking needs.
///
/// Only `MLFLOW_…`, `BLLARSE_…` and `HF_TOKEN` are taken from them: other programs have the rest. The
/// environment wins over both, and `.env.secrets` over `.env`.
package enum EnvironmentFiles {
  static let names = [".env", ".env.secrets"]

  /// Sets the files' variables in this process, which its children inherit; returns what in them cannot be
  /// read, one line each, without values.
  ///
  /// To be called first thing, before there are threads.
  package static func load() -> [String] {
    let (values, notes) = read(
      in: FileManager.default.currentDirectoryPath, environment: Host.environment)
    for (name, value) in values { setenv(name, value, 0) }
    return notes
  }

  /// The variables that the files give, and what in the files cannot be read.
  package static func read(
    in directory: String, environment: [String: String]
  ) -> (values: [String: String], notes: [String]) {
    var values: [String: String] = [:]  // all, as one may stand for a part of another
    var notes: [String] = []
    // Without a working directory the names would be those of files in "/".
    guard !directory.isEmpty else { return (values, notes) }
    for name in names {
      let path = directory + "/" + name
      // A folder of that name is somebody's Python environment.
      guard Files.exists(path), !Files.isDirectory(path) else { continue }
      guard let bytes = try? Files.bytes(of: path) else {
        notes.append("cannot read \(name): \(SystemError.text())")
        continue
      }
      if let fault = EnvironmentFile.encodingFault(bytes, name) {
        notes.append(fault)
        continue
      }
      let file = EnvironmentFile(
        text: String(decoding: bytes, as: UTF8.self), path: name,
        environment: values.merging(environment) { $1 })
      values.merge(file.values) { $1 }
      notes += file.notes
    }
    return (values.filter { isOurs($0.key) && environment[$0.key] == nil }, notes)
  }

  private static func isOurs(_ name: String) -> Bool {
    name.hasPrefix("MLFLOW_") || name.hasPrefix("BLLARSE_") || name == "HF_TOKEN"
  }
}

/// What a `.env` file says, read as Python's dotenv reads it.
///
/// `KEY=value`, also after `export`; single quotes as they stand, double quotes with `\n`, `\"` and the
/// like; without quotes the value ends at the line's end or before a ` #`; quoted values may go on over
/// lines; `${NAME}` and `${NAME:-otherwise}` outside of single quotes are replaced.
package struct EnvironmentFile: Sendable, Equatable {
  /// The variables; the last of two equal keys wins.
  package private(set) var values: [String: String] = [:]
  /// What cannot be read: one line each, without values.
  package private(set) var notes: [String] = []

  private var rest: Substring
  private var line = 1
  private let path: String
  private let environment: [String: String]

  /// Reads a file's text; what `${NAME}` stands for is first looked for in the environment.
  package init(text: String, path: String, environment: [String: String] = [:]) {
    // Swift takes CR LF for one character, which is no line feed.
    var text = text.replacing("\r\n", with: "\n").replacing("\r", with: "\n")
    if text.first == "\u{FEFF}" { text.removeFirst() }
    rest = text[...]
    (self.path, self.environment) = (path, environment)
    while !rest.isEmpty { readLine() }
  }

  private mutating func readLine() {
    let (start, place) = (rest, line)
    skipBlanks()
    if rest.isEmpty { return }
    if rest.first == "\n" || rest.first == "#" { return skipLine() }
    var key = readWord()
    if key == "export", rest.first != "=" { key = readWord() }
    guard rest.first == "=", Self.isName(key) else {
      notes.append("\(path):\(place): expected KEY=value; the line is ignored")
      return skipLine()
    }
    rest.removeFirst()
    let isAfterBlank = rest.first.map(Self.isBlank) ?? false
    skipBlanks()
    guard let value = readValue(isAfterBlank) else {
      notes.append("\(path):\(place): the value of \(key) is not well quoted; the line is ignored")
      (rest, line) = (start, place)
      return skipLine()
    }
    values[key] = value
  }

  /// The value and the rest of its line; nil when its quotes are not closed, or something follows them.
  private mutating func readValue(_ isAfterBlank: Bool) -> String? {
    guard let quote = rest.first, quote == "'" || quote == "\"" else {
      let text = take { $0 != "\n" }
      skipLine()
      return expanded(Self.withoutComment(text, isAfterBlank))
    }
    rest.removeFirst()
    var value = ""
    while let character = rest.popFirst() {
      if character == quote {
        skipBlanks()
        guard rest.isEmpty || rest.first == "\n" || rest.first == "#" else { return nil }
        skipLine()
        return quote == "'" ? value : expanded(value)
      }
      if character == "\n" { line += 1 }
      guard character == "\\", let next = rest.first,
        let meaning = (quote == "'" ? Self.plainEscapes : Self.escapes)[next]
      else {
        value.append(character)
        continue
      }
      rest.removeFirst()
      value.append(meaning)
    }
    return nil
  }

  private static let plainEscapes: [Character: Character] = ["\\": "\\", "'": "'"]
  private static let escapes: [Character: Character] = [
    "\\": "\\", "'": "'", "\"": "\"", "n": "\n", "t": "\t", "r": "\r", "a": "\u{7}", "b": "\u{8}",
    "f": "\u{C}", "v": "\u{B}",
  ]

  /// A `#` after white space begins a comment; one within a word belongs to it.
  private static func withoutComment(_ text: String, _ isAfterBlank: Bool) -> String {
    var isAfterBlank = isAfterBlank
    var value = text.prefix { character in
      defer { isAfterBlank = isBlank(character) }
      return character != "#" || !isAfterBlank
    }
    while let last = value.last, isBlank(last) { value.removeLast() }
    return String(value)
  }

  /// The value with `${NAME}` replaced, by nothing where no such variable is known.
  private func expanded(_ value: String) -> String {
    var result = ""
    var rest = value[...]
    while let open = rest.range(of: "${"), let close = rest[open.upperBound...].firstIndex(of: "}")
    {
      result += rest[..<open.lowerBound]
      let inner = rest[open.upperBound..<close]
      let split = inner.range(of: ":-")
      let name = String(split.map { inner[..<$0.lowerBound] } ?? inner)
      result +=
        environment[name] ?? values[name] ?? split.map { String(inner[$0.upperBound...]) } ?? ""
      rest = rest[rest.index(after: close)...]
    }
    return result + rest
  }

  // MARK: - Parts

  /// That a file is UTF-16 text by its first two bytes, as some editors save it.
  static func encodingFault(_ bytes: [UInt8], _ name: String) -> String? {
    guard bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) else { return nil }
    return "\(name) is UTF-16 text, expected UTF-8; going on without it, save it as UTF-8"
  }

  private static func isBlank(_ character: Character) -> Bool {
    character.isWhitespace && !character.isNewline
  }

  private static func isName(_ key: String) -> Bool {
    !key.isEmpty && key.first?.isNumber == false
      && key.allSatisfy { $0.isLetter || $0.isNumber || $0 == "_" || $0 == "." || $0 == "-" }
  }

  private mutating func skipBlanks() { rest = rest.drop(while: Self.isBlank) }

  private mutating func readWord() -> String {
    defer { skipBlanks() }
    return take { $0 != "=" && $0 != "\n" && $0 != "#" && !Self.isBlank($0) }
  }

  /// Skips what is left of a line, its end included.
  private mutating func skipLine() {
    rest = rest.drop { $0 != "\n" }
    if rest.popFirst() != nil { line += 1 }
  }

  private mutating func take(while isWanted: (Character) -> Bool) -> String {
    let taken = rest.prefix(while: isWanted)
    rest = rest[taken.endIndex...]
    return String(taken)
  }
}
