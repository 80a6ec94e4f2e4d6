#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Aligned, contiguous memory shared by a matrix and its views.
///
/// Unchecked sendability is safe because memory is written in two situations only: before the
/// storage is published (by the initialiser that made it), and when `isKnownUniquelyReferenced` says
/// that one matrix value alone refers to it. Memory that belongs to an `owner` is never written.
@safe
final class MatrixStorage<Element: BitwiseCopyable>: @unchecked Sendable {
  /// Cache lines and AVX-512 registers are 64 bytes wide.
  static var alignment: Int { 64 }

  let base: UnsafeMutablePointer<Element>
  let count: Int
  /// Keeps foreign memory (a mapped file) alive; `nil` when the memory is this object's own.
  let owner: AnyObject?

  /// Allocates `count` uninitialised elements.
  init(count: Int) {
    let bytes = max(count, 1) * MemoryLayout<Element>.stride
    let raw = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: Self.alignment)
    unsafe self.base = raw.bindMemory(to: Element.self, capacity: max(count, 1))
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
    if owner == nil { unsafe UnsafeMutableRawPointer(base).deallocate() }
  }
}
