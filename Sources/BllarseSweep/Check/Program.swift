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
    var options: ProgramOptions?
    if description.describesItself { options = dump(command, checksum: checksum) }
    return Program(command: command, checksum: checksum, options: options, description: description)
  }

  init(
    command: [String], checksum: String?, options: ProgramOptions?, description: ProgramDescription
  ) {
    (self.command, self.checksum) = (command, checksum)
    (self.options, self.description) = (options, description)
    describer = Self.isScript(command) ? command : [command[0]]
  }

  /// Whether an interpreter reads a file, which describes itself; a bare word is a subcommand.
  private static func isScript(_ command: [String]) -> Bool {
    guard command.count > 1, command[1].contains(where: { "./".contains($0) }) else { return false }
    return Files.exists(command[1]) && !Files.isDirectory(command[1])
  }

  /// The file that an interpreter reads.
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

  private static func dump(_ command: [String], checksum: String?) -> ProgramOptions? {
    let name = Files.name(of: command[0])
    let words = Array(command.dropFirst())
    // An interpreter's checksum says nothing about the script it runs.
    let isScript = isScript(command)
    let cache = isScript ? nil : checksum.flatMap { cacheFile($0) }
    if let cache, let text = try? Files.text(of: cache),
      let options = ProgramOptions(dump: text, program: name, words: words)
    {
      return options
    }
    let leading = isScript ? command : [command[0]]
    guard let result = try? ProcessRunner().run(leading + ["--experimental-dump-help"]),
      result.status == 0,
      let options = ProgramOptions(dump: result.output, program: name, words: isScript ? [] : words)
    else { return nil }
    if let cache, let directory = Files.parent(of: cache) {
      // Only a cache: a read-only home directory is no reason to fail.
      try? Files.makeDirectory(directory)
      try? Files.write(result.output, to: cache)
    }
    return options
  }

  private static func cacheFile(_ checksum: String) -> String? {
    let home = Host.variable("XDG_CACHE_HOME") ?? Host.variable("HOME").map { "\($0)/.cache" }
    return home.map { "\($0)/bllarse/options/\(checksum).json" }
  }
}
