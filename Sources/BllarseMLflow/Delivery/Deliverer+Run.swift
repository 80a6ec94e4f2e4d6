import Foundation
import Logging

// Which run at the store belongs to the journal: made, found again, gone on with.
extension Deliverer {
  func ensureRun(_ header: RunHeader) throws(StoreFailure) -> StoredRun {
    if let id = state.runID {
      return StoredRun(
        id: id, experimentID: state.experimentID ?? "", artifactURI: state.artifactURI ?? "",
        status: .running)
    }
    let run: StoredRun
    if let resumed = header.resumedID {
      run = try resumeRun(resumed, header: header)
    } else {
      run = try makeRun(header)
    }
    state.runID = run.id
    state.experimentID = run.experimentID
    state.artifactURI = run.artifactURI
    save()
    // Children may have arrived first, under the id this run had before the server gave one.
    if run.id != header.localID, header.parentID == nil, header.resumedID == nil {
      for child in try store.runs(
        withTag: Self.parentTag, value: header.localID, experimentID: run.experimentID)
      {
        try store.set(tags: [KeyValue(key: Self.parentTag, value: run.id)], runID: child.id)
      }
    }
    return run
  }

  /// Makes the run, unless an earlier attempt did.
  private func makeRun(_ header: RunHeader) throws(StoreFailure) -> StoredRun {
    let experimentID = try store.experimentID(named: header.experiment)
    let known = try store.runs(
      withTag: Self.localIDTag, value: header.localID, experimentID: experimentID)
    if let run = known.min(by: { $0.id < $1.id }) {
      state.isCreationUncertain = state.isCreationUncertain || known.count > 1
      return run
    }
    var tags = header.tags
    tags[Self.localIDTag] = header.localID
    if let parent = header.parentID {
      let resolved = try resolve(parent)
      tags[Self.parentTag] = resolved ?? parent
      state.isParentPending = resolved == nil
    }
    let isFirstAttempt = !state.isCreationUncertain
    state.isCreationUncertain = true
    state.experimentID = experimentID
    save()
    let run = try store.createRun(
      NewRun(
        localID: header.localID, name: header.name, experimentID: experimentID,
        user: header.user, startTime: startTime, tags: tags))
    if isFirstAttempt { state.isCreationUncertain = false }
    return run
  }

  private func resumeRun(_ id: String, header: RunHeader) throws(StoreFailure) -> StoredRun {
    guard let known = try resolve(id), let run = try store.run(id: known) else {
      if let first = directory.sibling(aliases[id] ?? id), Files.exists(first.journal) {
        throw .unavailable("the run '\(id)' to go on with is being made by its own process")
      }
      throw .runMissing(
        """
        the run '\(id)' to go on with (MLFLOW_RUN_ID) is not known at \(store.destination.uri); \
        deliver its own journal first, or correct the id
        """)
    }
    if run.isDeleted { throw deletedFailure(run.id) }
    if run.status != .running { try store.update(runID: run.id, status: .running, endTime: nil) }
    return run
  }

  /// The id by which the store knows a run, given that or a local id.
  func resolve(_ id: String) throws(StoreFailure) -> String? {
    if try store.run(id: id) != nil { return id }
    let local = aliases[id] ?? id
    if local != id, try store.run(id: local) != nil { return local }
    // A journal beside this one: it may be delivered, or wait for it.
    if let sibling = directory.sibling(local), Files.exists(sibling.journal),
      let found = try introduce(sibling)
    {
      return found
    }
    let inExperiment = try store.runs(
      withTag: Self.localIDTag, value: local, experimentID: state.experimentID)
    if let run = inExperiment.first { return run.id }
    guard state.experimentID != nil else { return nil }
    return try store.runs(withTag: Self.localIDTag, value: local, experimentID: nil).first?.id
  }

  /// Makes a sibling's run at the store, so that a child finds its parent there.
  private func introduce(_ sibling: RunDirectory) throws(StoreFailure) -> String? {
    if let id = DeliveryState(path: sibling.deliveryState(to: store.destination))?.runID {
      return id
    }
    guard
      let lease = try? Lease.acquire(
        sibling.deliveryLease(to: store.destination), role: "sync")
    else { return nil }
    defer { lease.release() }
    let deliverer = Deliverer(
      directory: sibling, store: store, logger: logger, aliases: aliases)
    try deliverer.readHeader(isFinal: true)
    guard let header = deliverer.header, header.parentID != directory.name,
      header.resumedID == nil
    else { return nil }
    return try deliverer.ensureRun(header).id
  }

  /// The store has lost the run (a new database, for example): it is made again from the journal,
  /// which holds all of it.
  func forgetRun(_ failure: StoreFailure) throws(StoreFailure) {
    guard let header, header.resumedID == nil, !hasRecreated else {
      throw .blocked("\(failure.message); the run vanished at \(store.destination.uri)")
    }
    hasRecreated = true
    logger.warning(
      """
      the run \(state.runID ?? "") is gone at \(store.destination.uri) (\(failure.message)); \
      delivering it again from its journal
      """)
    state = DeliveryState(uri: store.destination.uri, localID: header.localID)
    save()
    do {
      try restart()
    } catch {
      throw .blocked("\(error)")
    }
  }

  func deletedFailure(_ id: String) -> StoreFailure {
    .deleted(
      """
      the run \(id) at \(store.destination.uri) is deleted; restore it with \
      `MLFLOW_TRACKING_URI=\(store.destination.uri) mlflow runs restore --run-id \(id)` and sync
      """)
  }
}
