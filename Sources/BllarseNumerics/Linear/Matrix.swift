import Glibc

/// A row-major matrix over aligned contiguous memory, or a view of a block of one.
///
/// A matrix is a value: copies share memory until one of them is changed. ``rows(_:)`` and
/// ``columns(_:)`` give views that share the memory without copying, as `ArraySlice` does; changing a
/// view copies its block first. Elements of a row are adjacent; `rowStride` elements separate the
/// starts of neighbouring rows.
///
/// The element is `Float` or `Double` for everything that calls BLAS and LAPACK, and may be `Float16`
/// for features as they are stored.
public struct Matrix<Element: BitwiseCopyable & Sendable>: Sendable {
  /// The number of rows.
  public let rowCount: Int
  /// The number of columns.
  public let columnCount: Int
  /// Elements between the starts of neighbouring rows, at least `columnCount`.
  public private(set) var rowStride: Int

  var storage: MatrixStorage<Element>
  var offset: Int

  init(storage: MatrixStorage<Element>, offset: Int, rows: Int, columns: Int, rowStride: Int) {
    self.storage = storage
    self.offset = offset
    self.rowCount = rows
    self.columnCount = columns
    self.rowStride = rowStride
  }

  /// Makes a matrix whose memory `body` fills; it receives every element, row after row.
  package init<Failure: Error>(
    rows: Int, columns: Int,
    initializing body: (UnsafeMutableBufferPointer<Element>) throws(Failure) -> Void
  ) throws(Failure) {
    precondition(rows >= 0 && columns >= 0, "a matrix of \(rows) x \(columns) cannot exist")
    let storage = MatrixStorage<Element>(
      count: rows * columns, for: "a matrix of \(rows) x \(columns) (\(Element.self))")
    unsafe try body(UnsafeMutableBufferPointer(start: storage.base, count: rows * columns))
    self.init(storage: storage, offset: 0, rows: rows, columns: columns, rowStride: columns)
  }

  /// Makes a matrix with the same value everywhere.
  public init(rows: Int, columns: Int, repeating value: Element) {
    unsafe self.init(rows: rows, columns: columns) { target in
      guard let base = target.baseAddress, target.count > 0 else { return }
      // In copies of what is in cache: where the element is not known when this is compiled, `initialize(repeating:)`
      // makes a call for each, which was one part in thirty of a fit.
      unsafe base.initialize(to: value)
      var count = 1
      while count < target.count {
        let next = min(count, 4096, target.count - count)
        unsafe (base + count).initialize(from: base, count: next)
        count += next
      }
    }
  }

  /// Makes a matrix from its elements in row-major order.
  public init(rows: Int, columns: Int, elements: [Element]) {
    precondition(
      elements.count == rows * columns,
      "\(elements.count) elements do not fill a matrix of \(rows) x \(columns)")
    unsafe self.init(rows: rows, columns: columns) { buffer in
      _ = unsafe buffer.initialize(from: elements)
    }
  }

  /// Makes a matrix that refers to read-only memory, aligned for `Element` and kept alive by `owner`
  /// (a mapped file).
  package init(
    rows: Int, columns: Int, readOnly memory: UnsafeBufferPointer<Element>, owner: AnyObject
  ) {
    precondition(
      memory.count == rows * columns,
      "\(memory.count) elements do not fill a matrix of \(rows) x \(columns)")
    let storage =
      unsafe memory.baseAddress.map { unsafe MatrixStorage(readOnly: $0, owner: owner) }
      ?? MatrixStorage(count: 0)
    self.init(storage: storage, offset: 0, rows: rows, columns: columns, rowStride: columns)
  }

  /// The element at a row and a column, both counted from 0.
  public subscript(row: Int, column: Int) -> Element {
    get {
      checkIndex(row, column)
      return unsafe storage.base[offset + row * rowStride + column]
    }
    set {
      checkIndex(row, column)
      makeUnique()
      unsafe storage.base[offset + row * rowStride + column] = newValue
    }
  }

  private func checkIndex(_ row: Int, _ column: Int) {
    precondition(
      row >= 0 && row < rowCount && column >= 0 && column < columnCount,
      "(\(row), \(column)) is outside a matrix of \(rowCount) x \(columnCount)")
  }

  /// Whether the rows follow one another without gaps.
  public var isContiguous: Bool { rowStride == columnCount || rowCount <= 1 }

  /// All elements in row-major order.
  public var elements: [Element] {
    unsafe [Element](unsafeUninitializedCapacity: rowCount * columnCount) { buffer, count in
      unsafe copy(into: buffer)
      count = rowCount * columnCount
    }
  }
}

// MARK: - Views

extension Matrix {
  /// A view of a range of rows, sharing memory.
  public func rows(_ range: Range<Int>) -> Matrix {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= rowCount,
      "rows \(range) of a matrix of \(rowCount) rows")
    return Matrix(
      storage: storage, offset: offset + range.lowerBound * rowStride, rows: range.count,
      columns: columnCount, rowStride: rowStride)
  }

  /// A view of a range of columns, sharing memory.
  public func columns(_ range: Range<Int>) -> Matrix {
    precondition(
      range.lowerBound >= 0 && range.upperBound <= columnCount,
      "columns \(range) of a matrix of \(columnCount) columns")
    return Matrix(
      storage: storage, offset: offset + range.lowerBound, rows: rowCount, columns: range.count,
      rowStride: rowStride)
  }

  /// The elements of one row.
  public func row(_ index: Int) -> [Element] { rows(index..<index + 1).elements }

  /// The elements of one column.
  public func column(_ index: Int) -> [Element] { columns(index..<index + 1).elements }

  /// A copy that holds the given rows, in the given order.
  public func gatheringRows(_ indices: some Collection<Int>) -> Matrix {
    unsafe Matrix(rows: indices.count, columns: columnCount) { target in
      guard var next = target.baseAddress else { return }
      for index in indices {
        precondition(index >= 0 && index < rowCount, "row \(index) of a matrix of \(rowCount) rows")
        unsafe next.update(
          from: storage.base + offset + index * rowStride, count: columnCount)
        unsafe next += columnCount
      }
    }
  }

  /// A contiguous copy with rows and columns exchanged.
  public func transposed() -> Matrix {
    unsafe Matrix(rows: columnCount, columns: rowCount) { target in
      // Tiles keep both sides in cache.
      let tile = 32
      for rowStart in stride(from: 0, to: rowCount, by: tile) {
        for columnStart in stride(from: 0, to: columnCount, by: tile) {
          for row in rowStart..<min(rowStart + tile, rowCount) {
            for column in columnStart..<min(columnStart + tile, columnCount) {
              unsafe target[column * rowCount + row] =
                storage.base[offset + row * rowStride + column]
            }
          }
        }
      }
    }
  }
}

// MARK: - Memory

extension Matrix {
  /// Gives read access to the memory: the address of the first element, and the row stride.
  package func withUnsafePointer<Result, Failure: Error>(
    _ body: (UnsafePointer<Element>, Int) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    defer { withExtendedLifetime(storage) {} }
    return unsafe try body(UnsafePointer(storage.base + offset), rowStride)
  }

  /// Gives write access to the memory, after making it this value's own: the address of the first
  /// element, and the row stride.
  package mutating func withUnsafeMutablePointer<Result, Failure: Error>(
    _ body: (UnsafeMutablePointer<Element>, Int) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    makeUnique()
    defer { withExtendedLifetime(storage) {} }
    return unsafe try body(storage.base + offset, rowStride)
  }

  /// Gives read access to one row.
  public func withRow<Result, Failure: Error>(
    _ index: Int, _ body: (Span<Element>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    precondition(index >= 0 && index < rowCount, "row \(index) of a matrix of \(rowCount) rows")
    defer { withExtendedLifetime(storage) {} }
    let buffer = unsafe UnsafeBufferPointer(
      start: storage.base + offset + index * rowStride, count: columnCount)
    return unsafe try body(buffer.span)
  }

  /// Gives write access to one row.
  public mutating func withMutableRow<Result, Failure: Error>(
    _ index: Int, _ body: (inout MutableSpan<Element>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    precondition(index >= 0 && index < rowCount, "row \(index) of a matrix of \(rowCount) rows")
    makeUnique()
    defer { withExtendedLifetime(storage) {} }
    let buffer = unsafe UnsafeMutableBufferPointer(
      start: storage.base + offset + index * rowStride, count: columnCount)
    var span = unsafe buffer.mutableSpan
    return try body(&span)
  }

  /// Copies a block of the same shape over the rows and columns that start at (`row`, `column`).
  public mutating func replaceBlock(row: Int, column: Int, with block: Matrix) {
    precondition(
      row >= 0 && column >= 0 && row + block.rowCount <= rowCount
        && column + block.columnCount <= columnCount,
      "a block of \(block.rowCount) x \(block.columnCount) at (\(row), \(column)) does not fit "
        + "into a matrix of \(rowCount) x \(columnCount)")
    makeUnique()
    for index in 0..<block.rowCount {
      unsafe (storage.base + offset + (row + index) * rowStride + column).update(
        from: block.storage.base + block.offset + index * block.rowStride,
        count: block.columnCount)
    }
  }

  /// Makes sure that no other value shares the memory, copying the block when one does.
  private mutating func makeUnique() {
    if isKnownUniquelyReferenced(&storage) && storage.owner == nil { return }
    self = compact()
  }

  package func compact() -> Matrix {
    unsafe Matrix(rows: rowCount, columns: columnCount) { unsafe copy(into: $0) }
  }

  func copy(into buffer: UnsafeMutableBufferPointer<Element>) {
    guard rowCount > 0, columnCount > 0, let target = buffer.baseAddress else { return }
    let source = unsafe storage.base + offset
    if isContiguous {
      unsafe target.update(from: source, count: rowCount * columnCount)
    } else {
      for row in 0..<rowCount {
        unsafe (target + row * columnCount).update(
          from: source + row * rowStride, count: columnCount)
      }
    }
  }
}

// MARK: - Conformances

extension Matrix: Equatable where Element: Equatable {
  /// Whether shapes and all elements are equal; strides do not matter.
  public static func == (left: Matrix, right: Matrix) -> Bool {
    left.rowCount == right.rowCount && left.columnCount == right.columnCount
      && (0..<left.rowCount).allSatisfy { left.row($0) == right.row($0) }
  }
}

extension Matrix: CustomStringConvertible {
  /// The element type and the shape.
  public var description: String { "Matrix<\(Element.self)>(\(rowCount) x \(columnCount))" }
}

/// What memory belongs to that can be given back to the system, and comes back when it is touched: a mapped file.
package protocol PagedMemory: AnyObject {
  func dropPages()
}

/// Aligned, contiguous memory shared by a matrix and its views.
///
/// Unchecked sendability is safe because memory is written in two situations only: before the
/// storage is published (by the initialiser that made it), and when `isKnownUniquelyReferenced` says
/// that one matrix value alone refers to it. Memory that belongs to an `owner` is never written.
@safe
final class MatrixStorage<Element: BitwiseCopyable>: @unchecked Sendable {
  /// A huge page of the processors this runs on.
  private static var hugePage: Int { 2 << 20 }

  let base: UnsafeMutablePointer<Element>
  /// Keeps foreign memory (a mapped file) alive; `nil` when the memory is this object's own.
  let owner: AnyObject?

  /// Allocates `count` uninitialised elements; a message tells what for, should there be no memory.
  init(count: Int, for purpose: @autoclosure () -> String = "a matrix") {
    let bytes = max(count, 1) * MemoryLayout<Element>.stride
    // The first touch of a hundred megabytes in pages of 4 KB costs as much as reading them five times.
    let isLarge = bytes >= 2 * Self.hugePage
    // Cache lines and AVX-512 registers are 64 bytes wide.
    let raw = unsafe AllocationFailure.allocate(
      bytes: bytes, alignment: isLarge ? Self.hugePage : 64, for: purpose())
    #if os(Linux)
      // Advice only: without huge pages everything works, slower.
      if isLarge { _ = unsafe madvise(raw, bytes, CInt(MADV_HUGEPAGE)) }
    #endif
    unsafe self.base = unsafe raw.bindMemory(to: Element.self, capacity: max(count, 1))
    self.owner = nil
  }

  init(readOnly pointer: UnsafePointer<Element>, owner: AnyObject) {
    unsafe self.base = UnsafeMutablePointer(mutating: pointer)
    self.owner = owner
  }

  deinit {
    if owner == nil { unsafe free(base) }
  }
}
