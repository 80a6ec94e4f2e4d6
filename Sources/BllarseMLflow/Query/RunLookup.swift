/// What a store says of a run that somebody names.
public enum RunLookup: Sendable, Equatable {
  /// It is there, in this state.
  case found(RunStatus)
  /// It was deleted, and can be restored.
  case deleted
  /// The store has no such run.
  case missing
  /// The store does not answer: why, in one line without secrets.
  case unanswered(String)
}

extension Tracker {
  /// Asks the store for a run, by the store's id or the local one.
  ///
  /// Waits for the answer, a quarter of a minute at most. A run whose journal is here counts as found,
  /// whether or not the store has heard of it.
  public func lookUp(runID id: String) -> RunLookup {
    var settings = settings
    settings.http.timeoutSeconds = min(settings.http.timeoutSeconds, 15)
    do {
      let store: any TrackingStore =
        if let store { store } else { try settings.makeStore(patience: 10) }
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
    RunParts(runID: id, in: journalDirectory) == nil ? .missing : .found(.running)
  }
}
