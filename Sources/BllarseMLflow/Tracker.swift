import Foundation
import Logging

/// Starts runs and keeps what they log: first in a journal on disk, then where the URI points.
///
/// ```swift
/// let tracker = try Tracker(TrackerConfiguration(experiment: "digits"))
/// let run = try tracker.startRun(name: "first", tags: ["group_id": "g1"])
/// run.log(parameters: ["seed": 137, "loss_fn": "IBProbit"])
/// for epoch in 1...10 { run.log(metrics: ["loss": 0.5], step: epoch) }
/// run.finish()
/// ```
///
/// Nothing here waits for a server, but for the time that ``Run/finish(status:waitingUpTo:)`` is
/// given at the end. A tracker has no global state: several may live in one process.
public final class Tracker: Sendable {
  let settings: TrackingSettings
  /// What takes the place of the settings' store, in tests.
  let store: InMemoryStore?
  private let configuration: TrackerConfiguration
  private let logger: Logger

  /// Where runs go, without user name and password.
  public var trackingURI: String { store?.destination.uri ?? settings.destination.uri }

  /// Whether nothing was configured, and runs go to `mlflow.db` in the directory.
  public var isDefaultDestination: Bool { settings.isDefaultDestination }

  /// The experiment runs are put in.
  public var experiment: String { settings.experiment }

  /// The folder journals are kept in.
  public var journalDirectory: String { settings.journalDirectory }

  /// Makes a tracker.
  ///
  /// Contacts no server.
  ///
  /// - Throws: ``TrackingError`` if a setting cannot be used (for example a `file:` URI).
  public convenience init(_ configuration: TrackerConfiguration = TrackerConfiguration()) throws {
    try self.init(configuration, store: nil)
  }

  /// Makes a tracker that delivers to a store in memory, for tests.
  public convenience init(
    _ configuration: TrackerConfiguration, recordingTo store: InMemoryStore
  ) throws {
    try self.init(configuration, store: store)
  }

  private init(_ configuration: TrackerConfiguration, store: InMemoryStore?) throws {
    // Journals and mlflow.db would be put into "/".
    if configuration.directory.isEmpty { try Files.requireWorkingDirectory() }
    self.configuration = configuration
    self.store = store
    logger = configuration.logger
    settings = try TrackingSettings(configuration)
    for warning in settings.warnings { logger.warning("\(warning)") }
    if settings.isDefaultDestination, store == nil { warnAboutFileStore() }
  }

  /// Starts a run: its journal exists on disk when this returns.
  ///
  /// A run started while `MLFLOW_RUN_ID` is set goes on with that run instead of making one.
  ///
  /// - Parameters:
  ///   - name: shown in the pages; a readable one is made up if nil.
  ///   - parent: the run it is nested under.
  ///   - tags: tags set from the start, beside MLflow's own (user, source, git commit).
  /// - Returns: the run.
  /// - Throws: ``TrackingError`` if the journal cannot be made.
  public func startRun(
    name: String? = nil, parent: RunParent = .environment, tags: [String: String] = [:]
  ) throws -> Run {
    if let id = settings.resumedRunID { return try resumeRun(id: id, tags: tags) }
    let parentID: String? =
      switch parent {
      case .environment: settings.parentRunID
      case .none: nil
      case .run(let id): id.isEmpty ? nil : id
      }
    return try begin(name: name, parentID: parentID, resumedID: nil, tags: tags)
  }

  /// Goes on with a run that exists already: sets it to RUNNING and logs into it.
  ///
  /// - Parameters:
  ///   - id: the id a server gave, or the local ``Run/id``, also of a run in another process that
  ///     has not reached the server yet.
  ///   - tags: tags to set on it.
  /// - Returns: the run.
  /// - Throws: ``TrackingError`` if the journal cannot be made.
  public func resumeRun(id: String, tags: [String: String] = [:]) throws -> Run {
    try begin(name: nil, parentID: nil, resumedID: id, tags: tags)
  }

  /// Runs `body` with a new run, which ends FINISHED, or FAILED if `body` throws.
  public func withRun<Result>(
    name: String? = nil, parent: RunParent = .environment, tags: [String: String] = [:],
    _ body: (Run) throws -> Result
  ) throws -> Result {
    let run = try startRun(name: name, parent: parent, tags: tags)
    do {
      let result = try body(run)
      run.finish(status: .finished)
      return result
    } catch {
      run.finish(status: .failed)
      throw error
    }
  }

  // MARK: - Parts

  private func begin(
    name: String?, parentID: String?, resumedID: String?, tags: [String: String]
  ) throws -> Run {
    let id = UUID().uuidString.lowercased().replacing("-", with: "")
    let directory = RunDirectory(path: settings.journalDirectory + "/" + id)
    let writer = try JournalWriter(directory: directory, logger: logger)
    let user = SystemTags.user(environment: configuration.environment)
    let program = CommandLine.arguments.first ?? "bllarse"
    let system = SystemTags.make(
      user: user, program: URL(fileURLWithPath: program).lastPathComponent,
      directory: configuration.directory)
    let header = RunHeader(
      localID: id, name: settings.redaction(name ?? RunName.random()),
      experiment: settings.experiment, parentID: parentID, resumedID: resumedID, user: user,
      tags: resumedID == nil ? system : [:])
    let parts = RunParts(of: directory, header: header)
    let earlierParts = parts.before(directory)
    let startTime = Clock.milliseconds()
    writer.append(.start(header), time: startTime)
    try parts.add(directory, time: startTime)
    let delivery = try makeDelivery(directory, after: earlierParts)
    let run = Run(
      header: header, earlierParts: earlierParts, writer: writer,
      destination: store?.destination ?? settings.destination, delivery: delivery,
      redaction: settings.redaction,
      drainTimeout: configuration.drainTimeout, command: syncCommand(directory), logger: logger)
    run.set(tags: tags)
    writer.flush()
    return run
  }

  private func makeDelivery(
    _ directory: RunDirectory, after earlierParts: [RunDirectory]
  ) throws -> DeliveryThread? {
    if let store {
      return start(
        DeliveryThread(
          directory: directory, after: earlierParts, store: store, http: settings.http,
          logger: logger, isNew: true))
    }
    switch settings.destination {
    case .file(let path):
      if let kind = Destination.sharedFileSystem(path) {
        logger.warning(
          """
          \(path) is on a file system of several machines (\(kind)), where SQLite is not safe \
          while runs write; the run is kept in its journal: \(syncCommand(directory)) puts it \
          into the file
          """)
        return nil
      }
      return start(
        DeliveryThread(
          directory: directory, after: earlierParts, store: SQLiteStore(path: path),
          http: settings.http, logger: logger, isNew: true))
    case .server:
      // A run never gives up: it is stopped.
      let client = try settings.makeClient(patience: .infinity)
      return start(
        DeliveryThread(
          directory: directory, after: earlierParts, store: RESTStore(client: client),
          http: settings.http, logger: logger, isNew: true))
    case .memory: return nil
    }
  }

  private func start(_ thread: DeliveryThread) -> DeliveryThread {
    thread.start()
    return thread
  }

  private func syncCommand(_ directory: RunDirectory) -> String {
    let current = FileManager.default.currentDirectoryPath + "/"
    let path =
      directory.path.hasPrefix(current)
      ? String(directory.path.dropFirst(current.count)) : directory.path
    return "bllarse-mlflow sync \(Shell.quote(path)) --to \(Shell.quote(trackingURI))"
  }

  /// `mlflow ui` without arguments looks at ./mlruns instead of ./mlflow.db if that holds an old
  /// file store.
  private func warnAboutFileStore() {
    let folder = configuration.directory + "/mlruns"
    guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder),
      names.contains(where: { name in
        name.allSatisfy(\.isNumber) && Files.exists("\(folder)/\(name)/meta.yaml")
      })
    else { return }
    logger.warning(
      """
      \(folder) holds an old file store, which `mlflow ui` would look at instead of mlflow.db; \
      start it as `mlflow ui --backend-store-uri \(settings.destination.uri)`
      """)
  }
}

extension TrackingSettings {
  /// A client for the server these settings name.
  ///
  /// - Parameter patience: for how many seconds it repeats a request that the server refuses for the
  ///   moment; a finite one is a minute at most for each of `MLFLOW_HTTP_REQUEST_MAX_RETRIES`.
  /// - Returns: the client, which has sent nothing yet.
  /// - Throws: ``TrackingError`` if libcurl cannot be used.
  package func makeClient(patience: Double = 30) throws(TrackingError) -> MLflowClient {
    MLflowClient(
      address: destination.uri,
      transport: try CurlTransport(tls: tls, timeoutSeconds: http.timeoutSeconds),
      authorization: authorization, http: http, redaction: redaction,
      patience: http.maxRetries == 0 || patience.isFinite
        ? min(patience, 60 * Double(http.maxRetries)) : patience)
  }
}
