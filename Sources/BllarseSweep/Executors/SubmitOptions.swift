/// What is asked of an executor; what is nil is left to its own default.
public struct SubmitOptions: Sendable, Equatable {
  /// The executor's name.
  public let executor: String
  /// What each run gets.
  public var resources = Resources()
  /// The jobs' name; nil for the sweep's.
  public var jobName: String?
  /// Machines not to use.
  public var excludedNodes: [String] = []
  /// How many tasks run at once, over all arrays together; nil for no limit.
  public var maxConcurrent: Int? = 7
  /// The order in which tasks start.
  public var arrayOrder = ArrayOrder.index
  /// How often a task is started again after a checkpoint.
  public var maxRequeues = 10
  package var retryRules: [RetryRule] = []
  /// A Python environment of the tasks.
  public var venv: String?
  /// The program's path, instead of looking for the one that the sweep names.
  public var program: String?
  /// Whether a task does not start a program that has changed since the submission.
  public var isStrict = false
  private var own: [String: JSON] = [:]
  /// Memory and time as somebody wrote them.
  private var written: [String: String] = [:]

  /// The defaults of an executor.
  public init(executor: String = Executors.submitting.name) { self.executor = executor }

  /// The value of one of the executor's own keys.
  public subscript(key: String) -> JSON? {
    get { own[key] }
    set { own[key] = newValue }
  }

  func executor(for directory: SweepDirectory) throws -> any Executor {
    try Executors.type(named: executor).init(directory, options: self, runner: ProcessRunner())
  }

  /// The order in which tasks start.
  public enum ArrayOrder: String, Sendable, CaseIterable {
    case index
    case reverse
    /// A fixed permutation: partial results are then an unbiased sample of the sweep.
    case shuffle
  }

  /// Reads a positive number, or `none` (or 0) for no limit; nil for what is neither.
  package static func concurrency(_ text: String) -> Int?? {
    if text == "none" || text == "0" { return .some(nil) }
    guard let number = Int(text), number > 0 else { return nil }
    return number
  }

  package mutating func apply(_ defaults: [JSON.Member], file: String) throws {
    for member in defaults {
      do {
        try set(member.key, to: member.value)
      } catch let error as SweepError { throw SweepError.data("\(file): \(error.description)") }
    }
  }

  /// Takes one value; null changes nothing.
  package mutating func set(_ key: String, to value: JSON, section: String? = nil) throws {
    let text = value.plainText
    let name = "\(section ?? executor).\(key)"
    func fault(_ expected: String) -> SweepError {
      let found = expected.hasPrefix("a positive number") ? text : "'\(text)'"
      return SweepError.data("\(name) is \(expected); found \(found)")
    }
    func words() -> [String] { value.arrayValue?.map(\.plainText) ?? [text] }
    if value == .null { return }
    switch key {
    case "cpus", "memory", "time", "gpus", "cpus_per_task", "mem":
      let resource = ["cpus_per_task": "cpus", "mem": "memory"][key] ?? key
      if let expected = resources.set(resource, to: value) { throw fault(expected) }
      written[resource] = text
    case "job_name": jobName = text
    case "exclude_nodes":
      excludedNodes = words().flatMap { $0.split(separator: ",").map(String.init) }
    case "max_concurrent":
      guard let limit = Self.concurrency(text) else {
        throw fault("a positive number, or none for no limit")
      }
      maxConcurrent = limit
    case "array_order":
      guard let order = ArrayOrder(rawValue: text) else { throw fault("index, reverse or shuffle") }
      arrayOrder = order
    case "max_requeues":
      guard let number = value.intValue, number >= 0 else { throw fault("a positive number") }
      maxRequeues = number
    case "retry": retryRules = try words().map { try RetryRule(parsing: $0) }
    case "venv": venv = text
    case "program": program = text
    case "strict":
      guard let flag = value.boolValue else { throw fault("true or false") }
      isStrict = flag
    default:
      do {
        // A record may be of an executor that this program does not know.
        try (try? Executors.type(named: executor))?.validate(key, value)
      } catch let error as SweepError { throw fault(error.description) }
      own[key] = value
    }
  }

  /// The memory in the words in which it was asked for, which an executor is told.
  var memoryText: String? {
    resources.memory.map { memory in
      written["memory"].flatMap { Memory($0) == memory ? $0 : nil } ?? memory.description
    }
  }

  var timeText: String? {
    resources.time.map { time in
      written["time"].flatMap { Duration(clock: $0) == time ? $0 : nil } ?? time.clock
    }
  }

  /// The options as a record keeps them; ``apply(_:file:)`` reads it.
  package var json: JSON {
    let nodes = excludedNodes.isEmpty ? nil : excludedNodes.joined(separator: ",")
    let common = JSON.object([
      "job_name": .optional(jobName), "cpus_per_task": .optional(resources.cpus),
      "mem": .optional(memoryText), "time": .optional(timeText), "gpus": .optional(resources.gpus),
      "exclude_nodes": .optional(nodes), "max_concurrent": maxConcurrent.map { .int($0) } ?? "none",
      "array_order": .string(arrayOrder.rawValue), "max_requeues": .int(maxRequeues),
      "retry": .array(retryRules.map { .string($0.description) }), "venv": .optional(venv),
      "program": .optional(program), "strict": isStrict ? .bool(true) : .null,
    ])
    let others = own.sorted { $0.key < $1.key }.map { JSON.Member($0.key, $0.value) }
    return .object(((common.members ?? []) + others).filter { $0.value != .null })
  }

  /// What the rule changes, applied once; a resource that was not asked for stays the default.
  func changed(by rule: RetryRule, nodes: [String]) -> SubmitOptions {
    var options = self
    switch rule.change {
    case nil: break
    case .memory:
      options.resources.memory = resources.memory?.multiplied(by: rule.factor)
    case .time:
      options.resources.time = resources.time.map {
        .seconds(Int((Double($0.wholeSeconds) * rule.factor).rounded(.up)))
      }
    case .exclude: options.excludedNodes += nodes.filter { !excludedNodes.contains($0) }
    }
    return options
  }
}

/// The executor that a sweep file chooses by `executor:`, with the defaults for it.
package struct ExecutorChoice: Sendable, Equatable {
  package let name: String
  package let options: [JSON.Member]

  var json: JSON { .object([JSON.Member("name", .string(name))] + options) }
}

extension ExecutorChoice {
  init?(_ json: JSON) {
    guard let name = json["name"]?.stringValue else { return nil }
    self.init(name: name, options: (json.members ?? []).filter { $0.key != "name" })
  }
}

extension SweepDirectory {
  /// What the sweep's file asks of an executor, and the keys of `executor:` that have no effect there.
  ///
  /// - Throws: ``SweepError`` (65) that names the file and the key.
  public func options(
    for type: any Executor.Type
  ) throws -> (options: SubmitOptions, ignored: [String]) {
    var options = SubmitOptions(executor: type.name)
    if type == Executors.submitting { try options.apply(slurm, file: source) }
    guard let executor else { return (options, []) }
    let keys = type.resourceKeys + (type.name == executor.name ? type.keys : [])
    try options.apply(executor.options.filter { keys.contains($0.key) }, file: source)
    return (options, executor.options.map(\.key).filter { !keys.contains($0) })
  }
}

/// Why a task did not finish.
public enum FailureCause: String, Sendable, CaseIterable {
  /// Killed for using more memory than it was given.
  case memory = "oom"
  case time = "timeout"
  /// The node failed, or could not start the task.
  case node
  case failed
}

/// How often failures of one cause are tried again, and with what change: `oom:2:mem*1.5`,
/// `timeout:1:time*2`, `node:3:exclude`, `failed:1`.
package struct RetryRule: Sendable, Equatable, CustomStringConvertible {
  enum Change: String { case memory = "mem", time, exclude }

  package let cause: FailureCause
  package let budget: Int
  let change: Change?
  /// What memory or time is multiplied by; 1 where it is neither.
  let factor: Double

  package init(parsing text: String) throws {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    let causes = FailureCause.allCases.map(\.rawValue)
    let form =
      "CAUSE:COUNT or CAUSE:COUNT:CHANGE, such as oom:2:mem*1.5, timeout:1:time*2, node:3:exclude"
    guard let cause = FailureCause(rawValue: parts[0]) else {
      throw SweepError.usage(
        "--retry \(text): the cause is one of \(causes.joined(separator: ", "))\(hint(for: parts[0], among: causes))"
      )
    }
    guard parts.count == 2 || parts.count == 3, let budget = Int(parts[1]), budget > 0 else {
      throw SweepError.usage("--retry \(text): expected \(form)")
    }
    (self.cause, self.budget) = (cause, budget)
    guard parts.count == 3 else {
      (change, factor) = (cause == .node ? .exclude : nil, 1)
      return
    }
    let words = parts[2].split(separator: "*").map(String.init)
    let factor = words.count == 2 ? Double(words[1]) ?? 0 : 1
    guard let change = words.first.flatMap(Change.init), words.count <= 2, factor <= 100,
      change == .exclude ? words.count == 1 : factor > 1
    else { throw SweepError.usage("--retry \(text): expected \(form)") }
    (self.change, self.factor) = (change, factor)
  }

  package var description: String {
    let scale = factor > 1 ? "*\(JSON.number(factor).compact)" : ""
    return "\(cause.rawValue):\(budget)" + (change.map { ":\($0.rawValue)\(scale)" } ?? "")
  }
}

/// Groups failures by cause and applies the rules of the last submission.
package enum Retry {
  package typealias Group = (cause: FailureCause, indices: [Int], options: SubmitOptions)

  /// Applies retry rules to what has failed; what no rule or no budget is left for is exhausted.
  package static func byCause(
    _ statuses: [RunStatus], submissions: [SubmissionRecord], options: SubmitOptions
  ) -> (groups: [Group], exhausted: [Int]) {
    var groups: [Group] = []
    var exhausted: [Int] = []
    for cause in FailureCause.allCases {
      let rule = options.retryRules.first { $0.cause == cause }
      // Configurations that were tried equally often get the same change, once more than before.
      let byTries = Dictionary(
        grouping: statuses.filter { $0.state == .failed && ($0.cause ?? .failed) == cause }
      ) { status in submissions.count { $0.cause == cause && $0.contains(status.index) } }
      for (tries, statuses) in byTries.sorted(by: { $0.key < $1.key }) {
        guard let rule, tries < rule.budget else {
          exhausted += statuses.map(\.index)
          continue
        }
        let nodes = Set(statuses.map(\.node)).subtracting([""]).sorted()
        var changed = submissions.last { $0.cause == nil }?.options ?? options
        changed.retryRules = options.retryRules
        for _ in 0...tries { changed = changed.changed(by: rule, nodes: nodes) }
        groups.append((cause, statuses.map(\.index).sorted(), changed))
      }
    }
    return (groups, exhausted.sorted())
  }
}
