// Loops over corresponding elements of several matrices, each read and written once.

extension Matrix where Element: BLASScalar {
  /// Applies `body` to corresponding elements of this matrix, one moment and a gradient.
  ///
  /// - Parameters:
  ///   - moments: one matrix of this shape; it is changed.
  ///   - gradient: a matrix of this shape.
  ///   - body: receives an element of this matrix, of the moment, and of the gradient.
  @inlinable
  package mutating func updateElements(
    _ moments: inout [Matrix], _ gradient: Matrix,
    _ body: (inout Element, inout Element, Element) -> Void
  ) {
    unsafe withElements(&moments, gradient, count: 1) { theta, moments, g, count in
      let m = unsafe moments[0]
      for index in 0..<count { unsafe body(&theta[index], &m[index], g[index]) }
    }
  }

  /// Applies `body` to corresponding elements of this matrix, two moments and a gradient.
  @inlinable
  package mutating func updateElements(
    _ moments: inout [Matrix], _ gradient: Matrix,
    _ body: (inout Element, inout Element, inout Element, Element) -> Void
  ) {
    unsafe withElements(&moments, gradient, count: 2) { theta, moments, g, count in
      let (m, v) = unsafe (moments[0], moments[1])
      for index in 0..<count { unsafe body(&theta[index], &m[index], &v[index], g[index]) }
    }
  }

  /// Applies `body` to corresponding elements of this matrix, three moments and a gradient.
  @inlinable
  package mutating func updateElements(
    _ moments: inout [Matrix], _ gradient: Matrix,
    _ body: (inout Element, inout Element, inout Element, inout Element, Element) -> Void
  ) {
    unsafe withElements(&moments, gradient, count: 3) { theta, moments, g, count in
      let (m, v, w) = unsafe (moments[0], moments[1], moments[2])
      for index in 0..<count {
        unsafe body(&theta[index], &m[index], &v[index], &w[index], g[index])
      }
    }
  }

  @usableFromInline
  package mutating func withElements(
    _ moments: inout [Matrix], _ gradient: Matrix, count: Int,
    _ body: (
      UnsafeMutablePointer<Element>, [UnsafeMutablePointer<Element>], UnsafePointer<Element>, Int
    ) -> Void
  ) {
    precondition(moments.count == count, "\(moments.count) moments, not \(count)")
    let shape = (rowCount, columnCount)
    precondition(
      (moments + [gradient]).allSatisfy { ($0.rowCount, $0.columnCount) == shape },
      "\(self), \(moments) and \(gradient) differ in shape")
    let gradient = gradient.isContiguous ? gradient : gradient.compact()
    if !isContiguous { self = compact() }
    var pointers = unsafe [UnsafeMutablePointer<Element>]()
    for index in moments.indices {
      if !moments[index].isContiguous { moments[index] = moments[index].compact() }
      // Unique after this, and alive as long as `moments`.
      unsafe moments[index].withUnsafeMutablePointer { pointer, _ in
        unsafe pointers.append(pointer)
      }
    }
    unsafe withUnsafeMutablePointer { theta, _ in
      unsafe gradient.withUnsafePointer { g, _ in
        unsafe body(theta, pointers, g, shape.0 * shape.1)
      }
    }
    withExtendedLifetime(moments) {}
  }
}
