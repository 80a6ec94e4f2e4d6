import Foundation
import Logging

// Which run at the store belongs to the journal: made, found again, gone on with.
extension Deliverer {
  func ensureRun(_ header: RunHeader) throws(StoreFailure) -> StoredRun {
    if let id = state.runID {
      try adoptChildren(header)
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
    // Nobody can have been started under a run, and have arrived before it, within its first seconds.
    let isAtOnce = isNew && Clock.milliseconds() - startTime < Self.adoptionMilliseconds
    state.isAdoptionPending =
      run.id != header.localID && header.parentID == nil && header.resumedID == nil && !isAtOnce
    save()
    try adoptChildren(header)
    return run
  }

  /// A child of a run that is made within this time asks for its parent later than that, at its end.
  private static let adoptionMilliseconds = 10_000

  /// Nests children that arrived first, under the id this run had before the server gave one.
  func adoptChildren(_ header: RunHeader) throws(StoreFailure) {
    guard state.isAdoptionPending, let id = state.runID else { return }
    for child in try store.runs(
      withTag: Self.parentTag, value: header.localID, experimentID: state.experimentID)
    {
      try store.set(tags: [KeyValue(key: Self.parentTag, value: id)], runID: child.id)
    }
    state.isAdoptionPending = false
    save()
  }

  /// Makes the run, unless an earlier attempt did.
  ///
  /// Where a request fails, the next attempt repeats that one: what came before it is kept.
  private func makeRun(_ header: RunHeader) throws(StoreFailure) -> StoredRun {
    let known = state.experimentID
    let experimentID =
      if let known { known } else {
        try store.experimentID(named: header.experiment)
      }
    state.experimentID = experimentID
    if making.needsLook {
      let made = try store.runs(
        withTag: Self.localIDTag, value: header.localID, experimentID: experimentID)
      if let run = made.min(by: { $0.id < $1.id }) {
        state.isCreationUncertain = state.isCreationUncertain || made.count > 1
        return run
      }
      making.needsLook = false
    }
    var tags = header.tags
    tags[Self.localIDTag] = header.localID
    if let parent = header.parentID {
      let resolved = if let known = making.parent { known } else { try resolve(parent) }
      making.parent = .some(resolved)
      tags[Self.parentTag] = resolved ?? parent
      state.isParentPending = resolved == nil
    }
    let wasUncertain = state.isCreationUncertain
    state.isCreationUncertain = true
    save()
    do {
      let run = try store.createRun(
        NewRun(
          localID: header.localID, name: header.name, experimentID: experimentID,
          user: header.user, startTime: startTime, tags: tags))
      if !wasUncertain { state.isCreationUncertain = false }
      hasMadeRun = true
      return run
    } catch {
      switch error {
      case .unavailable(_, _, mayHaveArrived: false):
        state.isCreationUncertain = wasUncertain
        save()
      case .unavailable, .serverError:
        // Repeated as it is once, and after that the run is looked for first, in turns: a server that
        // fails every second request takes one of them. A twin is deleted at the end.
        making.needsLook = making.isRepeated
        making.isRepeated.toggle()
      case .refused, .runMissing:
        state.isCreationUncertain = wasUncertain
        // The experiment that was found earlier may be gone since.
        state.experimentID = nil
        save()
        if known != nil {
          state.experimentID = try store.experimentID(named: header.experiment)
        }
      default: break
      }
      throw error
    }
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
    making = Making()
    hasMadeRun = false
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
