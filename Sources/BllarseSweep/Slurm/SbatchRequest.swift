/// What a job asks for, from all places where sbatch reads it: the `#SBATCH` lines of a job script,
/// then sbatch's variables, then the command line, the later before the earlier.
struct SbatchRequest {
  enum Quantity: Hashable {
    case partition, processors, memory, memoryPerProcessor, time
  }

  private var values: [Quantity: (value: String, source: String)] = [:]

  init(_ options: SubmitOptions, script: String?, environment: [String: String]) {
    read(Self.directives(script ?? ""), source: "#SBATCH of the job script")
    for (variable, quantity) in Self.variables {
      if let value = environment[variable], !value.isEmpty { set(quantity, value, variable) }
    }
    if let value = options.partition { set(.partition, value, "as asked") }
    if let value = options.cpusPerTask { set(.processors, String(value), "as asked") }
    if let value = options.mem { set(.memory, value, "as asked") }
    if let value = options.time { set(.time, value, "as asked") }
    read(options.sbatchArguments, source: "as asked")
  }

  subscript(quantity: Quantity) -> (value: String, source: String)? { values[quantity] }

  private static let variables: [(String, Quantity)] = [
    ("SBATCH_PARTITION", .partition), ("SBATCH_MEM_PER_CPU", .memoryPerProcessor),
    ("SBATCH_MEM_PER_NODE", .memory), ("SBATCH_TIMELIMIT", .time),
  ]

  private static let options: [String: Quantity] = [
    "--partition": .partition, "-p": .partition, "--cpus-per-task": .processors,
    "-c": .processors, "--mem": .memory, "--mem-per-cpu": .memoryPerProcessor, "--time": .time,
    "-t": .time,
  ]

  private mutating func set(_ quantity: Quantity, _ value: String, _ source: String) {
    values[quantity] = (value, source)
    // The two ways to ask for memory exclude each other.
    if quantity == .memory { values[.memoryPerProcessor] = nil }
    if quantity == .memoryPerProcessor { values[.memory] = nil }
  }

  /// `--mem=1G`, `--mem 1G`, `-t 30`, `-t30`.
  private mutating func read(_ words: [String], source: String) {
    var place = 0
    while place < words.count {
      let word = words[place]
      place += 1
      if let quantity = Self.options[word] {
        guard place < words.count else { return }
        set(quantity, words[place], source)
        place += 1
      } else if let equals = word.firstIndex(of: "="),
        let quantity = Self.options[String(word[..<equals])]
      {
        set(quantity, String(word[word.index(after: equals)...]), source)
      } else if !word.hasPrefix("--"), let quantity = Self.options[String(word.prefix(2))] {
        set(quantity, String(word.dropFirst(2)), source)
      }
    }
  }

  /// The words of a script's `#SBATCH` lines; sbatch reads them up to the first command.
  private static func directives(_ script: String) -> [String] {
    var words: [String] = []
    for line in script.split(whereSeparator: \.isNewline) {
      guard line.hasPrefix("#") else {
        if line.trimmed.isEmpty { continue } else { break }
      }
      guard line.hasPrefix("#SBATCH") else { continue }
      words += line.dropFirst(7).split(whereSeparator: \.isWhitespace).prefix { $0 != "#" }
        .map { $0.filter { !"\"'".contains($0) } }
    }
    return words
  }
}
