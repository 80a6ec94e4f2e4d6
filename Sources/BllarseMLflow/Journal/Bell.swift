import Foundation

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
  /// The duration in seconds.
  package var seconds: Double {
    Double(components.seconds) + Double(components.attoseconds) * 1e-18
  }
}
