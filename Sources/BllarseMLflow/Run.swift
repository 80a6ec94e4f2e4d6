public import Foundation
import Logging
import Synchronization

/// One run: metrics, parameters, tags and artifacts logged from any thread, without waiting.
///
/// The logging calls never throw (but for a file that is not there) and never wait for a server:
/// what cannot be delivered stays in the journal, and what a server refuses is reported once
/// through the logger. A run that is let go of without `finish` ends FAILED.
public final class Run: Sendable {
  /// The local id, 32 lower-case hexadecimal digits.
  ///
  /// It can be passed on as `MLFLOW_PARENT_RUN_ID` before any server has heard of the run.
  public let id: String
  /// The name shown in the pages.
  public let name: String
  /// The id of the run this one is nested under, as it was given.
  public let parentID: String?
  /// The folder that holds the journal.
  public let directory: String

  private let isResumed: Bool
  private let earlierParts: [RunDirectory]
  /// The experiment's name; nil for a run that was begun elsewhere.
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
    isResumed = header.resumedID != nil
    self.earlierParts = earlierParts
    id = header.resumedID ?? header.localID
    name = header.name
    parentID = header.parentID
    experiment =
      header.resumedID == nil ? header.experiment : earlierParts.first?.header?.experiment
    self.destination = destination
    directory = writer.directory.path
    self.writer = writer
    self.delivery = delivery
    self.redaction = redaction
    self.drainTimeout = drainTimeout
    self.command = command
    self.logger = logger
    if let delivery { writer.afterWriting { delivery.wake() } }
  }

  deinit { end(.end(.failed), waitingUpTo: .zero) }

  /// The id the server gave, once it has; in a SQLite file the same as ``id``.
  public var remoteID: String? { delivery?.runID }

  /// The greatest step of each metric that earlier processes logged into this run.
  ///
  /// Someone who goes on from a checkpoint takes some steps for the second time; these need not be
  /// logged twice. Reads the journals, so ask once.
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

  /// Logs parameters.
  ///
  /// A parameter keeps its first value; another one later is refused.
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

  /// Logs a file as an artifact.
  ///
  /// The file is copied (or linked) beside the journal at once, so that it may change or vanish
  /// afterwards.
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
    let stager = ArtifactStager(directory: writer.directory)
    for artifact in try stager.stage(path, as: artifactPath, staging: staging) {
      append(.artifact(artifact))
    }
  }

  /// Logs a text as an artifact.
  ///
  /// - Throws: ``TrackingError`` if it cannot be written, or the path is not a plain relative one.
  public func log(text: String, as artifactPath: String) throws {
    let stager = ArtifactStager(directory: writer.directory)
    append(.artifact(try stager.stage(text: redaction(text), as: artifactPath)))
  }

  /// Makes everything logged so far survive the process and the machine; call it at every epoch.
  ///
  /// Without it that happens within a second.
  ///
  /// - Parameter waitsForDisk: false hands everything to the system, where it survives this process,
  ///   and returns; the disk has it within a tenth of a second. For epochs of milliseconds.
  public func flush(waitsForDisk: Bool = true) { writer.flush(waitsForDisk: waitsForDisk) }

  // MARK: - Ending

  /// Waits until everything logged so far is delivered.
  ///
  /// - Returns: what is left in the journal.
  @discardableResult
  public func waitForDelivery(upTo limit: Duration) -> DeliveryReport {
    writer.flush()
    return report(waitingUpTo: limit, isEnd: false)
  }

  /// Ends the run and waits for delivery, up to the configuration's drain time.
  ///
  /// Callable from any thread, also from a signal's dispatch source, and more than once: the first
  /// call decides the status.
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
  @discardableResult
  private func end(_ event: Event, waitingUpTo limit: Duration?) -> DeliveryReport {
    if !isEnded.exchange(true, ordering: .acquiringAndReleasing) {
      writer.append(event, time: Clock.milliseconds())
    }
    writer.flush()
    var report = report(
      waitingUpTo: limit ?? drainTimeout, isEnd: true, countsProgress: limit == nil)
    delivery?.stop()
    writer.close()
    guard !report.isComplete else { return report }
    report.command = command
    if let problem = writer.problem {
      report.problem = "the journal in \(directory) cannot be written: \(problem)"
      if !isReported.exchange(true, ordering: .relaxed) {
        logger.error(
          """
          the last events of run '\(name.printable)' are lost: the journal in \(directory) cannot be written \
          (\(problem)); what had been written before is delivered with: \(command)
          """)
      }
    }
    if !isReported.exchange(true, ordering: .relaxed) {
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
    guard let delivery else {
      return DeliveryReport(undeliveredEvents: writer.recordCount)
    }
    return delivery.wait(
      forRecords: writer.recordCount, isEnd: isEnd, upTo: limit, countsProgress: countsProgress)
  }

  // MARK: - Parts

  private func append(_ event: Event, time: Int? = nil) {
    guard !isEnded.load(ordering: .acquiring) else {
      logger.warning("run '\(name.printable)' has ended; what is logged after that is not kept")
      return
    }
    writer.append(event, time: time ?? Clock.milliseconds())
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
      do {
        try log(text: value, as: path)
      } catch {
        logger.warning("\(error)")
      }
    }
    return result
  }
}
