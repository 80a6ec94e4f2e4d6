import Foundation
import Logging
import Synchronization

/// Appends records to a journal.
///
/// Appending only puts the record into a list, as a training's thread waits for it. A thread formats and
/// writes within a tenth of a second and syncs within a second; ``flush(waitsForDisk:)`` does both at once.
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
    var lines: [UInt8] = []  // what the system has not taken yet
    var spare: [Record] = []  // an empty list with room
    /// Writes so far, and how many of them are certain to be on the disk.
    var writeCount = 0, syncedCount = 0
    var lastSync = ContinuousClock.now
    var isClosed = false
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
  /// Rung after lines have reached the file.
  let written = Bell()

  init(directory: RunDirectory, logger: Logger) throws(TrackingError) {
    (self.directory, self.logger) = (directory, logger)
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

  var recordCount: Int { pending.withLock { $0.nextSequence } }

  /// Adds a record; returns its sequence number.
  @discardableResult
  func append(_ event: Event, time: Int) -> Int {
    let (sequence, count, wasAsleep) = pending.withLock { state in
      state.records.append(Record(sequence: state.nextSequence, time: time, event: event))
      defer { (state.nextSequence, state.isAsleep) = (state.nextSequence + 1, false) }
      return (state.nextSequence, state.records.count, state.isAsleep)
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
    written.ring()
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
      // From here on nobody rings, as that costs the training most: records gather for a while instead.
      var pause = Duration.milliseconds(50)
      while !isStopping.load(ordering: .acquiring), !fallsAsleep() {
        bell.wait(upTo: pause)
        pause = .milliseconds(100)
        writeOut()
        if isSyncDue { sync() }
        written.ring()
        lease.renewWhenDue()
      }
      lease.renewWhenDue()
    }
    isStopped.signal()
  }

  /// Whether there is nothing to do; from then on the first record rings.
  private func fallsAsleep() -> Bool {
    let isPending = file.withLock { $0.syncedCount < $0.writeCount || !$0.lines.isEmpty }
    return !isPending
      && pending.withLock { state in
        state.isAsleep = state.records.isEmpty
        return state.isAsleep
      }
  }

  private var isSyncDue: Bool {
    let isWanted = pending.withLock { state in
      defer { state.isSyncWanted = false }
      return state.isSyncWanted
    }
    return isWanted || file.withLock { $0.lastSync.duration(to: .now) >= .seconds(1) }
  }

  /// Moves what is pending into the file, in order; false if the system does not take all of it.
  @discardableResult
  private func writeOut() -> Bool {
    file.withLock { state in
      guard !state.isClosed else { return true }
      // Taking the records under the file's lock keeps their order.
      pending.withLock { swap(&$0.records, &state.spare) }
      for record in state.spare { state.lines += record.line }
      state.spare.removeAll(keepingCapacity: true)
      let count = state.lines.count
      guard count > 0 else { return true }
      let descriptor = state.descriptor
      let written = state.lines.withUnsafeBytes { Files.write($0, to: descriptor) }
      if written > 0 { state.writeCount += 1 }
      guard written == count else {
        state.lines.removeFirst(written)
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
      state.lines.removeAll(keepingCapacity: count < 1 << 20)
      state.problem = nil
      return true
    }
  }

  /// Makes what is written survive the machine, while others write; false if the system does not say so.
  @discardableResult
  private func sync() -> Bool {
    let (isNeeded, descriptor, count) = file.withLock { state in
      (!state.isClosed && state.syncedCount < state.writeCount, state.descriptor, state.writeCount)
    }
    guard isNeeded else { return true }
    let isSynced = fdatasync(descriptor) == 0
    return file.withLock { state in
      state.lastSync = .now
      if isSynced { state.syncedCount = max(state.syncedCount, count) }
      return isSynced || state.isClosed  // whoever closed it has synced it
    }
  }
}

/// Reads a journal from any line on, piece by piece, also while it is being written.
package struct JournalReader: ~Copyable {
  package struct Entry {
    package var record: Record
    package var endOffset: Int
  }

  package struct Damage: Equatable, Sendable {
    package var tornBytes = 0, damagedLines = 0
    package var isEmpty: Bool { self == Damage() }
  }

  private let descriptor: Int32
  private var buffer: [UInt8] = []
  private var start = 0  // of the unread part of the buffer
  /// Where the next unread line begins in the file.
  package private(set) var offset: Int
  package private(set) var damage = Damage()

  package init(path: String, offset: Int = 0) throws(TrackingError) {
    descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw TrackingError(.storage, "cannot read the journal \(path): \(SystemError.text())")
    }
    self.offset = offset
  }

  deinit { close(descriptor) }

  /// The next record, nil at the end of what is written so far.
  ///
  /// `isFinal` says that the writer is gone: a last line that is unfinished counts as torn. While the
  /// writer lives, an unfinished or unreadable last line is taken for one being written.
  package mutating func next(isFinal: Bool) -> Entry? {
    while true {
      if let length = lineLength() {
        let record = buffer.withUnsafeBufferPointer {
          Record(line: UnsafeBufferPointer(rebasing: $0[start..<start + length]))
        }
        if record == nil, !isFinal, start + length + 1 == buffer.count, !fill() { return nil }
        start += length + 1
        offset += length + 1
        if let record { return Entry(record: record, endOffset: offset) }
        damage.damagedLines += 1
      } else if !fill() {
        if isFinal { damage.tornBytes = buffer.count - start }
        return nil
      }
    }
  }

  private func lineLength() -> Int? {
    buffer.withUnsafeBufferPointer { bytes in
      guard start < bytes.count, let base = bytes.baseAddress,
        let feed = memchr(base + start, 0x0A, bytes.count - start)
      else { return nil }
      return UnsafeRawPointer(feed) - UnsafeRawPointer(base + start)
    }
  }

  /// Reads another piece behind the buffer; false at the end of the file.
  private mutating func fill() -> Bool {
    if start > 0 {
      buffer.removeFirst(start)
      start = 0
    }
    let unread = buffer.count
    let position = offset + unread
    let capacity = 1 << 18
    let piece = [UInt8](unsafeUninitializedCapacity: capacity) { target, count in
      count = max(0, pread(descriptor, target.baseAddress, capacity, off_t(position)))
    }
    buffer.append(contentsOf: piece)
    return !piece.isEmpty
  }
}

/// Wakes a waiting thread; a ring before the wait is not lost.
final class Bell: Sendable {
  private let condition = NSCondition()
  // Guarded by the condition's lock.
  nonisolated(unsafe) private var isRung = false

  func ring() {
    condition.lock()
    isRung = true
    condition.broadcast()
    condition.unlock()
  }

  /// Waits for a ring, at most `limit`; says whether there was one.
  @discardableResult
  func wait(upTo limit: Duration) -> Bool {
    let deadline = Date(timeIntervalSinceNow: limit.seconds)
    condition.lock()
    defer { condition.unlock() }
    while !isRung {
      guard condition.wait(until: deadline) else { break }
    }
    defer { isRung = false }
    return isRung
  }
}

extension Duration {
  package var seconds: Double {
    Double(components.seconds) + Double(components.attoseconds) * 1e-18
  }
}
