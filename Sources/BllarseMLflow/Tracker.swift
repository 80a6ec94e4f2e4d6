@_exported public import BllarseSupport
public import Foundation
public import Logging

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
  package let settings: TrackingSettings
  /// What takes the place of the settings' store, in tests.
  let store: InMemoryStore?
  private let configuration: TrackerConfiguration
  private let logger: Logger

  /// Where runs go, without user name and password.
  package var trackingURI: String { store?.destination.uri ?? settings.destination.uri }

  /// Makes a tracker; contacts no server.
  ///
  /// - Parameters:
  ///   - configuration: what it needs to know.
  ///   - store: a store in memory that it delivers to, for tests.
  /// - Throws: ``TrackingError`` if a setting cannot be used (for example a `file:` URI).
  public init(
    _ configuration: TrackerConfiguration = TrackerConfiguration(),
    recordingTo store: InMemoryStore? = nil
  ) throws {
    // Journals and mlflow.db would be put into "/".
    if configuration.directory.isEmpty { try Files.requireWorkingDirectory() }
    (self.configuration, self.store, logger) = (configuration, store, configuration.logger)
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

  /// Asks the store for a run, by the store's id or the local one.
  ///
  /// Waits for the answer, a quarter of a minute at most. A run whose journal is here counts as found,
  /// whether or not the store has heard of it.
  package func lookUp(runID id: String) -> RunLookup {
    var settings = settings
    settings.http.timeoutSeconds = min(settings.http.timeoutSeconds, 15)
    do {
      let store: any TrackingStore = try store ?? settings.makeStore(patience: 10)
      defer { store.close() }
      if case .file(let path) = store.destination, !Files.exists(path) { return unstored(id) }
      let run =
        try store.run(id: id)
        ?? store.runs(withTag: Deliverer.localIDTag, value: id, experimentID: nil).first
      guard let run else { return unstored(id) }
      return run.isDeleted ? .deleted : .found(run.status)
    } catch let failure as StoreFailure {
      return .unanswered(failure.message)
    } catch {
      return .unanswered("\(error)")
    }
  }

  private func unstored(_ id: String) -> RunLookup {
    RunParts(runID: id, in: settings.journalDirectory) == nil ? .missing : .found(.running)
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
    let startTime = Host.milliseconds
    writer.append(.start(header), time: startTime)
    try parts.add(directory, time: startTime)
    let delivery = try makeDelivery(directory, after: earlierParts, work: writer.written)
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
    _ directory: RunDirectory, after earlierParts: [RunDirectory], work: Bell
  ) throws -> DeliveryThread? {
    if store == nil, case .file(let path) = settings.destination,
      let kind = Destination.sharedFileSystem(path)
    {
      logger.warning(
        """
        \(path) is on a file system of several machines (\(kind)), where SQLite is not safe \
        while runs write; the run is kept in its journal: \(syncCommand(directory)) puts it \
        into the file
        """)
      return nil
    }
    // A run never gives up: it is stopped.
    return DeliveryThread(
      directory: directory, after: earlierParts,
      store: try store ?? settings.makeStore(patience: .infinity), http: settings.http, work: work,
      logger: logger)
  }

  private func syncCommand(_ directory: RunDirectory) -> String {
    let (path, current) = (directory.path, FileManager.default.currentDirectoryPath + "/")
    let shown = path.hasPrefix(current) ? String(path.dropFirst(current.count)) : path
    return "bllarse-mlflow sync \(Shell.quote(shown)) --to \(Shell.quote(trackingURI))"
  }

  /// `mlflow ui` without arguments looks at ./mlruns instead of ./mlflow.db if that holds an old
  /// file store.
  private func warnAboutFileStore() {
    let folder = configuration.directory + "/mlruns"
    let isOldStore = Files.names(in: folder).contains { name in
      name.allSatisfy(\.isNumber) && Files.exists("\(folder)/\(name)/meta.yaml")
    }
    guard isOldStore else { return }
    logger.warning(
      """
      \(folder) holds an old file store, which `mlflow ui` would look at instead of mlflow.db; \
      start it as `mlflow ui --backend-store-uri \(settings.destination.uri)`
      """)
  }
}

extension TrackingSettings {
  /// The store these settings name; `patience` is as in ``makeClient(patience:)``.
  package func makeStore(
    patience: Double = 30
  ) throws(TrackingError) -> any TrackingStore & RunLister {
    switch destination {
    case .file(let path): SQLiteStore(path: path)
    default: RESTStore(client: try makeClient(patience: patience))
    }
  }

  /// A client for the server these settings name, which has sent nothing yet.
  ///
  /// For `patience` seconds it repeats a request that the server refuses for the moment; a finite one is a
  /// minute at most for each of `MLFLOW_HTTP_REQUEST_MAX_RETRIES`.
  package func makeClient(patience: Double = 30) throws(TrackingError) -> MLflowClient {
    MLflowClient(
      address: destination.uri,
      transport: try CurlTransport(tls: tls, timeoutSeconds: http.timeoutSeconds),
      authorization: authorization, http: http, redaction: redaction,
      patience: http.maxRetries == 0 || patience.isFinite
        ? min(patience, 60 * Double(http.maxRetries)) : patience)
  }
}

/// What a ``Tracker`` needs to know; everything has a default that behaves as MLflow's own client.
public struct TrackerConfiguration: Sendable {
  /// Where runs go: `http(s)://…`, `sqlite:///FILE`, or nil for `MLFLOW_TRACKING_URI`, then the
  /// credentials file, then `mlflow.db` in ``directory``.
  public var trackingURI: String?
  /// The experiment's name; nil for `MLFLOW_EXPERIMENT_NAME`, then `bllarse`.
  public var experiment: String?
  /// The folder that `mlflow.db` and the journals are put in; the current one unless set.
  public var directory: String
  /// Where journals are kept; nil for `BLLARSE_MLFLOW_JOURNAL`, then `mlflow-journal` in ``directory``.
  public var journalDirectory: String?
  /// How long ``Run/finish(status:waitingUpTo:)`` waits for delivery without anything being delivered, or
  /// a server's saying that it may come again soon; in all it waits ten times as long at most.
  public var drainTimeout: Duration = .seconds(30)
  /// The environment settings are read from.
  public var environment: [String: String]
  /// The credentials file; nil for `~/.mlflow/credentials`.
  public var credentialsFile: String?
  /// The home folder of the account, wherever `HOME` points.
  package var accountHome: String? = SystemTags.accountHome
  /// Where warnings go: an unreachable server, a refused value, what is left to deliver.
  public var logger: Logger

  /// Makes a configuration.
  public init(
    trackingURI: String? = nil, experiment: String? = nil,
    directory: String = FileManager.default.currentDirectoryPath,
    environment: [String: String] = ProcessInfo.processInfo.environment,
    logger: Logger = Logger(label: "bllarse.mlflow")
  ) {
    (self.trackingURI, self.experiment, self.directory) = (trackingURI, experiment, directory)
    (self.environment, self.logger) = (environment, logger)
  }
}

/// What a store says of a run that somebody names.
package enum RunLookup: Sendable, Equatable {
  case found(RunStatus)
  case deleted, missing
  /// Why the store does not answer, in one line without secrets.
  case unanswered(String)
}

package typealias Files = FileSystem<TrackingError>

/// A failure of tracking, as one line: what happened, where, what was expected, what to do.
public struct TrackingError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What kind of failure it is.
  public struct Code: Sendable, Hashable {
    let rawValue: String
    /// A setting (variable, option, credentials file) cannot be used.
    public static let settings = Code(rawValue: "settings")
    /// A file of the journal, or the SQLite file, cannot be read or written.
    public static let storage = Code(rawValue: "storage")
    /// Something asked for does not exist.
    public static let notFound = Code(rawValue: "notFound")
    /// The server refused a request, or could not be reached.
    public static let server = Code(rawValue: "server")
  }

  /// What kind of failure it is.
  public let code: Code
  /// The whole message, without any secret.
  public let description: String

  package init(_ code: Code, _ description: String) {
    (self.code, self.description) = (code, description)
  }
}

extension TrackingError: SystemFailure {
  package init(_ error: SystemError) {
    let advice =
      error.operation == .makeDirectory
      ? "; choose another with BLLARSE_MLFLOW_JOURNAL, or free space" : ""
    self.init(.storage, error.description + advice)
  }
}
