/// Finds a sweep's directory by the sweep's name.
package enum SweepLocation {
  /// The directory of the sweep that a word names.
  ///
  /// A path that exists is itself. Otherwise the sweeps below `root` are looked through: the directory of
  /// that name, else those whose sweep is called so, or whose name begins so and goes on with a dash and
  /// hexadecimal digits (`NAME-HASH`).
  package static func directory(named word: String, in root: String = "sweeps") throws -> String? {
    guard !Files.exists(word), !word.isEmpty, !word.contains("/") else { return nil }
    let exact = "\(root)/\(word)"
    if isSweep(exact) { return exact }
    let found = Files.names(in: root).filter { name in
      isSweep("\(root)/\(name)")
        && (isHashed(name, word) || self.name(of: "\(root)/\(name)") == word)
    }
    guard found.count > 1 else { return found.first.map { "\(root)/\($0)" } }
    throw SweepError(
      .usage,
      "\(word) names \(found.count) sweeps: \(found.map { "\(root)/\($0)" }.joined(separator: ", ")); give one of these directories"
    )
  }

  private static func isSweep(_ path: String) -> Bool { Files.exists("\(path)/sweep.json") }

  private static func isHashed(_ name: String, _ word: String) -> Bool {
    guard name.hasPrefix("\(word)-") else { return false }
    let rest = name.dropFirst(word.count + 1)
    return rest.count >= 6 && rest.allSatisfy(\.isHexDigit)
  }

  private static func name(of directory: String) -> String? {
    JSON(file: "\(directory)/sweep.json")?["name"]?.stringValue
  }

  /// The names of the sweeps below `root`, to suggest one.
  static func names(in root: String = "sweeps") -> [String] {
    Files.names(in: root).filter { isSweep("\(root)/\($0)") }
  }

  /// `; did you mean 'x'?`, for a word that names neither a file nor a sweep.
  package static func suggestion(for word: String, in root: String = "sweeps") -> String {
    hint(for: word, among: names(in: root))
  }
}
