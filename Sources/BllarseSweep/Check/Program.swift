/// A program found on this machine: where it lies, its checksum, the options it accepts.
public struct Program: Sendable {
  /// The path and the leading arguments.
  public let command: [String]
  package let checksum: String?
  package let options: ProgramOptions?
  /// What `--experimental-dump-help` and `check` follow: the program, and a script that it reads.
  let describer: [String]
  let description: ProgramDescription

  /// Finds a program and asks it for its options; the answer is kept in the user's cache directory
  /// under the program's checksum.
  ///
  /// - Throws: ``SweepError`` (64) when there is no such program.
  public static func locate(_ description: ProgramDescription) throws -> Program {
    let name = description.command[0]
    guard let path = Host.find(name) else {
      throw SweepError.usage(
        "there is no program '\(name)': not beside bllarse-sweep and not in PATH; give its path under 'program' in the sweep file, or --program"
      )
    }
    let checksum = checksum(of: path)
    let command = [path] + description.command.dropFirst()
    // An interpreter reads a file, which describes itself; a bare word is a subcommand.
    let script = command.count > 1 && command[1].contains { "./".contains($0) } ? command[1] : nil
    let isFile = script.map { Files.exists($0) && !Files.isDirectory($0) } ?? false
    let describer = isFile ? command : [path]
    let options = description.describesItself ? dump(command, describer, checksum) : nil
    return Program(
      command: command, checksum: checksum, options: options, describer: describer,
      description: description)
  }

  var script: String? { describer.dropFirst().first }

  /// The options for results and for resuming, unless the program says that it has none.
  package var outputOption: String? { supported(description.outputOption) }
  package var resumeOption: String? { supported(description.resumeOption) }

  private func supported(_ option: String?) -> String? {
    guard let option else { return nil }
    // The default names are only used when the program is known to take them.
    let isDefault = option == "--output" || option == "--resume"
    guard let options else { return isDefault && description.describesItself ? nil : option }
    return options.accepts(option) ? option : nil
  }

  static func checksum(of path: String) -> String? {
    guard let bytes = try? Files.bytes(of: path) else { return nil }
    let digest = Digest(.sha256)
    bytes.withUnsafeBytes { digest.update($0) }
    return digest.finish()
  }

  private static func dump(
    _ command: [String], _ describer: [String], _ checksum: String?
  ) -> ProgramOptions? {
    func options(_ text: String) -> ProgramOptions? {
      ProgramOptions(
        dump: text, program: Files.name(of: command[0]),
        words: Array(command.dropFirst(describer.count)))
    }
    let home = Host.variable("XDG_CACHE_HOME") ?? Host.variable("HOME").map { "\($0)/.cache" }
    var cache: String?
    // An interpreter's checksum says nothing about the script it runs.
    if let home, let checksum, describer.count == 1 {
      cache = "\(home)/bllarse/options/\(checksum).json"
    }
    if let cache, let text = try? Files.text(of: cache), let kept = options(text) { return kept }
    guard let result = try? ProcessRunner().run(describer + ["--experimental-dump-help"]),
      result.status == 0, let found = options(result.output)
    else { return nil }
    if let cache, let directory = Files.parent(of: cache) {
      // Only a cache: a read-only home directory is no reason to fail.
      try? Files.makeDirectory(directory)
      try? Files.write(result.output, to: cache)
    }
    return found
  }
}
