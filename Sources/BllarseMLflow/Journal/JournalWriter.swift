import Foundation
import Logging
import Synchronization

/// Appends records to a journal.
///
/// Appending only formats the record into memory; a thread writes within a tenth of a second and
/// syncs within a second, and ``flush()`` does both at once.
final class JournalWriter: Sendable {
  let directory: RunDirectory

  private struct Pending {
    var lines = JSON.Writer()
    var nextSequence = 0
  }
  private struct File {
    let descriptor: Int32
    var unwritten: [UInt8] = []  // lines the system did not take yet
    var isUnsynced = false
    var lastSync = ContinuousClock.now
    var isClosed = false
    var hasWarned = false
  }

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
      throw TrackingError(.storage, "cannot make \(directory.journal): \(Files.lastError)")
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
    let (sequence, isFirst, isLarge) = pending.withLock { state in
      let isFirst = state.lines.bytes.isEmpty
      let sequence = state.nextSequence
      Record(sequence: sequence, time: time, event: event).appendLine(to: &state.lines)
      state.nextSequence += 1
      return (sequence, isFirst, state.lines.bytes.count > 1 << 20)
    }
    if isFirst { bell.ring() }
    // Only a disk slower than the training gets here: better to wait than to fill the memory.
    if isLarge { writeOut(isSyncWanted: false) }
    return sequence
  }

  /// Writes and syncs everything appended so far; false if the file system does not take it.
  @discardableResult
  func flush() -> Bool {
    let isComplete = writeOut(isSyncWanted: true)
    notify()
    return isComplete
  }

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
    var lastRenewal = ContinuousClock.now
    while !isStopping.load(ordering: .acquiring) {
      let isRung = bell.wait(upTo: .seconds(10))
      if isRung, !isStopping.load(ordering: .acquiring) {
        // Lines that come close together are written together.
        usleep(50_000)
      }
      repeat {
        writeOut(isSyncWanted: false)
        notify()
        guard isSyncPending, !isStopping.load(ordering: .acquiring) else { break }
        bell.wait(upTo: .milliseconds(100))
      } while true
      if lastRenewal.duration(to: .now) > .seconds(20) {
        lease.renew()
        lastRenewal = .now
      }
    }
    isStopped.signal()
  }

  private var isSyncPending: Bool {
    file.withLock { $0.isUnsynced || !$0.unwritten.isEmpty }
  }

  private func notify() { listener.withLock { $0 }?.action() }

  /// Moves what is pending into the file, in order; syncs if asked to or if the last time was a
  /// second ago.
  @discardableResult
  private func writeOut(isSyncWanted: Bool) -> Bool {
    file.withLock { state in
      guard !state.isClosed else { return true }
      // Taking the lines under the file's lock keeps their order.
      let lines = pending.withLock { pending in
        defer {
          pending.lines.bytes.removeAll(keepingCapacity: pending.lines.bytes.count < 1 << 20)
        }
        return pending.lines.bytes
      }
      let bytes = state.unwritten.isEmpty ? lines : state.unwritten + lines
      if !bytes.isEmpty {
        let written = bytes.withUnsafeBufferPointer { Files.write($0, to: state.descriptor) }
        state.unwritten = written == bytes.count ? [] : Array(bytes[written...])
        state.isUnsynced = true
        if !state.unwritten.isEmpty {
          if !state.hasWarned {
            logger.warning(
              """
              cannot write \(directory.journal): \(Files.lastError); \(state.unwritten.count) \
              bytes wait in memory, free some space
              """)
            state.hasWarned = true
          }
          return false
        }
        state.hasWarned = false
      }
      if state.isUnsynced, isSyncWanted || state.lastSync.duration(to: .now) >= .seconds(1) {
        state.isUnsynced = fdatasync(state.descriptor) != 0
        state.lastSync = .now
      }
      return true
    }
  }
}
