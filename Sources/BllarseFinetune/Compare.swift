import ArgumentParser
import BllarseCore
import BllarseMLflow
import BllarseSupport
import Foundation
import Synchronization

/// `bllarse-finetune compare`: all heads that suit the data, in one table.
struct Compare: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Fits all heads that suit the data and compares them on the test split.",
    discussion: """
      Every head is a run of its own, with the options that are its default, one after the other. The table has \
      their scores with 95 % intervals, the seconds of the fit, the memory of the run, and the excess of the negative \
      log-likelihood over the best head's, with an interval by paired bootstrap: "worse" where that lies above 0. \
      With --output DIR the runs are kept in DIR/heads, the table in DIR/compare.csv and DIR/compare.json, and a \
      comparison that was interrupted goes on with the heads that it had not come to. With --enable-mlflow it is one \
      parent run with a child for each head that it fits.
      """)

  /// What the table is printed as.
  enum Format: String, ExpressibleByArgument, CaseIterable { case text, csv, json }

  enum CompareList: OptionList {
    static let options = RunConfiguration.options.filter { ["task", "seed"].contains($0.name) }
  }

  @Option(
    name: .customLong("head"), parsing: .upToNextOption,
    help: "The heads to compare. (default: all of the task)")
  var heads: [String] = []

  @Option(
    name: .customLong("with"),
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "One more fit, by its options: --with '--head softmax --prior evidence'; may be given again.",
      valueName: "options"))
  var more: [String] = []

  @Option(help: "How the table is printed: text, csv, json.") var format: Format = .text

  @OptionGroup(title: OptionInfo.Group.method.rawValue) var method: DeclaredOptions<CompareList>
  @OptionGroup(title: OptionInfo.Group.data.rawValue) var data: DeclaredOptions<DataList>
  @OptionGroup(title: OptionInfo.Group.splits.rawValue) var splits: DeclaredOptions<SplitList>
  @OptionGroup(title: OptionInfo.Group.rows.rawValue) var rows: DeclaredOptions<RowList>
  @OptionGroup(title: OptionInfo.Group.running.rawValue) var running: DeclaredOptions<RunningList>
  @OptionGroup(title: "Tracking") var tracking: DeclaredOptions<TrackingList>

  /// The options that all fits share.
  private var given: GivenOptions {
    GivenOptions([method.given, data.given, splits.given, rows.given, running.given])
  }

  func validate() throws {
    try TrackingOptions(tracking.given).check()
    for name in ["resume", "save-every"] where running.given.contains(name) {
      throw ValidationError("--\(name) is for runs; a comparison goes on in its --output by itself")
    }
    _ = try candidates()
  }

  func run() throws {
    let (candidates, notes) = try candidates()
    for note in notes { Terminal().runDidNote(note) }
    try reportingErrors {
      let place = try ComparisonPlace(output: running.given["output"])
      defer { place.remove() }
      var comparison = ComparisonRun(
        place: place, common: given, tracking: TrackingOptions(tracking.given))
      try comparison.run(candidates)
      let table = try comparison.table()
      try place.write(table)
      switch format {
      case .text: print(table.text, terminator: "")
      case .csv: print(table.csv, terminator: "")
      case .json: print(table.json, terminator: "")
      }
      comparison.finish(table)
    }
  }
}

// MARK: - What is compared

extension Compare {
  /// A fit that takes part.
  struct Candidate {
    /// As the table calls it: the head, and what differs from its default.
    let name: String
    /// All options.
    let given: GivenOptions
    let configuration: RunConfiguration
  }

  /// The fits to compare, and what should be known of those that are left out.
  ///
  /// - Throws: `ValidationError` for options that cannot be.
  private func candidates() throws -> (list: [Candidate], notes: [String]) {
    let task = try task()
    var (list, notes): ([Candidate], [String]) = ([], [])
    for method in HeadRegistry.methods
    where method.serves(task) && (heads.isEmpty || heads.contains(method.name)) {
      let isNamed = !heads.isEmpty && method.variants.isEmpty
      for variant in isNamed ? method.namedVariants : method.variants {
        var own = GivenOptions()
        own["head"] = method.name
        for (name, value) in variant { own[name] = value }
        do {
          list.append(try candidate(own))
        } catch let fault as OptionFault {
          // What was asked for by name is refused, what was not is left out.
          guard heads.isEmpty else { throw ValidationError(fault.description) }
          notes.append("\(Self.name(own)) is left out: \(fault)")
        }
      }
    }
    for text in more { list.append(try asValidation { try candidate(try options(text)) }) }
    if let other = list.first(where: { $0.configuration.task != task }) {
      throw ValidationError(
        "heads of one task can be compared, and \(other.name) is for "
          + "\(other.configuration.task.rawValue); leave it out")
    }
    if list.isEmpty {
      throw ValidationError(notes.first ?? "there is no head for --task \(task.rawValue)")
    }
    let names = list.map(\.name)
    if let twice = names.indices.first(where: { names[..<$0].contains(names[$0]) }) {
      throw ValidationError("\(names[twice]) would be compared with itself; give it once")
    }
    return (list, notes)
  }

  private func task() throws -> LearningTask {
    for head in heads where HeadRegistry.method(named: head) == nil {
      throw ValidationError(
        "--head is '\(head)'; expected some of \(HeadRegistry.methodNames.joined(separator: ", "))")
    }
    let tasks = Set(heads.compactMap { HeadRegistry.method(named: $0)?.task })
    let text = method.given["task"]
    let given = text.flatMap(LearningTask.init(rawValue:))
    if let text, given == nil {
      let names = LearningTask.allCases.map(\.rawValue).joined(separator: ", ")
      throw ValidationError("--task is '\(text)'; expected one of \(names)")
    }
    let task = given ?? tasks.first ?? .classification
    if let other = heads.compactMap(HeadRegistry.method).first(where: { !$0.serves(task) }) {
      throw ValidationError(
        "heads of one task can be compared, and \(other.name) is not for \(task.rawValue); leave it out"
      )
    }
    return task
  }

  private func candidate(_ own: GivenOptions) throws -> Candidate {
    var given = GivenOptions([given, own])
    given["output"] = nil
    return Candidate(
      name: Self.name(own), given: given,
      configuration: try RunConfiguration(given, defaults: .environment))
  }

  /// "softmax --prior evidence".
  private static func name(_ own: GivenOptions) -> String {
    ([own["head"] ?? HeadRegistry.softmax]
      + own.names.filter { $0 != "head" }.flatMap { name in
        ["--" + name] + (own.list(name) ?? []).filter { !$0.isEmpty }
      }).joined(separator: " ")
  }

  /// The options of a text, whose words are divided by spaces, that differ from those of all.
  private func options(_ text: String) throws -> GivenOptions {
    let line = try CommandLineWords(text.split(whereSeparator: \.isWhitespace).map(String.init))
    let parsed: GivenOptions
    do { parsed = try Train.parse(given.words + line.words).given } catch {
      throw ValidationError("--with '\(text)': \(Train.message(for: error))")
    }
    var own = GivenOptions()
    for name in parsed.names where parsed.list(name) != given.list(name) {
      guard !Self.common.contains(name) else {
        throw ValidationError("--with '\(text)': --\(name) is the same for all that are compared")
      }
      own.give(name, parsed.list(name) ?? [])
    }
    return own
  }

  /// Options that say which rows are fitted and scored, and where a run's files go.
  private static let common = Set(
    (DataList.options + SplitList.options + RunningList.options + TrackingList.options).map(\.name)
      + ["task", "seed"])
}

// MARK: - The runs

/// Where the runs of a comparison are.
struct ComparisonPlace {
  let directory: String
  let isTemporary: Bool

  init(output: String?) throws {
    isTemporary = output == nil
    directory =
      output ?? NSTemporaryDirectory() + "bllarse-compare-" + UUID().uuidString
    try Files.prepareDirectory(directory)
  }

  func remove() {
    if isTemporary { try? FileManager.default.removeItem(atPath: directory) }
  }

  /// The output directory of a fit.
  func directory(of candidate: Compare.Candidate) -> String {
    let name = candidate.name.map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "-" }
    let words = String(name).split(separator: "-").joined(separator: "-")
    // Names that differ in other characters only have directories of their own.
    let digest = candidate.name.utf8.reduce(5381 as UInt32) { $0 &* 33 ^ UInt32($1) }
    return directory + "/heads/" + words
      + (words == candidate.name ? "" : "-" + String(digest, radix: 36))
  }

  func write(_ table: ComparisonTable) throws {
    guard !isTemporary else { return }
    try Files.write(table.csv, to: directory + "/compare.csv", durability: .whole)
    try Files.write(table.json, to: directory + "/compare.json", durability: .whole)
  }
}

/// The runs of a comparison, each a process of its own: its memory is its own, and its end ends nothing else.
struct ComparisonRun {
  let place: ComparisonPlace
  /// The options that all runs share.
  let common: GivenOptions
  let tracking: TrackingOptions
  private var results: [(candidate: Compare.Candidate, result: FittedResult?, failure: String?)] =
    []
  private var parent: Run?

  init(place: ComparisonPlace, common: GivenOptions, tracking: TrackingOptions) {
    (self.place, self.common, self.tracking) = (place, common, tracking)
  }

  /// Fits the heads that are not fitted yet.
  ///
  /// - Throws: `DataError` for data that no head could be fitted to; `ExitCode` 75 when it was told to stop.
  mutating func run(_ candidates: [Compare.Candidate]) throws {
    let files = FileHeaders()
    // What is wrong with the data is wrong for all heads, and said once.
    let plans = try candidates.map { try RunPlan($0.configuration, files: files) }
    parent = try tracking.startParent(name: "compare", directory: place.directory)
    Forwarding.listen()
    for (candidate, plan) in zip(candidates, plans) {
      if let note = plan.memoryNote {
        results.append((candidate, nil, "left out: \(note)"))
      } else if let kept = try kept(candidate) {
        results.append((candidate, kept, nil))
      } else {
        results.append(try fit(candidate))
      }
      let (_, result, failure) = results[results.count - 1]
      Terminal.tell(
        "\(results.count) of \(candidates.count): \(candidate.name)"
          + (result.map { String(format: ", nll %.4f, %.2f s", $0.test.nll, $0.seconds.fit) }
            ?? ", \(failure ?? "failed")"))
    }
    Forwarding.end()
  }

  /// The result of a fit that a comparison before this one has made, of the same options and the same file.
  private func kept(_ candidate: Compare.Candidate) throws -> FittedResult? {
    var configuration = candidate.configuration
    configuration.output.path = place.directory(of: candidate)
    let path = place.directory(of: candidate) + "/result.json"
    guard !configuration.output.overwrites, try RunPlan.checkOutput(of: configuration),
      let stamp = try? Files.text(of: stampPath(candidate)), stamp == Self.stamp(candidate)
    else { return nil }
    return FittedResult(path: path)
  }

  private func stampPath(_ candidate: Compare.Candidate) -> String {
    place.directory(of: candidate) + ".files"
  }

  /// What tells the files that a run reads from later ones of their names: a line for each.
  private static func stamp(_ candidate: Compare.Candidate) -> String {
    let names = ["features", "weights", "backbone", "data-dir", "model-dir", "ood"]
    let paths = names.compactMap { candidate.given[$0] }.flatMap { path in
      [path] + Files.names(in: path).sorted().map { path + "/" + $0 }
    }
    return paths.map { path in
      var status = stat()
      guard stat(path, &status) == 0 else { return "\(path) -\n" }
      // The time of the last change is nobody's to set.
      return "\(path) \(status.st_ino) \(status.st_size) \(status.st_ctim.tv_sec) "
        + "\(status.st_ctim.tv_nsec)\n"
    }.joined()
  }

  private func fit(
    _ candidate: Compare.Candidate
  ) throws -> (Compare.Candidate, FittedResult?, String?) {
    let directory = place.directory(of: candidate)
    var given = candidate.given
    given["output"] = directory
    // A result of a file that has changed since is replaced.
    given["overwrite"] = ""
    let log = directory + ".log"
    try Files.prepareDirectory(place.directory + "/heads")
    let stamp = Self.stamp(candidate)
    let status = try Forwarding.run(
      ["train"] + given.words + tracking.childWords(name: candidate.name), log: log,
      environment: parent.map { ["MLFLOW_PARENT_RUN_ID": $0.id] } ?? [:])
    if Forwarding.signal != nil {
      Terminal.tell(
        "bllarse-finetune: interrupted; "
          + (place.isTemporary
            ? "without --output nothing is kept"
            : "go on with: " + Shell.join(CommandLine.arguments)))
      parent?.finish(status: .killed, waitingUpTo: .seconds(1))
      throw ExitCode(place.isTemporary ? 128 + (Forwarding.signal ?? SIGTERM) : 75)
    }
    if status == 0, let result = FittedResult(path: directory + "/result.json") {
      try Files.write(stamp, to: stampPath(candidate), durability: .whole)
      return (candidate, result, nil)
    }
    let lines = (try? Files.text(of: log))?.split(separator: "\n") ?? []
    let error = lines.last { $0.contains("error:") } ?? lines.last ?? "no output"
    return (candidate, nil, "failed with status \(status): \(error)")
  }

  /// The table of what was fitted.
  ///
  /// - Throws: what keeps the stored heads from being compared; `ExitCode` 1 when no head was fitted.
  func table() throws -> ComparisonTable {
    let fitted = results.indices.filter { results[$0].result != nil }
    guard let first = fitted.first else {
      Terminal.tell("bllarse-finetune: error: no head could be fitted")
      throw ExitCode(1)
    }
    let comparison = try HeadComparison(
      checkpoints: fitted.map {
        place.directory(of: results[$0].candidate) + "/head.safetensors"
      }, results[first].candidate.configuration)
    return ComparisonTable(
      entries: results.enumerated().map { index, entry in
        let excess = fitted.firstIndex(of: index).map { comparison.excesses[$0] }
        return ComparisonTable.Entry(
          name: entry.candidate.name, result: entry.result, excess: excess, failure: entry.failure)
      }, comparison)
  }

  /// Ends the parent run.
  func finish(_ table: ComparisonTable) {
    guard let parent else { return }
    parent.set(description: table.markdown)
    for name in ["compare.csv", "compare.json"] {
      try? parent.log(text: name.hasSuffix("csv") ? table.csv : table.json, as: name)
    }
    parent.finish(status: .finished)
    Terminal().runIsTracked(parent.location)
  }
}

extension GivenOptions {
  /// The words of a command line that gives them.
  fileprivate var words: [String] {
    names.flatMap { name in ["--" + name] + (list(name) ?? []).filter { !$0.isEmpty } }
  }
}

extension TrackingOptions {
  /// The parent of runs that are compared, where they are tracked.
  fileprivate func startParent(name: String, directory: String) throws -> Run? {
    guard isEnabled else { return nil }
    return try Tracker(settings).startRun(
      name: runName ?? name, tags: ["is_parent": "true", "group_id": groupID, "sweep_name": name])
  }

  /// The options of a child.
  fileprivate func childWords(name: String) -> [String] {
    guard isEnabled else { return [] }
    var words = given
    words["uid"] = name
    return words.words
  }
}

/// A child process that gets the signals that end this one.
private enum Forwarding {
  private static let received = Atomic<Int32>(0)
  private static let child = Atomic<Int32>(0)

  static var signal: Int32? {
    let value = received.load(ordering: .relaxed)
    return value == 0 ? nil : value
  }

  static func listen() {
    // The first access initialises what the handler uses.
    _ = (received.load(ordering: .relaxed), child.load(ordering: .relaxed))
    // A parent that blocks signals hands its mask down.
    var mask = sigset_t()
    sigemptyset(&mask)
    for number in signals {
      sigaddset(&mask, number)
      Foundation.signal(number) { number in
        // Only what may be called in a signal handler: atomic operations and kill.
        Forwarding.received.store(number, ordering: .relaxed)
        let child = Forwarding.child.load(ordering: .relaxed)
        if child > 0 { kill(child, number) }
      }
    }
    sigprocmask(SIG_UNBLOCK, &mask, nil)
  }

  private static let signals = [SIGTERM, SIGINT, SIGUSR1, SIGHUP, SIGQUIT]

  /// From now on a signal has its own effect; there is no child any more.
  static func end() {
    for number in signals { Foundation.signal(number, SIG_DFL) }
  }

  /// Runs this program with other words, and gives its exit status.
  static func run(
    _ words: [String], log: String, environment: [String: String]
  ) throws -> Int32 {
    guard signal == nil else { return 75 }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    process.arguments = words
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.standardInput = FileHandle.nullDevice
    _ = FileManager.default.createFile(atPath: log, contents: nil)
    let output = try FileHandle(forWritingTo: URL(fileURLWithPath: log))
    defer { try? output.close() }
    (process.standardOutput, process.standardError) = (output, output)
    try process.run()
    child.store(process.processIdentifier, ordering: .relaxed)
    // A signal that came between the two did not find the child.
    if let signal { kill(process.processIdentifier, signal) }
    process.waitUntilExit()
    child.store(0, ordering: .relaxed)
    return process.terminationStatus
  }
}

// MARK: - The table

/// What the table needs of a `result.json`.
struct FittedResult: Decodable {
  struct Metrics: Decodable { let bootstrap: [String: Figure] }
  struct Memory: Decodable { let peak_bytes: Int }
  /// An interval, or a number that stands beside intervals.
  struct Figure: Decodable {
    struct Interval: Decodable { let lower, upper: Double }
    let interval: Interval?
    init(from decoder: any Decoder) throws { interval = try? Interval(from: decoder) }
  }

  let test: SplitScores
  let seconds: RunSeconds
  let metrics: Metrics?
  let memory: Memory?
  let failure: String?

  /// Reads a result of a run that succeeded.
  init?(path: String) {
    guard let text = try? Files.text(of: path),
      let result = RunOutput.decode(FittedResult.self, from: text), result.failure == nil
    else { return nil }
    self = result
  }
}

/// Heads side by side, the best first; those that could not be fitted last.
struct ComparisonTable: Encodable {
  struct Entry: Encodable {
    let name: String
    let result: FittedResult?
    let excess: HeadComparison.Excess?
    let failure: String?

    /// Writes one object.
    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: Key.self)
      try container.encode(name, forKey: Key("head"))
      try container.encodeIfPresent(result?.test, forKey: Key("test"))
      let intervals = (result?.metrics?.bootstrap ?? [:]).compactMapValues { figure in
        figure.interval.map { ["lower": $0.lower, "upper": $0.upper] }
      }
      if result != nil { try container.encode(intervals, forKey: Key("intervals")) }
      try container.encodeIfPresent(excess, forKey: Key("nll_excess"))
      try container.encodeIfPresent(result?.seconds, forKey: Key("seconds"))
      try container.encodeIfPresent(result?.memory?.peak_bytes, forKey: Key("peak_bytes"))
      try container.encodeIfPresent(failure, forKey: Key("failure"))
    }

    private struct Key: CodingKey {
      let stringValue: String
      var intValue: Int? { nil }
      init(_ name: String) { stringValue = name }
      init?(stringValue: String) { self.init(stringValue) }
      init?(intValue: Int) { nil }
    }

    /// Whether the head is worse than the best by more than the noise of the test rows.
    var verdict: String {
      guard let excess else { return failure == nil ? "" : "not fitted" }
      return excess.mean == 0 && excess.upper == 0 ? "best" : excess.isBeyondNoise ? "worse" : ""
    }
  }

  let heads: [Entry]
  let level: Double
  let replicates: Int
  private let metrics: [String]

  private enum CodingKeys: String, CodingKey { case heads, level, replicates }

  init(entries: [Entry], _ comparison: HeadComparison) {
    heads =
      entries.filter { $0.excess != nil }.sorted {
        ($0.excess?.mean ?? 0) < ($1.excess?.mean ?? 0)
      } + entries.filter { $0.excess == nil }
    (level, replicates) = (comparison.level, comparison.replicateCount)
    let task = heads.first?.result?.test.task ?? .classification
    let isOrdered = heads.contains { $0.result?.test.isOrdered ?? false }
    metrics = Metric.ofSplits(task, ordered: isOrdered).map(\.name)
  }

  private static let megabyte = 1_048_576.0

  /// The figures of a head: those of the table's columns, `nil` where there is none.
  private func figures(_ entry: Entry) -> [Double?] {
    metrics.flatMap { name -> [Double?] in
      let interval = entry.result?.metrics?.bootstrap[name]?.interval
      return [entry.result?.test.values[name], interval?.lower, interval?.upper]
    } + [
      entry.excess?.mean, entry.excess?.lower, entry.excess?.upper, entry.result?.seconds.fit,
      entry.result?.memory.map { Double($0.peak_bytes) / Self.megabyte },
    ]
  }

  var csv: String {
    let head =
      ["head"] + metrics.flatMap { [$0, "\($0)_lower", "\($0)_upper"] }
      + [
        "nll_excess", "nll_excess_lower", "nll_excess_upper", "fit_seconds", "peak_mib", "verdict",
      ]
    return TextTable.csvLine(head)
      + heads.map { entry in
        TextTable.csvLine(
          [entry.name] + figures(entry).map { $0.map { "\($0)" } ?? "" } + [entry.verdict])
      }.joined()
  }

  var json: String { RunOutput.json(self, pretty: true) + "\n" }

  /// The rows of a table to be read, its head first.
  private var rows: [[String]] {
    func text(_ value: Double?, _ digits: Int = 4) -> String {
      value.map { String(format: "%.\(digits)f", $0) } ?? ""
    }
    let percent = Int((level * 100).rounded())
    // The first two have their intervals here, all of them in the files.
    let head =
      ["head"]
      + metrics.enumerated().flatMap { $0 < 2 ? [$1, "\(percent) % interval"] : [$1] }
      + ["nll - best", "\(percent) % interval", "fit s", "MiB", ""]
    return [head]
      + heads.map { entry in
        var cells = [entry.name]
        for (place, name) in metrics.enumerated() {
          cells.append(text(entry.result?.test.values[name]))
          guard place < 2 else { continue }
          let interval = entry.result?.metrics?.bootstrap[name]?.interval
          cells.append(interval.map { "\(text($0.lower)) \(text($0.upper))" } ?? "")
        }
        cells += [
          text(entry.excess?.mean),
          entry.excess.map { "\(text($0.lower)) \(text($0.upper))" } ?? "",
          text(entry.result?.seconds.fit, 2),
          text(entry.result?.memory.map { Double($0.peak_bytes) / Self.megabyte }, 0),
          entry.verdict,
        ]
        return cells
      }
  }

  var text: String {
    TextTable.aligned(rows, firstNumber: 1)
      + "worse: the excess of the negative log-likelihood over the best head's lies above 0, by paired bootstrap "
      + "(\(replicates) replicates)\n"
      + heads.compactMap { entry in entry.failure.map { "\(entry.name): \($0)\n" } }.joined()
  }

  /// A table for the page of a tracked run.
  var markdown: String {
    let rows = rows
    let lines = rows.map { "| " + $0.joined(separator: " | ") + " |" }
    return ([lines[0], "|" + String(repeating: "---|", count: rows[0].count)] + lines.dropFirst())
      .joined(separator: "\n")
  }
}
