import Glibc

/// What memory belongs to that can be given back to the system, and comes back when it is touched: a mapped file.
package protocol PagedMemory: AnyObject {
  /// Gives back all pages.
  func dropPages()
}

/// Aligned, contiguous memory shared by a matrix and its views.
///
/// Unchecked sendability is safe because memory is written in two situations only: before the
/// storage is published (by the initialiser that made it), and when `isKnownUniquelyReferenced` says
/// that one matrix value alone refers to it. Memory that belongs to an `owner` is never written.
@safe
final class MatrixStorage<Element: BitwiseCopyable>: @unchecked Sendable {
  /// Cache lines and AVX-512 registers are 64 bytes wide.
  static var alignment: Int { 64 }
  /// A huge page of the processors this runs on.
  private static var hugePage: Int { 2 << 20 }

  let base: UnsafeMutablePointer<Element>
  let count: Int
  /// Keeps foreign memory (a mapped file) alive; `nil` when the memory is this object's own.
  let owner: AnyObject?

  /// Allocates `count` uninitialised elements.
  ///
  /// - Parameters:
  ///   - count: how many.
  ///   - purpose: what they are for, should there be no memory.
  init(count: Int, for purpose: @autoclosure () -> String = "a matrix") {
    let bytes = max(count, 1) * MemoryLayout<Element>.stride
    // The first touch of a hundred megabytes in pages of 4 KB costs as much as reading them five times.
    let isLarge = bytes >= 2 * Self.hugePage
    let raw = unsafe AllocationFailure.allocate(
      bytes: bytes, alignment: isLarge ? Self.hugePage : Self.alignment, for: purpose())
    #if os(Linux)
      // Advice only: without huge pages everything works, slower.
      if isLarge { _ = unsafe madvise(raw, bytes, CInt(MADV_HUGEPAGE)) }
    #endif
    unsafe self.base = unsafe raw.bindMemory(to: Element.self, capacity: max(count, 1))
    self.count = count
    self.owner = nil
  }

  /// Refers to read-only memory that `owner` keeps alive.
  init(readOnly pointer: UnsafePointer<Element>, count: Int, owner: AnyObject) {
    unsafe self.base = UnsafeMutablePointer(mutating: pointer)
    self.count = count
    self.owner = owner
  }

  deinit {
    if owner == nil { unsafe free(base) }
  }
}
