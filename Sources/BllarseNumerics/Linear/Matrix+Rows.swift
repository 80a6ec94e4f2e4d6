extension Matrix where Element: BLASScalar {
  /// The sum of squares of every row, in double precision.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package func rowSquaredNorms() -> [Double] {
    unsafe withUnsafePointer { base, stride in
      (0..<rowCount).map { row in
        let values = unsafe base + row * stride
        // Four sums, as one addition would wait for the one before.
        var sums = (0.0, 0.0, 0.0, 0.0)
        var column = 0
        while column + 4 <= columnCount {
          let (a, b) = unsafe (Double(values[column]), Double(values[column + 1]))
          let (c, d) = unsafe (Double(values[column + 2]), Double(values[column + 3]))
          sums.0 += a * a
          sums.1 += b * b
          sums.2 += c * c
          sums.3 += d * d
          column += 4
        }
        while column < columnCount {
          let a = unsafe Double(values[column])
          sums.0 += a * a
          column += 1
        }
        return (sums.0 + sums.1) + (sums.2 + sums.3)
      }
    }
  }

  /// The sum of every row, in double precision.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package func rowSums() -> [Double] {
    unsafe withUnsafePointer { base, stride in
      (0..<rowCount).map { row in
        var sum = 0.0
        for column in 0..<columnCount { sum += unsafe Double(base[row * stride + column]) }
        return sum
      }
    }
  }

  /// The sum of every column, in double precision.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package func columnSums() -> [Double] {
    var sums = [Double](repeating: 0, count: columnCount)
    unsafe withUnsafePointer { base, stride in
      unsafe sums.withUnsafeMutableBufferPointer { sums in
        for row in 0..<rowCount {
          for column in 0..<columnCount {
            unsafe sums[column] += unsafe Double(base[row * stride + column])
          }
        }
      }
    }
    return sums
  }

  /// Replaces every probability p by p(1 - p).
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package mutating func formVariances() { replaceEach { $0 * (1 - $0) } }

  /// Replaces every element by its square.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package mutating func formSquares() { replaceEach { $0 * $0 } }

  @inline(__always)
  private mutating func replaceEach(_ body: (Element) -> Element) {
    let (rows, columns) = (rowCount, columnCount)
    unsafe withUnsafeMutablePointer { base, stride in
      for row in 0..<rows {
        let values = unsafe base + row * stride
        for column in 0..<columns { unsafe values[column] = body(values[column]) }
      }
    }
  }

  /// Adds one row to all, times a factor.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package mutating func addToRows(_ addition: [Element], times factor: Element = 1) {
    precondition(addition.count == columnCount, "\(addition.count) numbers for rows of \(self)")
    let (rows, columns) = (rowCount, columnCount)
    unsafe withUnsafeMutablePointer { base, stride in
      unsafe addition.withUnsafeBufferPointer { addition in
        for row in 0..<rows {
          let values = unsafe base + row * stride
          for column in 0..<columns { unsafe values[column] += factor * addition[column] }
        }
      }
    }
  }
}
