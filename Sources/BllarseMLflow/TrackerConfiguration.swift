public import Foundation
public import Logging

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
    self.trackingURI = trackingURI
    self.experiment = experiment
    self.directory = directory
    self.environment = environment
    self.logger = logger
  }
}
