public import struct Foundation.Date

/// One run: metrics, parameters, tags and artifacts logged from any thread, without waiting.
///
/// The logging calls never throw and never wait for a server: what cannot be delivered stays in the
/// journal, and what a server would refuse is reported once through the logger.
public final class Run: Sendable {
  /// The local id, 32 lower-case hexadecimal digits. It can be passed on as `MLFLOW_PARENT_RUN_ID`
  /// before any server has heard of the run.
  public let id: String
  /// The name shown in the pages.
  public let name: String

  init(id: String, name: String) {
    self.id = id
    self.name = name
  }

  /// The id the server gave, once it has; in a SQLite file the same as ``id``.
  public var remoteID: String? { nil }

  /// Logs metrics of one step, stamped with the present time.
  ///
  /// - Parameters:
  ///   - metrics: values by name; NaN and infinities are kept.
  ///   - step: for example the epoch, counted from 1; may be negative.
  ///   - time: when they were measured.
  public func log(metrics: [String: Double], step: Int = 0, at time: Date? = nil) {}

  /// Logs one metric.
  public func log(metric name: String, _ value: Double, step: Int = 0) {}

  /// Logs parameters. A parameter keeps its first value; another one later is refused.
  public func log(parameters: [String: any CustomStringConvertible]) {}

  /// Sets tags; the last value of a tag counts.
  public func set(tags: [String: String]) {}

  /// Logs a file as an artifact. The file is copied (or linked) beside the journal at once, so that
  /// it may change or vanish afterwards.
  ///
  /// - Parameters:
  ///   - path: the file, or a folder, which is logged with everything in it.
  ///   - artifactPath: where it appears, `checkpoints/head.safetensors` for example; nil for the
  ///     file's name.
  ///   - staging: ``ArtifactStaging/link`` saves the copy of a file that is never changed in place.
  public func log(
    artifact path: String, as artifactPath: String? = nil, staging: ArtifactStaging = .copy
  ) throws {}

  /// Logs a text as an artifact.
  public func log(text: String, as artifactPath: String) throws {}

  /// Makes everything logged so far survive the process and the machine; call it at every epoch.
  public func flush() {}

  /// Waits until everything logged so far is delivered.
  ///
  /// - Returns: what is left in the journal.
  @discardableResult
  public func waitForDelivery(upTo limit: Duration) -> DeliveryReport { DeliveryReport() }

  /// Ends the run and waits for delivery, up to the configuration's drain time.
  ///
  /// Callable from any thread, also from a signal's dispatch source, and more than once: the first
  /// call decides the status.
  ///
  /// - Parameters:
  ///   - status: FINISHED, FAILED or KILLED.
  ///   - limit: how long to wait; nil for the configuration's drain time.
  /// - Returns: what is left in the journal, and the command that delivers it.
  @discardableResult
  public func finish(
    status: RunStatus = .finished, waitingUpTo limit: Duration? = nil
  ) -> DeliveryReport { DeliveryReport() }

  /// Leaves the run RUNNING, for another process to go on with or to end; waits as `finish` does.
  @discardableResult
  public func detach(waitingUpTo limit: Duration? = nil) -> DeliveryReport { DeliveryReport() }
}
