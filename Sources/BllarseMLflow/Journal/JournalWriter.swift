import Foundation
import Logging
import Synchronization

/// Appends records to a journal.
///
/// Appending only puts the record into a list: a training's thread comes here with a cold cache, and
/// each line of code it needs not run counts. A thread formats and writes within a tenth of a second
/// and syncs within a second, and ``flush(waitsForDisk:)`` does both at once.
final class JournalWriter: Sendable {
  let directory: RunDirectory

  private struct Pending {
    var records: [Record] = []
    var nextSequence = 0
    /// A flush wants the disk soon, and does not wait for it.
    var isSyncWanted = false
    /// The thread waits for the first record.
    var isAsleep = true
  }
  private struct File {
    let descriptor: Int32
    var lines = JSON.Writer()  // what the system has not taken yet
    var spare: [Record] = []  // an empty list with room
    /// Writes so far, and how many of them are certain to be on the disk.
    var writeCount = 0
    var syncedCount = 0
    var lastSync = ContinuousClock.now
    var lastRenewal = ContinuousClock.now
    var isClosed = false
    /// Why the system did not take the last write.
    var problem: String?
  }
  /// More pending records than this and the caller writes them himself: only a disk slower than the
  /// training gets there, and then it is better to wait than to fill the memory.
  private static let maxPending = 4096

  private let pending = Mutex(Pending())
  private let file: Mutex<File>
  private let lease: Lease
  private let bell = Bell()
  private let isStopping = Atomic<Bool>(false)
  private let isStopped = DispatchSemaphore(value: 0)
  private let logger: Logger
  private let listener = Mutex<Listener?>(nil)

  /// A closure in a struct: bare in a generic container it would be wrapped once more each time the
  /// container is looked into, until calling it overflows the stack.
  private struct Listener {
    let action: @Sendable () -> Void
  }

  /// Makes the run's folder and its journal.
  init(directory: RunDirectory, logger: Logger) throws(TrackingError) {
    self.directory = directory
    self.logger = logger
    try Files.makeDirectory(directory.path)
    guard let lease = try Lease.acquire(directory.writerLease, role: "run") else {
      throw TrackingError(
        .storage, "the journal in \(directory.path) is being written by another process")
    }
    self.lease = lease
    let descriptor = open(directory.journal, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw TrackingError(.storage, "cannot make \(directory.journal): \(SystemError.text())")
    }
    file = Mutex(File(descriptor: descriptor))
    // The folder's own entry must survive a power loss too.
    let folder = open(directory.path, O_RDONLY | O_CLOEXEC)
    if folder >= 0 {
      fsync(folder)
      Foundation.close(folder)
    }
    let thread = Thread { [self] in work() }
    thread.name = "mlflow-journal"
    thread.stackSize = 1 << 19
    thread.start()
  }

  /// Calls `action` on the writer's thread after lines have reached the file.
  func afterWriting(_ action: @escaping @Sendable () -> Void) {
    listener.withLock { $0 = Listener(action: action) }
  }

  /// The number of records so far.
  var recordCount: Int { pending.withLock { $0.nextSequence } }

  /// Adds a record; returns its sequence number.
  @discardableResult
  func append(_ event: Event, time: Int) -> Int {
    let (sequence, count, wasAsleep) = pending.withLock { state in
      let sequence = state.nextSequence
      state.records.append(Record(sequence: sequence, time: time, event: event))
      state.nextSequence += 1
      let wasAsleep = state.isAsleep
      state.isAsleep = false
      return (sequence, state.records.count, wasAsleep)
    }
    if wasAsleep { bell.ring() }
    if count >= Self.maxPending { writeOut() }
    return sequence
  }

  /// Writes and syncs everything appended so far; false if the file system does not take it.
  ///
  /// Without waiting for the disk it is only handed to the system, which outlives this process, and
  /// synced within a tenth of a second.
  @discardableResult
  func flush(waitsForDisk: Bool = true) -> Bool {
    guard waitsForDisk else {
      pending.withLock { $0.isSyncWanted = true }
      return writeOut()
    }
    let isComplete = writeOut() && sync()
    notify()
    return isComplete
  }

  /// Why the system does not take what is written; nil when it does.
  var problem: String? { file.withLock { $0.problem } }

  /// Flushes, ends the thread, gives up the lease.
  func close() {
    guard !isStopping.exchange(true, ordering: .acquiringAndReleasing) else { return }
    bell.ring()
    isStopped.wait()
    flush()
    file.withLock { state in
      Foundation.close(state.descriptor)
      state.isClosed = true
    }
    lease.release()
  }

  // MARK: - The thread

  private func work() {
    while !isStopping.load(ordering: .acquiring) {
      bell.wait(upTo: .seconds(10))
      // From here on nobody rings: waking this thread costs the training more than all else it does
      // here, so that records gather for a while instead.
      var pause = Duration.milliseconds(50)
      while !isStopping.load(ordering: .acquiring), !fallsAsleep() {
        bell.wait(upTo: pause)
        pause = .milliseconds(100)
        writeOut()
        if isSyncDue { sync() }
        notify()
        renewLease()
      }
      renewLease()
    }
    isStopped.signal()
  }

  /// Whether there is nothing to do; from then on the first record rings.
  private func fallsAsleep() -> Bool {
    guard !isSyncPending else { return false }
    return pending.withLock { state in
      state.isAsleep = state.records.isEmpty
      return state.isAsleep
    }
  }

  private func renewLease() {
    let isDue = file.withLock { state in
      guard state.lastRenewal.duration(to: .now) > .seconds(20) else { return false }
      state.lastRenewal = .now
      return true
    }
    if isDue { lease.renew() }
  }

  private var isSyncPending: Bool {
    file.withLock { $0.syncedCount < $0.writeCount || !$0.lines.bytes.isEmpty }
  }

  private var isSyncDue: Bool {
    let isWanted = pending.withLock { state in
      defer { state.isSyncWanted = false }
      return state.isSyncWanted
    }
    return isWanted || file.withLock { $0.lastSync.duration(to: .now) >= .seconds(1) }
  }

  private func notify() { listener.withLock { $0 }?.action() }

  /// Moves what is pending into the file, in order; false if the system does not take all of it.
  @discardableResult
  private func writeOut() -> Bool {
    file.withLock { state in
      guard !state.isClosed else { return true }
      // Taking the records under the file's lock keeps their order.
      pending.withLock { swap(&$0.records, &state.spare) }
      for record in state.spare { record.appendLine(to: &state.lines) }
      state.spare.removeAll(keepingCapacity: true)
      let count = state.lines.bytes.count
      guard count > 0 else { return true }
      let descriptor = state.descriptor
      let written = state.lines.bytes.withUnsafeBytes { Files.write($0, to: descriptor) }
      if written > 0 { state.writeCount += 1 }
      guard written == count else {
        state.lines.bytes.removeFirst(written)
        let hasWarned = state.problem != nil
        state.problem = SystemError.text()
        if !hasWarned {
          logger.warning(
            """
            cannot write \(directory.journal): \(state.problem ?? ""); \(count - written) bytes \
            wait in memory, free some space
            """)
        }
        return false
      }
      state.lines.bytes.removeAll(keepingCapacity: count < 1 << 20)
      state.problem = nil
      return true
    }
  }

  /// Makes what is written survive the machine; false if the file system does not say so.
  ///
  /// Nobody who writes waits for this.
  @discardableResult
  private func sync() -> Bool {
    let (descriptor, count) = file.withLock { state in
      (
        state.isClosed || state.syncedCount == state.writeCount ? -1 : state.descriptor,
        state.writeCount
      )
    }
    guard descriptor >= 0 else { return true }
    let isSynced = fdatasync(descriptor) == 0
    return file.withLock { state in
      state.lastSync = .now
      if isSynced { state.syncedCount = max(state.syncedCount, count) }
      return isSynced || state.isClosed  // whoever closed it has synced it
    }
  }
}
