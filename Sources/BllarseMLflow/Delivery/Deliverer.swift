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
  package internal(set) var state: DeliveryState
  package private(set) var header: RunHeader?
  /// When the run started, in milliseconds since 1970.
  private(set) var startTime = 0
  /// Sequence numbers that the journal lacks in its middle.
  package private(set) var missingRecords = 0
  private var expectedSequence = 0
  let store: any TrackingStore
  let logger: Logger
  let aliases: [String: String]
  var reader: JournalReader?
  var lookahead: JournalReader.Entry?
  var window: DeliveryWindow?
  var serverErrors = 0
  /// What was learnt on the way to making the run, kept for when a step of it is repeated.
  var making = Making()
  /// Whether this object has made the run, so that its state is known without asking.
  var hasMadeRun = false
  /// Whether the journal was begun by this process, and so has never been delivered before.
  let isNew: Bool

  /// How far making the run has come.
  struct Making {
    /// Whether the run has to be looked for first: an earlier attempt may have made it.
    var needsLook = true
    /// Whether the last attempt repeated one that failed, without looking.
    var isRepeated = false
    /// The parent as the store knows it, once that has been asked; nil within for an unknown one.
    var parent: String??
  }
  var hasRecreated = false
  var warnedKeys: Set<String> = []
  let statePath: String

  /// Takes the journal up where it was left; `aliases` are local ids by those other destinations gave.
  package init(
    directory: RunDirectory, store: any TrackingStore, logger: Logger,
    aliases: [String: String] = [:], isNew: Bool = false
  ) {
    self.directory = directory
    self.store = store
    self.logger = logger
    self.aliases = aliases
    statePath = directory.deliveryState(to: store.destination)
    let known = DeliveryState(path: statePath)
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
      if known != parent {
        try store.set(tags: [KeyValue(key: Self.parentTag, value: known)], runID: runID)
      }
      state.isParentPending = false
      save()
    }
    if state.isCreationUncertain {
      for twin in try store.runs(
        withTag: Self.localIDTag, value: header.localID, experimentID: state.experimentID)
      where twin.id != runID {
        try store.delete(runID: twin.id)
        logger.notice("run \(twin.id) was made by a request whose answer was lost; deleted")
      }
      state.isCreationUncertain = false
      save()
    }
  }

  /// Whether another process went on with the run after that time.
  func isContinued(after time: Int) -> Bool {
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
    do {
      var first = try JournalReader(path: directory.journal)
      guard let entry = first.next(isFinal: isFinal) else {
        damageWithoutHeader = first.damage
        return
      }
      guard case .start(let header) = entry.record.event else {
        throw StoreFailure.refused(
          """
          \(directory.journal): the first record, which says what run this is, is damaged; \
          the other records are kept
          """)
      }
      self.header = header
      state.localID = header.localID
      startTime = entry.record.time
      reader = try JournalReader(path: directory.journal, offset: state.offset)
      expectedSequence = state.nextSequence
    } catch let error as StoreFailure {
      throw error
    } catch {
      throw .blocked("\(error)")
    }
  }

  /// Reads the journal from its beginning again.
  func restart() throws(TrackingError) {
    window = nil
    lookahead = nil
    expectedSequence = 0
    reader = try JournalReader(path: directory.journal)
  }

  /// Fills the window as far as the journal and the limits go.
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
    state.offset = window.endOffset
    state.nextSequence = window.nextSequence
    state.refusedItems = []
    state.lastTime = max(state.lastTime, window.lastTime)
    self.window = nil
    save()
  }

  func save() {
    do {
      try state.save(to: statePath)
    } catch {
      // The journal and the destination are unharmed; the next delivery starts further back.
      logger.warning("\(error); delivery will repeat some events later")
    }
  }
}
