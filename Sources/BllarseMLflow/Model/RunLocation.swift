/// Where a run can be looked at: the store, the experiment, the run, its page.
public struct RunLocation: Sendable, Equatable, CustomStringConvertible {
  /// The run's id: the store's own, or the local one while the store has not heard of it.
  public var runID: String
  /// The experiment's name; nil for a run that was begun elsewhere.
  public var experiment: String?
  /// The experiment's id in the store, once it is known.
  public var experimentID: String?
  /// The server's address, or the path of the file; without user name and password.
  public var store: String
  /// The address of the run's page on a server, once the server has the run.
  public var page: String?
  /// The folder that holds the run as long as the store has not heard of it.
  public var journal: String?

  /// Makes a location.
  ///
  /// - Parameters:
  ///   - destination: where the run goes.
  ///   - localID: the run's local id.
  ///   - remoteID: the store's id, once it has one.
  ///   - experiment: the experiment's name.
  ///   - experimentID: the experiment's id in the store.
  ///   - journal: the folder of the run's journal.
  init(
    _ destination: Destination, localID: String, remoteID: String?, experiment: String?,
    experimentID: String?, journal: String
  ) {
    runID = remoteID ?? localID
    self.experiment = experiment
    self.experimentID = experimentID
    switch destination {
    case .server(let address):
      store = address
      if let remoteID, let experimentID {
        page = "\(address)/#/experiments/\(experimentID)/runs/\(remoteID)"
      }
    case .file(let path): store = path
    case .memory: store = destination.uri
    }
    self.journal = remoteID == nil ? journal : nil
  }

  /// One line: `http://HOST, experiment 'NAME', run ID: http://HOST/#/experiments/1/runs/ID`.
  public var description: String { text() }

  /// One line that calls the run by another word and says how it ended.
  ///
  /// - Parameters:
  ///   - kind: what the run is, `parent run` for one.
  ///   - state: how it stands, after its id.
  /// - Returns: the line, without a line feed.
  public func text(_ kind: String = "run", state: String? = nil) -> String {
    let experiment =
      experiment.map { "experiment '\($0.printable)', " }
      ?? experimentID.map { "experiment \($0), " } ?? ""
    let line = "\(store), \(experiment)\(kind) \(runID)\(state.map { " \($0)" } ?? "")"
    if let journal { return "\(line): not there yet, so far in \(journal)" }
    return line + (page.map { ": \($0)" } ?? "")
  }
}

extension Run {
  /// Where the run is, as far as its delivery has come: ask when it has ended.
  public var location: RunLocation {
    RunLocation(
      destination, localID: id, remoteID: remoteID, experiment: experiment,
      experimentID: delivery?.experimentID, journal: directory)
  }
}
