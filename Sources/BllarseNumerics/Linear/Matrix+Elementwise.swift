extension Matrix where Element: BLASScalar {
  /// Changes corresponding elements of this matrix and of moments, with inputs at hand.
  ///
  /// - Parameters:
  ///   - moments: matrices of this shape; they are changed.
  ///   - inputs: matrices of this shape.
  ///   - body: receives the elements of this matrix, of each moment and of each input, without gaps, and
  ///     their number.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package mutating func updateElements(
    _ moments: inout [Matrix], _ inputs: [Matrix],
    _ body: (
      UnsafeMutablePointer<Element>, [UnsafeMutablePointer<Element>], [UnsafePointer<Element>], Int
    ) -> Void
  ) {
    let (rows, columns) = (rowCount, columnCount)
    func check(_ other: Matrix) {
      precondition(
        other.rowCount == rows && other.columnCount == columns, "\(self) and \(other) differ")
    }
    if !isContiguous { self = compact() }
    // Unique after this, and alive as long as `moments`.
    let changed = moments.indices.map { index in
      check(moments[index])
      if !moments[index].isContiguous { moments[index] = moments[index].compact() }
      return unsafe moments[index].withUnsafeMutablePointer { pointer, _ in unsafe pointer }
    }
    let read = inputs.map { $0.isContiguous ? $0 : $0.compact() }
    let pointers = read.map { input in
      check(input)
      return unsafe input.withUnsafePointer { pointer, _ in unsafe pointer }
    }
    unsafe withUnsafeMutablePointer { theta, _ in
      unsafe body(theta, changed, pointers, rows * columns)
    }
    withExtendedLifetime((moments, read)) {}
  }
}
