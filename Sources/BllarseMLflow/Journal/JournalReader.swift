import Foundation

/// Reads a journal from any line on, piece by piece, also while it is being written.
package struct JournalReader: ~Copyable {
  /// A record and where its line ends.
  package struct Entry {
    package var record: Record
    package var endOffset: Int
  }

  /// What was wrong on the way.
  package struct Damage: Equatable, Sendable {
    /// Bytes of an unfinished last line.
    package var tornBytes = 0
    /// Whole lines whose checksum is wrong.
    package var damagedLines = 0

    package var isEmpty: Bool { self == Damage() }
  }

  private let descriptor: Int32
  private var buffer: [UInt8] = []
  private var start = 0  // of the unread part of the buffer
  /// Where the next unread line begins in the file.
  package private(set) var offset: Int
  package private(set) var damage = Damage()

  /// Opens the journal at `offset`, the start of a line.
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
