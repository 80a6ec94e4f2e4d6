import Synchronization

/// Runs the tasks of a sweep somewhere: on this machine, on a cluster.
///
/// An executor takes arrays of tasks, tells what it knows of them, and cancels them. All else is common to
/// all executors: the order of the configurations and their division into arrays, retries, the state on
/// disk, and the run of a task itself, which is one call of ``SingleRun`` (`bllarse-sweep run-config`).
///
///     struct CloudExecutor: Executor {
///       static let name = "cloud"
///       static let keys = ["image"]                 // executor: {name: cloud, cpus: 2, image: …}
///       let options: SubmitOptions                  // options.resources.cpus, options["image"]
///       …
///     }
///     try Executors.register(CloudExecutor.self)
///
/// What ``states(of:)`` does not know is no fault: the runs' own files come first.
public protocol Executor: SendableMetatype {
  /// The name in `executor:` of a sweep file and in the records of submissions; lower case.
  static var name: String { get }
  /// The name in messages.
  static var title: String { get }
  /// The keys of `executor:` beside `name` and ``resourceKeys``.
  static var keys: [String] { get }
  /// Which of ``Resources/keys`` it heeds.
  static var resourceKeys: [String] { get }
  /// Checks the value of one of its own keys.
  ///
  /// - Throws: ``SweepError`` whose text is what was expected, such as `a positive number`.
  static func validate(_ key: String, _ value: JSON) throws

  /// Variables whose values are recorded with a sweep's provenance; none is a secret.
  static var recordedVariables: [String] { get }

  /// Makes an executor for a sweep, and asks nobody yet; `options` has its own keys by their names.
  ///
  /// - Throws: ``SweepError`` for options that it cannot use together.
  init(_ directory: SweepDirectory, options: SubmitOptions, runner: any CommandRunner) throws
  /// What was asked for as it is used and recorded: paths are absolute, say.
  var options: SubmitOptions { get }

  /// How much it takes at once.
  ///
  /// - Throws: ``SweepError`` when nothing could be submitted.
  func limits() throws -> ExecutorLimits
  /// Looks for what tasks would miss, before anything is sent.
  ///
  /// - Parameter memory: the memory of the configuration that needs most, if that is known.
  /// - Returns: lines for the user: what each task gets, what only the nodes can tell.
  /// - Throws: ``SweepError`` that names what is missing, and what to do.
  func check(memory: CheckReport.MemoryEstimate?) throws -> [String]
  /// What ``submit(_:)`` would do, for a person: commands and scripts.
  func describe(_ array: TaskArray) throws -> String
  /// Sends one array of tasks; each must find ``TaskArray/environment`` in its own.
  ///
  /// - Returns: the job's id, which with the number of a task names the task; and the command that
  ///   submitted it, for the record.
  /// - Throws: ``SweepError`` with the reason, when it is refused.
  func submit(_ array: TaskArray) throws -> (job: String, command: [String])
  /// What it knows of the tasks of some jobs.
  func states(of jobs: [String]) -> TaskStates
  /// Ends tasks, those that wait too.
  ///
  /// - Returns: the commands for that, a line each.
  /// - Throws: ``SweepError`` when it cannot.
  func cancel(_ tasks: [TaskReference], dryRun: Bool) throws -> [String]
  /// The task that a process with this environment belongs to; nil for none of this executor's.
  static func task(in environment: [String: String]) -> TaskIdentity?

  /// The files that hold what a task printed outside of its run.
  func logs(of task: TaskReference) -> [String]
  /// Why a task was killed, when only its own log tells.
  func verdict(on task: TaskReference) -> (cause: FailureCause, reason: String)?
}

extension Executor {
  /// The name.
  public static var title: String { name }
  /// None.
  public static var keys: [String] { [] }
  /// All.
  public static var resourceKeys: [String] { Resources.keys }
  /// None.
  public static var recordedVariables: [String] { [] }
  /// Takes every value.
  public static func validate(_ key: String, _ value: JSON) throws {}
  /// Misses nothing.
  public func check(memory: CheckReport.MemoryEstimate?) throws -> [String] { [] }
  /// The commands of the tasks.
  public func describe(_ array: TaskArray) throws -> String {
    array.chunk.tasks.map { Shell.join(array.command(for: $0)) + "\n" }.joined()
  }
  /// None.
  public func logs(of task: TaskReference) -> [String] { [] }
  /// Not known.
  public func verdict(on task: TaskReference) -> (cause: FailureCause, reason: String)? { nil }
}

/// An executor that runs a command once jobs are over, so that retry rules are applied while nobody waits.
public protocol FollowUpExecutor: Executor {
  /// Submits a command with the last array of a submission, to run when jobs are over, whatever became of
  /// them; returns its job's id.
  ///
  /// - Throws: ``SweepError`` with the reason, when it is refused.
  func submit(_ command: [String], with array: TaskArray, after jobs: [String]) throws -> String
  /// Cancels that job, which may be over.
  func cancelFollowUp(_ job: String) throws
}

/// One array of tasks, each of which runs one configuration.
public struct TaskArray: Sendable {
  /// The sweep.
  public let sweep: SweepDirectory
  /// The number of the submission, and its directory for scripts and the like.
  public let submission: (number: Int, path: String)
  /// The position of the array in the submission, and how many there are.
  public let position: (index: Int, count: Int)
  /// The numbers of the tasks and their configurations.
  public let chunk: Chunk
  /// A file with the index of each configuration, a line each; nil when the index is `task + offset`.
  ///
  /// A task finds its own in line `task + offset + 1`.
  public let orderFile: String?
  /// The job of the array before this one.
  public let previousJob: String?
  /// The variables that the tasks need.
  public let environment: [String: String]
  /// The path of bllarse-sweep, which must lie where the tasks run.
  public let executable: String

  /// The words that run a task's configuration.
  public func command(for task: Int) -> [String] {
    let index = zip(chunk.tasks, chunk.indices).first { $0.0 == task }?.1
    return [executable, "run-config", sweep.path, "\(index ?? task + chunk.offset)"]
  }
}

/// How much an executor takes at once.
public struct ExecutorLimits: Sendable, Equatable {
  /// One more than the highest number of a task; a larger submission becomes several arrays.
  public var maxArraySize: Int
  /// How many more tasks this user may submit; nil when nothing limits them.
  public var submitLimit: Int?
  /// What that limit comes from, for messages.
  public var submitLimitName = ""
  /// Whether tasks look up their configuration in ``TaskArray/orderFile``.
  public var readsOrder = true

  /// Makes limits.
  public init(maxArraySize: Int = .max) { self.maxArraySize = maxArraySize }
}

/// Which task of which job was to run a configuration.
public struct TaskReference: Sendable, Hashable {
  /// The executor's name.
  public let executor: String
  /// The job's id.
  public let job: String
  /// The task's number in the job.
  public let task: Int
  /// `4711_3`.
  public var name: String { "\(job)_\(task)" }

  /// Makes a reference.
  public init(executor: String, job: String, task: Int) {
    (self.executor, self.job, self.task) = (executor, job, task)
  }
}

/// The task that a process belongs to, as an attempt's claim records it.
public struct TaskIdentity: Sendable, Hashable {
  /// The executor's name.
  public var executor: String
  /// The id of this task's own job.
  public var job: String
  /// The array that the task is part of, by its job's id.
  public var arrayJob: String?
  /// The task's number in the array.
  public var arrayTask: Int?
  /// How often the executor has started the task again: 0 for the first time.
  public var restarts: Int
  /// The machine.
  public var node: String?

  /// Makes an identity.
  public init(
    executor: String, job: String, arrayJob: String? = nil, arrayTask: Int? = nil,
    restarts: Int = 0, node: String? = nil
  ) {
    (self.executor, self.job, self.arrayJob) = (executor, job, arrayJob)
    (self.arrayTask, self.restarts, self.node) = (arrayTask, restarts, node)
  }

  init?(_ json: JSON) {
    guard let job = json["job"]?.stringValue else { return nil }
    self.init(
      executor: json["executor"]?.stringValue ?? Executors.unnamed, job: job,
      arrayJob: json["array_job"]?.stringValue, arrayTask: json["array_task"]?.intValue,
      restarts: json["restarts"]?.intValue ?? 0, node: json["node"]?.stringValue)
  }

  var json: JSON {
    .object([
      "executor": .string(executor), "job": .string(job), "array_job": .optional(arrayJob),
      "array_task": .optional(arrayTask), "restarts": .int(restarts), "node": .optional(node),
    ])
  }

  /// The task; nil for a job that is no array.
  var reference: TaskReference? {
    guard let arrayJob, let arrayTask else { return nil }
    return TaskReference(executor: executor, job: arrayJob, task: arrayTask)
  }

  /// `4711_3`, or `4711` for a job that is no array.
  package var name: String { reference?.name ?? job }
}

/// What an executor says of a task.
public struct TaskState: Sendable, Equatable {
  /// Where the task stands.
  public enum Phase: String, Sendable {
    case pending, running
    /// The program is over, and the job cleans up.
    case completing
    case completed, failed, cancelled
  }

  /// Where the task stands.
  public var phase: Phase
  /// The executor's own word for that, shown where it says more than the phase.
  public var word: String
  /// What kept it from finishing, where that is not the program itself.
  public var cause: FailureCause?
  /// Why it waits or has ended.
  public var reason = ""
  /// The machine.
  public var node = ""
  /// The exit code, when it is known.
  public var exitCode: Int?

  /// Makes a state.
  public init(_ phase: Phase, word: String? = nil, reason: String = "", node: String = "") {
    (self.phase, self.word, self.reason) = (phase, word ?? phase.rawValue, reason)
    self.node = node
  }

  /// Whether the executor still has the task.
  public var isActive: Bool { [.pending, .running, .completing].contains(phase) }
  /// Whether the word says nothing that the phase does not.
  var isPlain: Bool { phase != .cancelled && word.lowercased() == phase.rawValue }
}

/// What an executor says of the tasks of a sweep.
public struct TaskStates: Sendable {
  /// The tasks that it knows.
  public var tasks: [TaskReference: TaskState] = [:]
  /// Why that is incomplete; nil when it has answered.
  public var problem: String?

  /// Knows nothing.
  public init() {}
}

/// The executors that sweep files and records can name.
public enum Executors {
  /// Where `submit` sends tasks.
  public static let submitting: any Executor.Type = SlurmExecutor.self
  /// Where `run` starts them.
  public static let running: any Executor.Type = LocalExecutor.self
  /// The executor of records that name none: those of versions that knew one only.
  static let unnamed = SlurmExecutor.name

  private static let table = Mutex<[String: any Executor.Type]>(
    [running, submitting].reduce(into: [:]) { $0[$1.name] = $1 })

  /// Adds an executor, or another implementation of one.
  ///
  /// - Throws: ``SweepError`` (64) for a name that is no word.
  public static func register(_ type: any Executor.Type) throws {
    let isWord = type.name.allSatisfy { $0.isASCII && ($0.isLowercase || $0.isNumber || $0 == "_") }
    guard isWord, !type.name.isEmpty else {
      throw SweepError.usage(
        "an executor's name is lower case letters, digits and '_'; found '\(type.name)'")
    }
    table.withLock { $0[type.name] = type }
  }

  /// The names, in alphabetical order.
  public static var names: [String] { table.withLock { $0.keys.sorted() } }

  /// The executor of a name.
  ///
  /// - Throws: ``SweepError`` (64) with the names that there are.
  public static func type(named name: String) throws -> any Executor.Type {
    if let type = table.withLock({ $0[name] }) { return type }
    throw SweepError.usage(
      "unknown executor '\(name)'\(hint(for: name, among: names)) (known: \(names.joined(separator: ", ")))"
    )
  }

  static var recordedVariables: [String] {
    table.withLock { $0.values.flatMap { $0.recordedVariables } }.sorted()
  }

  static func title(of name: String) -> String { (try? type(named: name))?.title ?? name }

  /// The task that a process belongs to, whichever executor's it is; nil outside of a task.
  public static func task(in environment: [String: String]) -> TaskIdentity? {
    table.withLock { Array($0.values) }.lazy.compactMap { $0.task(in: environment) }.first
  }
}
