import Dispatch
public import Foundation
import Logging
import Synchronization

/// One run: metrics, parameters, tags and artifacts logged from any thread, without waiting.
///
/// The logging calls never throw (but for a file that is not there) and never wait for a server:
/// what cannot be delivered stays in the journal, and what a server refuses is reported once
/// through the logger. A run that is let go of without `finish` ends FAILED.
public final class Run: Sendable {
  /// The local id, 32 lower-case hexadecimal digits: `MLFLOW_PARENT_RUN_ID` takes it at once.
  public let id: String
  /// The name shown in the pages.
  public let name: String
  /// The folder that holds the journal.
  public let directory: String

  private let isResumed: Bool
  private let earlierParts: [RunDirectory]
  let experiment: String?
  let destination: Destination
  let delivery: DeliveryThread?
  private let writer: JournalWriter
  private let redaction: Redaction
  private let drainTimeout: Duration
  private let command: String
  private let logger: Logger
  private let isEnded = Atomic<Bool>(false)
  private let isReported = Atomic<Bool>(false)

  init(
    header: RunHeader, earlierParts: [RunDirectory], writer: JournalWriter,
    destination: Destination, delivery: DeliveryThread?, redaction: Redaction,
    drainTimeout: Duration, command: String, logger: Logger
  ) {
    (isResumed, self.earlierParts) = (header.resumedID != nil, earlierParts)
    id = header.resumedID ?? header.localID
    name = header.name
    experiment = isResumed ? earlierParts.first?.start?.header.experiment : header.experiment
    (self.destination, self.delivery, self.writer) = (destination, delivery, writer)
    directory = writer.directory.path
    (self.redaction, self.drainTimeout) = (redaction, drainTimeout)
    (self.command, self.logger) = (command, logger)
  }

  deinit { _ = end(.end(.failed), waitingUpTo: .zero) }

  /// The id the server gave, once it has; in a SQLite file the same as ``id``.
  public var remoteID: String? { delivery?.runID }

  /// Where the run is, as far as its delivery has come: ask when it has ended.
  package var location: RunLocation { RunLocation(self) }

  /// The greatest step of each metric that earlier processes logged into this run.
  ///
  /// Who goes on from a checkpoint need not log these again. Reads the journals, so ask once.
  ///
  /// - Returns: no steps for a new run; nil for one that was begun elsewhere.
  public func lastSteps() -> [String: Int]? {
    if isResumed, earlierParts.isEmpty { return nil }
    var steps: [String: Int] = [:]
    for part in earlierParts {
      guard var reader = try? JournalReader(path: part.journal) else { continue }
      while let entry = reader.next(isFinal: true) {
        guard case .metrics(let metrics, let step) = entry.record.event else { continue }
        for metric in metrics { steps[metric.key] = max(steps[metric.key] ?? step, step) }
      }
    }
    return steps
  }

  // MARK: - Logging

  /// Logs metrics of one step.
  ///
  /// - Parameters:
  ///   - metrics: values by name; NaN and infinities are kept.
  ///   - step: for example the epoch, counted from 1; may be negative.
  ///   - time: when they were measured; nil for now.
  public func log(metrics: [String: Double], step: Int = 0, at time: Date? = nil) {
    guard !metrics.isEmpty else { return }
    append(
      .metrics(metrics.map { Event.Metric(key: $0.key, value: $0.value) }, step: step),
      // A time comes from anywhere, a file for one: the year 5138 is late enough.
      time: time.map { Int(max(0, min($0.timeIntervalSince1970 * 1000, 1e14)).rounded()) })
  }

  /// Logs one metric.
  public func log(metric name: String, _ value: Double, step: Int = 0) {
    append(.metrics([Event.Metric(key: name, value: value)], step: step))
  }

  /// Logs parameters; a parameter keeps its first value, and another one later is refused.
  ///
  /// Values beyond MLflow's limit of 6000 characters are cut there, which a server would do without
  /// saying so; the whole then becomes the artifact `long_values/parameters/NAME.txt`.
  public func log(parameters: [String: any CustomStringConvertible]) {
    guard !parameters.isEmpty else { return }
    let texts = parameters.mapValues { redaction($0.description) }
    append(.parameters(shortened(texts, to: Naming.maxParameterLength, kind: "parameters")))
  }

  /// Sets tags; the last value of a tag counts.
  ///
  /// Values beyond 8000 characters are treated as those of parameters are.
  public func set(tags: [String: String]) {
    guard !tags.isEmpty else { return }
    append(.tags(shortened(redaction(tags), to: Naming.maxTagLength, kind: "tags")))
  }

  /// Sets the description shown at the top of the run's page, in Markdown.
  public func set(description: String) { set(tags: ["mlflow.note.content": description]) }

  /// Logs a file as an artifact: it is copied beside the journal at once, and may vanish afterwards.
  ///
  /// - Parameters:
  ///   - path: the file, or a folder, which is logged with everything in it.
  ///   - artifactPath: where it appears, `checkpoints/head.safetensors` for example; nil for the
  ///     file's name.
  ///   - staging: ``ArtifactStaging/link`` saves the copy of a file that is never changed in place.
  /// - Throws: ``TrackingError`` if the file cannot be read or copied, or the path is not a plain
  ///   relative one.
  public func log(
    artifact path: String, as artifactPath: String? = nil, staging: ArtifactStaging = .copy
  ) throws {
    for artifact in try writer.directory.stage(path, as: artifactPath, staging: staging) {
      append(.artifact(artifact))
    }
  }

  /// Logs a text as an artifact.
  ///
  /// - Throws: ``TrackingError`` if it cannot be written, or the path is not a plain relative one.
  public func log(text: String, as artifactPath: String) throws {
    append(.artifact(try writer.directory.stage(text: redaction(text), as: artifactPath)))
  }

  /// Makes everything logged so far survive the process and the machine; call it at every epoch.
  ///
  /// Without it that happens within a second.
  ///
  /// - Parameter waitsForDisk: false hands everything to the system, where it survives this process,
  ///   and returns; the disk has it within a tenth of a second. For epochs of milliseconds.
  public func flush(waitsForDisk: Bool = true) { writer.flush(waitsForDisk: waitsForDisk) }

  // MARK: - Ending

  /// Waits until everything logged so far is delivered; returns what is left in the journal.
  @discardableResult
  public func waitForDelivery(upTo limit: Duration) -> DeliveryReport {
    writer.flush()
    return report(waitingUpTo: limit, isEnd: false)
  }

  /// Ends the run and waits for delivery, up to the configuration's drain time.
  ///
  /// Callable from any thread and more than once: the first call decides the status.
  ///
  /// - Parameters:
  ///   - status: FINISHED, FAILED or KILLED.
  ///   - limit: how long to wait; nil for the configuration's drain time, which begins again with each
  ///     request that the store takes, up to ten times in all.
  /// - Returns: what is left in the journal, and the command that delivers it.
  @discardableResult
  public func finish(
    status: RunStatus = .finished, waitingUpTo limit: Duration? = nil
  ) -> DeliveryReport {
    end(.end(status), waitingUpTo: limit)
  }

  /// Leaves the run RUNNING, for another process to go on with or to end; waits as `finish` does.
  @discardableResult
  public func detach(waitingUpTo limit: Duration? = nil) -> DeliveryReport {
    end(.detached, waitingUpTo: limit)
  }

  /// The first call decides how the run ends; a later one waits in its own way, so that a signal
  /// during a long wait is not held up by it.
  private func end(_ event: Event, waitingUpTo limit: Duration?) -> DeliveryReport {
    if !isEnded.exchange(true, ordering: .acquiringAndReleasing) {
      writer.append(event, time: Host.milliseconds)
    }
    writer.flush()
    var report = report(
      waitingUpTo: limit ?? drainTimeout, isEnd: true, countsProgress: limit == nil)
    delivery?.stop()
    writer.close()
    guard !report.isComplete else { return report }
    report.command = command
    let isNews = !isReported.exchange(true, ordering: .relaxed)
    if let problem = writer.problem {
      report.problem = "the journal in \(directory) cannot be written: \(problem)"
      guard isNews else { return report }
      logger.error(
        """
        the last events of run '\(name.printable)' are lost: the journal in \(directory) cannot be written \
        (\(problem)); what had been written before is delivered with: \(command)
        """)
    } else if isNews {
      logger.warning(
        """
        \(report.undeliveredEvents) events of run '\(name.printable)' are still local\
        \(report.problem.map { " (\($0))" } ?? ""); deliver them with: \(command)
        """)
    }
    return report
  }

  private func report(
    waitingUpTo limit: Duration, isEnd: Bool, countsProgress: Bool = false
  ) -> DeliveryReport {
    let count = writer.recordCount
    return delivery?.wait(
      forRecords: count, isEnd: isEnd, upTo: limit, countsProgress: countsProgress)
      ?? DeliveryReport(undeliveredEvents: count)
  }

  // MARK: - Parts

  private func append(_ event: Event, time: Int? = nil) {
    guard !isEnded.load(ordering: .acquiring) else {
      logger.warning("run '\(name.printable)' has ended; what is logged after that is not kept")
      return
    }
    writer.append(event, time: time ?? Host.milliseconds)
  }

  private func shortened(
    _ values: [String: String], to limit: Int, kind: String
  ) -> [String: String] {
    var result = values
    for (key, value) in values {
      guard let head = Naming.shortened(value, to: limit) else { continue }
      result[key] = head
      let path = "long_values/\(kind)/\(key).txt"
      logger.warning(
        "\(kind) '\(key)' is longer than MLflow's limit of \(limit); the whole is in \(path)")
      do { try log(text: value, as: path) } catch { logger.warning("\(error)") }
    }
    return result
  }
}

/// Where a run can be looked at: the store, the experiment, the run, its page.
package struct RunLocation: Sendable, CustomStringConvertible {
  /// The store's own, or the local one while the store has not heard of the run.
  private let runID: String
  /// The experiment's name; nil for a run that was begun elsewhere.
  package var experiment: String?
  private let experimentID: String?
  /// The server's address, or the path of the file; without user name and password.
  private let store: String
  /// The address of the run's page on a server, once the server has the run.
  private var page: String?
  /// The folder that holds the run as long as the store has not heard of it.
  private let journal: String?

  init(_ run: Run) {
    let remoteID = run.remoteID
    runID = remoteID ?? run.id
    (experiment, experimentID) = (run.experiment, run.delivery?.experimentID)
    journal = remoteID == nil ? run.directory : nil
    if case .file(let path) = run.destination { store = path } else { store = run.destination.uri }
    if case .server(let address) = run.destination, let remoteID, let experimentID {
      page = "\(address)/#/experiments/\(experimentID)/runs/\(remoteID)"
    }
  }

  /// One line: `http://HOST, experiment 'NAME', run ID: http://HOST/#/experiments/1/runs/ID`.
  package var description: String { text() }

  /// The line with another word for the run, `parent run` for one, and its state after its id.
  package func text(_ kind: String = "run", state: String? = nil) -> String {
    let experiment =
      experiment.map { "experiment '\($0.printable)', " }
      ?? experimentID.map { "experiment \($0), " } ?? ""
    let line = "\(store), \(experiment)\(kind) \(runID)\(state.map { " \($0)" } ?? "")"
    if let journal { return "\(line): not there yet, so far in \(journal)" }
    return line + (page.map { ": \($0)" } ?? "")
  }
}

/// The state of a run, spelled as MLflow spells it.
public enum RunStatus: String, Sendable, CaseIterable, Codable {
  /// The run is going on, or waits for its start.
  case running = "RUNNING", scheduled = "SCHEDULED"
  /// The run ended as it should, with an error, or from outside: by a signal or a time limit.
  case finished = "FINISHED", failed = "FAILED", killed = "KILLED"

  /// Whether nothing more is expected of a run in this state.
  package var isTerminal: Bool { self == .finished || self == .failed || self == .killed }
}

/// Which run a new run is nested under.
public enum RunParent: Sendable, Equatable {
  /// The run named by `MLFLOW_PARENT_RUN_ID`, if that variable is set and not empty.
  case environment
  /// None: a run at the top level.
  case none
  /// The run with this id: the id a server gave, or the local ``Run/id`` of a run of this package.
  case run(String)
}

/// How far the delivery of a run has come.
public struct DeliveryReport: Sendable, Equatable {
  /// Events that are in the journal only.
  public var undeliveredEvents = 0
  /// Items the server refused; they are kept beside the journal.
  public var refusedItems = 0
  /// Why delivery stopped, if it did: one line, without secrets.
  public var problem: String?
  /// The command that delivers what is left.
  public var command: String?

  /// Whether everything has arrived.
  public var isComplete: Bool { undeliveredEvents == 0 }
}

/// How an artifact is kept until it is delivered.
public enum ArtifactStaging: Sendable {
  /// By a copy: the original may be changed afterwards.
  case copy
  /// By a hard link, or a copy where the file system has none: the original may be replaced or
  /// removed, but must not be written to in place.
  case link
}

// MARK: - Signals

/// Listens to signals that ask the process to end; ``Run/endOnTermination(signals:status:waitingUpTo:report:)``
/// makes one.
public final class TerminationHandler: Sendable {
  private let sources: Mutex<[any DispatchSourceSignal]>
  private let signals: [Int32]

  /// Calls `action` with each of the signals that arrives, on a thread of its own, where everything is
  /// allowed.
  ///
  /// A signal that the process was started to ignore stays ignored: `nohup` means it.
  fileprivate init(signals: [Int32], action: @escaping @Sendable (Int32) -> Void) {
    let signals = signals.filter { !Self.isIgnored($0) }
    self.signals = signals
    sources = Mutex(Self.listen(signals, action))
  }

  private static func isIgnored(_ number: Int32) -> Bool {
    var present = sigaction()
    guard sigaction(number, nil, &present) == 0 else { return false }
    // Handlers are compared as addresses: SIG_IGN is the number 1.
    return unsafeBitCast(present.__sigaction_handler.sa_handler, to: Int.self) == 1
  }

  private static func listen(
    _ signals: [Int32], _ action: @escaping @Sendable (Int32) -> Void
  ) -> sending [any DispatchSourceSignal] {
    let queue = DispatchQueue(label: "bllarse.termination")
    var sources: [any DispatchSourceSignal] = []
    for number in signals {
      // A handler that does nothing, and not SIG_IGN, which child processes would inherit.
      signal(number) { _ in }
      let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
      source.setEventHandler { action(number) }
      source.resume()
      sources.append(source)
    }
    return sources
  }

  /// Stops listening; the signals get back their usual effect.
  public func cancel() {
    sources.withLock { sources in
      for source in sources { source.cancel() }
      sources = []
    }
    for number in signals { signal(number, SIG_DFL) }
  }
}

extension Run {
  /// Ends the run when a signal ends the process, and then lets the signal have its effect.
  ///
  /// - Parameters:
  ///   - signals: those to listen to.
  ///   - status: KILLED, or what the run should end as.
  ///   - limit: how long to wait for delivery; SLURM kills after KillWait, 30 seconds by default.
  ///   - report: called with the run when it has ended.
  /// - Returns: keep it for as long as this is wanted, and cancel it before the process ends.
  public func endOnTermination(
    signals: [Int32] = [SIGTERM, SIGINT, SIGHUP], status: RunStatus = .killed,
    waitingUpTo limit: Duration = .seconds(5), report: @escaping @Sendable (Run) -> Void = { _ in }
  ) -> TerminationHandler {
    TerminationHandler(signals: signals) { [weak self] number in
      if let self {
        finish(status: status, waitingUpTo: limit)
        report(self)
      }
      // Dispatch blocks the signal in every thread it can; here it must get through.
      var set = sigset_t()
      sigemptyset(&set)
      sigaddset(&set, number)
      signal(number, SIG_DFL)
      pthread_sigmask(SIG_UNBLOCK, &set, nil)
      raise(number)
    }
  }
}
