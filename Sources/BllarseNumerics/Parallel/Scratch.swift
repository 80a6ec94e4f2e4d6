import Glibc

/// Aligned working memory, allocated once for a loop over blocks.
///
/// Sendability is unchecked: memory that is written belongs to one thread, and memory that several
/// threads read is not written meanwhile.
@safe
package final class Scratch<Element: BitwiseCopyable>: @unchecked Sendable {
  package let pointer: UnsafeMutablePointer<Element>
  package let count: Int

  /// Allocates `count` elements, all zero, aligned to 64 bytes.
  package init(count: Int) where Element: AdditiveArithmetic {
    let bytes = max(count, 1) * MemoryLayout<Element>.stride
    let raw = unsafe AllocationFailure.allocate(
      bytes: bytes, alignment: 64, for: "the working memory of a loop over rows")
    unsafe pointer = raw.bindMemory(to: Element.self, capacity: max(count, 1))
    unsafe pointer.initialize(repeating: .zero, count: max(count, 1))
    self.count = count
  }

  deinit { unsafe free(pointer) }
}
