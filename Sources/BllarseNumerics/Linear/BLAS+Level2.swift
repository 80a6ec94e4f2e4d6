extension Matrix where Element: BLASScalar {
  /// The product with a vector, `op(self) · x` (gemv).
  ///
  /// - Parameters:
  ///   - vector: as many elements as op(self) has columns.
  ///   - transposing: whether this matrix enters as its transpose.
  /// - Returns: as many elements as op(self) has rows.
  public func multiplied(by vector: [Element], transposing: Bool = false) -> [Element] {
    let expected = transposing ? rowCount : columnCount
    precondition(vector.count == expected, "\(vector.count) elements, \(self) expects \(expected)")
    let count = transposing ? columnCount : rowCount
    var result = [Element](repeating: 0, count: count)
    guard rowCount > 0, columnCount > 0 else { return result }
    unsafe result.withUnsafeMutableBufferPointer { y in
      unsafe vector.withUnsafeBufferPointer { x in
        unsafe withUnsafePointer { a, lda in
          guard let px = x.baseAddress, let py = y.baseAddress else { return }
          unsafe Element.gemv(transposing, rowCount, columnCount, 1, a, lda, px, 0, py)
        }
      }
    }
    return result
  }

  /// The product of a symmetric matrix with a vector; only the lower triangle is read (symv).
  ///
  /// - Parameter vector: as many elements as the matrix has rows.
  /// - Returns: as many elements.
  public func symmetricMultiplied(by vector: [Element]) -> [Element] {
    precondition(rowCount == columnCount, "\(self) is not square")
    precondition(vector.count == rowCount, "\(vector.count) elements for \(self)")
    var result = [Element](repeating: 0, count: rowCount)
    guard rowCount > 0 else { return result }
    unsafe result.withUnsafeMutableBufferPointer { y in
      unsafe vector.withUnsafeBufferPointer { x in
        unsafe withUnsafePointer { a, lda in
          guard let px = x.baseAddress, let py = y.baseAddress else { return }
          unsafe Element.symv(rowCount, a, lda, px, py)
        }
      }
    }
    return result
  }
}
