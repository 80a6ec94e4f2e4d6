import Foundation
package import Logging

/// Delivers one journal to one store, step by step.
///
/// Each step either moves the state forward or throws and can be repeated; waiting and giving up is
/// the caller's business.
package final class Deliverer {
  /// The tag that ties a run on a server to its journal.
  package static let localIDTag = "bllarse.local_run_id"
  static let parentTag = "mlflow.parentRunId"

  package let directory: RunDirectory
  package private(set) var state: DeliveryState
  package private(set) var header: RunHeader?
  /// When the run started, in milliseconds since 1970.
  private(set) var startTime = 0
  /// Sequence numbers that the journal lacks in its middle.
  package private(set) var missingRecords = 0
  private var expectedSequence = 0
  private let store: any TrackingStore
  private let logger: Logger
  private let aliases: [String: String]
  private var reader: JournalReader?
  private var lookahead: JournalReader.Entry?
  private var window: DeliveryWindow?
  private var serverErrors = 0
  /// What was learnt on the way to making the run, kept for when a step of it is repeated.
  private var making = Making()
  /// Whether this object has made the run, so that its state is known without asking.
  private var hasMadeRun = false
  /// Whether the journal was begun by this process, and so has never been delivered before.
  private let isNew: Bool
  private var hasRecreated = false
  private var warnedKeys: Set<String> = []
  private var statePath: String { directory.deliveryState(to: store.destination) }

  private struct Making {
    /// Whether the run has to be looked for first: an earlier attempt may have made it.
    var needsLook = true
    /// Whether the last attempt repeated one that failed, without looking.
    var isRepeated = false
    /// The parent as the store knows it, once that has been asked; nil within for an unknown one.
    var parent: String??
  }

  /// Takes the journal up where it was left; `aliases` are local ids by those other destinations gave.
  package init(
    directory: RunDirectory, store: any TrackingStore, logger: Logger,
    aliases: [String: String] = [:], isNew: Bool = false
  ) {
    (self.directory, self.store, self.logger, self.aliases) = (directory, store, logger, aliases)
    let known = DeliveryState(path: directory.deliveryState(to: store.destination))
    state = known ?? DeliveryState(uri: store.destination.uri, localID: directory.name)
    self.isNew = isNew && known == nil
    making.needsLook = !self.isNew
  }

  package var damage: JournalReader.Damage { reader?.damage ?? damageWithoutHeader }
  /// What is wrong with a journal in which no record can be read.
  private var damageWithoutHeader = JournalReader.Damage()

  /// Whether the run's end, or its being left to another process, has been delivered.
  package var isEnded: Bool { state.endStatus != nil || state.isDetached }

  /// Makes the run, or finds it, before any of its values are sent.
  package func prepare() throws(StoreFailure) {
    try readHeader(isFinal: false)
    if let header { _ = try ensureRun(header) }
  }

  /// Delivers the next records, and says whether there were any; `isFinal` means that nobody writes
  /// the journal any more.
  package func step(isFinal: Bool) throws(StoreFailure) -> Bool {
    try readHeader(isFinal: isFinal)
    guard let header else { return false }
    try collect(isFinal: isFinal)
    guard window != nil else { return false }
    let run = try ensureRun(header)
    // What came while the run was being made, or a refused request waited, travels along.
    try collect(isFinal: isFinal)
    guard let window else { return false }
    do {
      try send(window, run: run)
      serverErrors = 0
    } catch {
      switch error {
      case .serverError: serverErrors += 1
      case .runMissing:
        try forgetRun(error)
        return true
      default: break
      }
      throw error
    }
    acknowledge(window)
    return true
  }

  /// What has to be done once everything is delivered: a parent that was unknown, and runs made
  /// twice by an attempt whose answer was lost.
  package func settle() throws(StoreFailure) {
    guard let header, let runID = state.runID else { return }
    try adoptChildren(header)
    if state.isParentPending, let parent = header.parentID, let known = try resolve(parent) {
      if known != parent { try setTag(Self.parentTag, known, runID: runID) }
      state.isParentPending = false
      save()
    }
    if state.isCreationUncertain {
      for twin in try runs(Self.localIDTag, header.localID) where twin.id != runID {
        try store.delete(runID: twin.id)
        logger.notice("run \(twin.id) was made by a request whose answer was lost; deleted")
      }
      state.isCreationUncertain = false
      save()
    }
  }

  private func isContinued(after time: Int) -> Bool {
    header.map { RunParts(of: directory, header: $0).isContinued(directory, after: time) } ?? false
  }

  /// Ends a run whose process is gone without having ended it.
  package func closeAbandoned() throws(StoreFailure) {
    guard let header, !isEnded, !isContinued(after: state.lastTime) else { return }
    let run = try ensureRun(header)
    let present = hasMadeRun ? nil : try store.run(id: run.id)
    // A process that went on with the run may have ended it since.
    if present?.status.isTerminal != true {
      try store.update(runID: run.id, status: .killed, endTime: max(startTime, state.lastTime))
    }
    state.endStatus = .killed
    save()
  }

  // MARK: - Reading

  func readHeader(isFinal: Bool) throws(StoreFailure) {
    guard header == nil else { return }
    var first = try openJournal()
    guard let entry = first.next(isFinal: isFinal) else {
      damageWithoutHeader = first.damage
      return
    }
    guard case .start(let header) = entry.record.event else {
      throw .refused(
        """
        \(directory.journal): the first record, which says what run this is, is damaged; \
        the other records are kept
        """)
    }
    self.header = header
    (state.localID, startTime) = (header.localID, entry.record.time)
    reader = try openJournal(at: state.offset)
    expectedSequence = state.nextSequence
  }

  private func openJournal(at offset: Int = 0) throws(StoreFailure) -> JournalReader {
    do { return try JournalReader(path: directory.journal, offset: offset) } catch {
      throw .blocked("\(error)")
    }
  }

  private func collect(isFinal: Bool) throws(StoreFailure) {
    var next = window ?? DeliveryWindow()
    while let entry = lookahead ?? reader?.next(isFinal: isFinal) {
      lookahead = nil
      guard next.add(entry) else {
        lookahead = entry
        break
      }
      missingRecords += max(0, entry.record.sequence - expectedSequence)
      expectedSequence = entry.record.sequence + 1
    }
    guard !next.isEmpty else { return }
    window = next
  }

  private func acknowledge(_ window: DeliveryWindow) {
    (state.offset, state.nextSequence) = (window.endOffset, window.nextSequence)
    (state.refusedItems, state.lastTime) = ([], max(state.lastTime, window.lastTime))
    self.window = nil
    save()
  }

  private func save() {
    do { try state.save(to: statePath) } catch {
      // The journal and the destination are unharmed; the next delivery starts further back.
      logger.warning("\(error); delivery will repeat some events later")
    }
  }

  // MARK: - The run at the store

  private func ensureRun(_ header: RunHeader) throws(StoreFailure) -> StoredRun {
    if let id = state.runID {
      try adoptChildren(header)
      return StoredRun(
        id: id, experimentID: state.experimentID ?? "", artifactURI: state.artifactURI ?? "",
        status: .running)
    }
    let run =
      if let resumed = header.resumedID { try resumeRun(resumed) } else { try makeRun(header) }
    (state.runID, state.experimentID, state.artifactURI) = (
      run.id, run.experimentID, run.artifactURI
    )
    // Nobody can have been started under a run, and have arrived before it, within its first ten seconds; a
    // child that starts then asks for its parent later than that, at its end.
    let isAtOnce = isNew && Host.milliseconds - startTime < 10_000
    state.isAdoptionPending =
      run.id != header.localID && header.parentID == nil && header.resumedID == nil && !isAtOnce
    save()
    try adoptChildren(header)
    return run
  }

  /// Nests children that arrived first, under the id this run had before the server gave one.
  private func adoptChildren(_ header: RunHeader) throws(StoreFailure) {
    guard state.isAdoptionPending, let id = state.runID else { return }
    for child in try runs(Self.parentTag, header.localID) {
      try setTag(Self.parentTag, id, runID: child.id)
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
      if let known { known } else { try store.experimentID(named: header.experiment) }
    state.experimentID = experimentID
    if making.needsLook {
      let made = try runs(Self.localIDTag, header.localID)
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
        if known != nil { state.experimentID = try store.experimentID(named: header.experiment) }
      default: break
      }
      throw error
    }
  }

  private func resumeRun(_ id: String) throws(StoreFailure) -> StoredRun {
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

  /// The runs with a tag in the experiment, or in all while that is not known.
  private func runs(_ tag: String, _ value: String) throws(StoreFailure) -> [StoredRun] {
    try store.runs(withTag: tag, value: value, experimentID: state.experimentID)
  }

  private func resolve(_ id: String) throws(StoreFailure) -> String? {
    if try store.run(id: id) != nil { return id }
    let local = aliases[id] ?? id
    if local != id, try store.run(id: local) != nil { return local }
    // A journal beside this one: it may be delivered, or wait for it.
    if let sibling = directory.sibling(local), Files.exists(sibling.journal),
      let found = try introduce(sibling)
    {
      return found
    }
    if let run = try runs(Self.localIDTag, local).first { return run.id }
    guard state.experimentID != nil else { return nil }
    return try store.runs(withTag: Self.localIDTag, value: local, experimentID: nil).first?.id
  }

  /// Makes a sibling's run at the store, so that a child finds its parent there.
  private func introduce(_ sibling: RunDirectory) throws(StoreFailure) -> String? {
    if let id = DeliveryState(path: sibling.deliveryState(to: store.destination))?.runID {
      return id
    }
    let path = sibling.deliveryLease(to: store.destination)
    guard let lease = try? Lease.acquire(path, role: "sync") else { return nil }
    defer { lease.release() }
    let deliverer = Deliverer(directory: sibling, store: store, logger: logger, aliases: aliases)
    try deliverer.readHeader(isFinal: true)
    guard let header = deliverer.header, header.parentID != directory.name, header.resumedID == nil
    else { return nil }
    return try deliverer.ensureRun(header).id
  }

  /// The store has lost the run (a new database, for example): it is made again from the journal,
  /// which holds all of it.
  private func forgetRun(_ failure: StoreFailure) throws(StoreFailure) {
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
    (making, hasMadeRun) = (Making(), false)
    save()
    (window, lookahead, expectedSequence) = (nil, nil, 0)
    reader = try openJournal()
  }

  private func deletedFailure(_ id: String) -> StoreFailure {
    .deleted(
      """
      the run \(id) at \(store.destination.uri) is deleted; restore it with \
      `MLFLOW_TRACKING_URI=\(store.destination.uri) mlflow runs restore --run-id \(id)` and sync
      """)
  }

  // MARK: - Sending

  private func send(_ window: DeliveryWindow, run: StoredRun) throws(StoreFailure) {
    let store = store
    if try sendTogether(window, run: run) { return }
    for (items, limit) in [
      (window.metrics, DeliveryWindow.maxMetrics), (window.parameters, DeliveryWindow.maxPairs),
      (window.tags, DeliveryWindow.maxPairs),
    ] {
      let acceptable = items.filter(isAcceptable)
      for start in stride(from: 0, to: acceptable.count, by: limit) {
        let batch = acceptable[start..<min(start + limit, acceptable.count)]
        try isolate(batch, runID: run.id) { items throws(StoreFailure) in
          try store.log(ValueBatch(items), runID: run.id)
        }
      }
    }
    guard let record = window.single else { return }
    switch record.event {
    case .artifact(let artifact): try upload(artifact, sequence: record.sequence, run: run)
    case .end(let status):
      // How a run ended that another process went on with is for that one to say.
      if !isContinued(after: record.time) {
        try store.update(runID: run.id, status: status, endTime: record.time)
      }
      state.endStatus = status
    case .detached: state.isDetached = true
    case .start, .metrics, .parameters, .tags: break
    }
  }

  /// Sends all values of a window in one request; false where that cannot be, or is refused: then they
  /// are sent by kind, and what is refused is set apart.
  private func sendTogether(_ window: DeliveryWindow, run: StoredRun) throws(StoreFailure) -> Bool {
    let kinds = [window.metrics, window.parameters, window.tags]
    guard window.single == nil, kinds.count(where: { !$0.isEmpty }) > 1, window.isOneBatch else {
      return false
    }
    do {
      try store.log(ValueBatch(kinds.joined().filter(isAcceptable)), runID: run.id)
      return true
    } catch {
      if blamesItems(error) { return false }
      throw error
    }
  }

  /// Whether a failure may be the fault of what is sent.
  ///
  /// An answer of 500 may mean that the server is ill or that one item makes it stumble: the latter is
  /// taken for possible after some repetitions.
  private func blamesItems(_ failure: StoreFailure) -> Bool {
    switch failure {
    case .refused: true
    case .serverError: serverErrors >= 4
    default: false
    }
  }

  private func upload(
    _ artifact: StagedArtifact, sequence: Int, run: StoredRun
  ) throws(StoreFailure) {
    let item = DeliveryWindow.Item(
      sequence: sequence, kind: .artifact, key: artifact.path, text: artifact.file)
    guard isAcceptable(item) else { return }
    let file = directory.artifacts + "/" + artifact.file
    guard let size = Files.size(of: file) else {
      return refuse(item, message: "\(file) is missing")
    }
    let store = store
    do {
      try isolate([item], runID: run.id) { _ throws(StoreFailure) in
        try store.upload(file: file, size: size, path: artifact.path, run: run)
      }
    } catch {
      guard case .unsupported(let message) = error else { throw error }
      refuse(item, message: message)
    }
  }

  /// Whether an item may be sent: neither refused before, nor certain to be.
  private func isAcceptable(_ item: DeliveryWindow.Item) -> Bool {
    if !state.refusedItems.isEmpty, state.refusedItems.contains(item.label) { return false }
    guard let fault = item.fault else { return true }
    refuse(item, message: "the name \(fault)")
    return false
  }

  /// Sends items together; when the store refuses them, halves them until the refused ones stand
  /// alone, and goes on with the rest.
  ///
  /// Where the server stumbles, a harmless write decides: if that succeeds, the item is to blame.
  private func isolate(
    _ items: ArraySlice<DeliveryWindow.Item>, runID: String,
    using send: (ArraySlice<DeliveryWindow.Item>) throws(StoreFailure) -> Void
  ) throws(StoreFailure) {
    guard let first = items.first else { return }
    let failure: StoreFailure
    do {
      return try send(items)
    } catch {
      guard blamesItems(error) else { throw error }
      failure = error
    }
    try checkRun(runID, after: failure)
    if items.count == 1 {
      // What the server stumbles over gets three more chances.
      for _ in 0..<3 {
        guard case .serverError = failure else { break }
        do { return try send(items) } catch {
          guard case .serverError = error else { throw error }
        }
        usleep(200_000)
      }
      return refuse(first, message: failure.message)
    }
    let middle = items.startIndex + items.count / 2
    try isolate(items[..<middle], runID: runID, using: send)
    try isolate(items[middle...], runID: runID, using: send)
  }

  /// Tells a refused item from a run, or a server, that takes nothing at all.
  private func checkRun(_ id: String, after failure: StoreFailure) throws(StoreFailure) {
    switch failure {
    case .refused:
      guard let run = try store.run(id: id) else { throw .runMissing(failure.message) }
      if run.isDeleted { throw deletedFailure(id) }
    default: try setTag("bllarse.probe", "\(serverErrors)", runID: id)
    }
  }

  private func setTag(_ key: String, _ value: String, runID: String) throws(StoreFailure) {
    try store.log(ValueBatch(tags: [KeyValue(key: key, value: value)]), runID: runID)
  }

  /// Notes an item as refused: kept in a file beside the journal, reported once for each name.
  private func refuse(_ item: DeliveryWindow.Item, message: String) {
    state.refusedCount += 1
    state.refusedItems.insert(item.label)
    let path = directory.refusals(by: store.destination)
    if warnedKeys.count < 1000, warnedKeys.insert("\(item.kind)/\(item.key)").inserted {
      let key = item.key.printable(upTo: 300)
      logger.warning("\(item.kind) '\(key)' is refused: \(message); kept in \(path)")
    }
    let json = JSON.object([
      "seq": .int(item.sequence), "kind": .string(item.kind.rawValue), "key": .string(item.key),
      (item.kind == .artifact ? "file" : "value"): item.point.map { .double($0.value) }
        ?? .string(item.text),
      "time": item.point.map { .int($0.time) }, "step": item.point.map { .int($0.step) },
      "message": .string(message),
    ])
    let line = json.bytes + [UInt8(ascii: "\n")]
    let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    if descriptor >= 0 {
      line.withUnsafeBytes { _ = Files.write($0, to: descriptor) }
      close(descriptor)
    }
    save()
  }
}
