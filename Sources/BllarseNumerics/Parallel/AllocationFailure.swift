import BllarseKernels
import Synchronization
import Glibc

/// What happens when memory for a matrix cannot be had.
///
/// Nothing can go on without it, and no caller of `+` or `gram()` expects it: a program sets once how it
/// ends then, and without that it traps with the same message.
public enum AllocationFailure {
  private static let handler = Mutex<(@Sendable (_ message: String) -> Never)?>(nil)

  /// Sets how the program ends.
  ///
  /// - Parameter end: receives what was wanted, for what, and which limits there are.
  public static func handle(by end: @escaping @Sendable (_ message: String) -> Never) {
    handler.withLock { $0 = end }
  }

  /// Ends the program for want of memory.
  static func fail(bytes: Int, purpose: String) -> Never {
    let error = NumericsError.outOfMemory(
      bytes: bytes, purpose: purpose, limit: MachineLimits.current.memoryDescription)
    if let end = handler.withLock({ $0 }) { end("\(error)") }
    preconditionFailure("\(error)")
  }

  /// Allocates memory that `free` gives back.
  ///
  /// - Parameters:
  ///   - bytes: how much, at least 1.
  ///   - alignment: a power of two, at least the size of a pointer.
  ///   - purpose: what it is for, for the message.
  /// - Returns: the memory, uninitialised.
  package static func allocate(
    bytes: Int, alignment: Int, for purpose: @autoclosure () -> String
  ) -> UnsafeMutableRawPointer {
    var memory: UnsafeMutableRawPointer?
    guard unsafe posix_memalign(&memory, alignment, bytes) == 0, let memory = unsafe memory else {
      fail(bytes: bytes, purpose: purpose())
    }
    return unsafe memory
  }
}
