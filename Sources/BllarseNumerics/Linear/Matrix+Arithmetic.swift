extension Matrix where Element: BLASScalar {
  /// A matrix of zeros.
  public static func zeros(_ rows: Int, _ columns: Int) -> Matrix {
    Matrix(rows: rows, columns: columns, repeating: 0)
  }

  /// The identity matrix, times `value`.
  public static func diagonal(_ value: Element = 1, size: Int) -> Matrix {
    diagonal([Element](repeating: value, count: size))
  }

  /// A square matrix with the given diagonal and zeros elsewhere.
  public static func diagonal(_ values: [Element]) -> Matrix {
    var matrix = zeros(values.count, values.count)
    for (index, value) in values.enumerated() { matrix[index, index] = value }
    return matrix
  }

  /// The elements with equal row and column.
  public var diagonal: [Element] {
    (0..<Swift.min(rowCount, columnCount)).map { self[$0, $0] }
  }

  /// Converts every element to another precision.
  public init<Source: BLASScalar>(_ source: Matrix<Source>) {
    let (rows, columns) = (source.rowCount, source.columnCount)
    unsafe self.init(rows: rows, columns: columns) { target in
      guard let base = target.baseAddress, rows > 0, columns > 0 else { return }
      unsafe source.withUnsafePointer { pointer, stride in
        if Source.self == Double.self {
          let typed = unsafe UnsafeRawPointer(pointer).assumingMemoryBound(to: Double.self)
          unsafe Element.convertRows(rows, columns, .double(typed, stride), base, columns)
        } else {
          let typed = unsafe UnsafeRawPointer(pointer).assumingMemoryBound(to: Float.self)
          unsafe Element.convertRows(rows, columns, .single(typed, stride), base, columns)
        }
      }
    }
  }

  /// Applies a function to every element.
  public func map(_ transform: (Element) -> Element) -> Matrix {
    unsafe Matrix(rows: rowCount, columns: columnCount) { target in
      unsafe withUnsafePointer { source, stride in
        for row in 0..<rowCount {
          for column in 0..<columnCount {
            unsafe target[row * columnCount + column] = transform(
              source[row * stride + column])
          }
        }
      }
    }
  }

  /// Applies a function to corresponding elements of this matrix and another of the same shape.
  public func combined(with other: Matrix, _ transform: (Element, Element) -> Element) -> Matrix {
    precondition(
      rowCount == other.rowCount && columnCount == other.columnCount,
      "\(self) and \(other) differ in shape")
    return unsafe Matrix(rows: rowCount, columns: columnCount) { target in
      unsafe withUnsafePointer { left, leftStride in
        unsafe other.withUnsafePointer { right, rightStride in
          for row in 0..<rowCount {
            for column in 0..<columnCount {
              unsafe target[row * columnCount + column] = transform(
                left[row * leftStride + column], right[row * rightStride + column])
            }
          }
        }
      }
    }
  }

  /// Adds `factor * other` in place.
  ///
  /// - Parameters:
  ///   - other: a matrix of the same shape.
  ///   - factor: what to multiply it by.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  public mutating func add(_ other: Matrix, times factor: Element = 1) {
    precondition(
      rowCount == other.rowCount && columnCount == other.columnCount,
      "\(self) and \(other) differ in shape")
    let (rows, columns) = (rowCount, columnCount)
    unsafe withUnsafeMutablePointer { target, targetStride in
      unsafe other.withUnsafePointer { source, sourceStride in
        for row in 0..<rows {
          for column in 0..<columns {
            unsafe target[row * targetStride + column] +=
              factor * source[row * sourceStride + column]
          }
        }
      }
    }
  }

  /// Multiplies every element in place.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  public mutating func scale(by factor: Element) {
    for row in 0..<rowCount {
      withMutableRow(row) { values in
        for column in values.indices { values[column] *= factor }
      }
    }
  }

  /// Adds values to the diagonal in place.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  public mutating func addToDiagonal(_ values: [Element]) {
    precondition(
      values.count == Swift.min(rowCount, columnCount),
      "\(values.count) values for the diagonal of \(self)")
    for (index, value) in values.enumerated() { self[index, index] += value }
  }

  /// The largest absolute element; 0 for an empty matrix.
  public var largestMagnitude: Element {
    var largest: Element = 0
    for row in 0..<rowCount {
      withRow(row) { values in
        for column in values.indices { largest = Swift.max(largest, values[column].magnitude) }
      }
    }
    return largest
  }

  /// The sum of the squares of all elements, in double precision.
  public var squaredNorm: Double { dot(self) }

  /// The sum of the products of corresponding elements, in double precision.
  ///
  /// - Parameter other: a matrix of the same shape.
  /// - Returns: the Frobenius inner product.
  public func dot(_ other: Matrix) -> Double { columnDots(other).reduce(0, +) }

  /// For every column, the sum of the products of corresponding elements, in double precision.
  ///
  /// - Parameter other: a matrix of the same shape.
  /// - Returns: as many sums as there are columns.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  public func columnDots(_ other: Matrix) -> [Double] {
    precondition(
      rowCount == other.rowCount && columnCount == other.columnCount,
      "\(self) and \(other) differ in shape")
    var sums = [Double](repeating: 0, count: columnCount)
    for row in 0..<rowCount {
      withRow(row) { left in
        other.withRow(row) { right in
          for column in left.indices {
            sums[column] += Double(left[column]) * Double(right[column])
          }
        }
      }
    }
    return sums
  }

  /// The position of the first element that is NaN or infinite, or `nil`.
  public var firstNonFinite: (row: Int, column: Int)? {
    for row in 0..<rowCount {
      let column: Int? = withRow(row) { values in
        for column in values.indices where !values[column].isFinite { return column }
        return nil
      }
      if let column { return (row, column) }
    }
    return nil
  }
}

// MARK: - Columns, each with a factor of its own

extension Matrix where Element: BLASScalar {
  /// For every column, the sum of products weighted by row, in double precision.
  ///
  /// - Parameters:
  ///   - other: a matrix of the same shape.
  ///   - weights: one for each row.
  /// - Returns: as many sums as there are columns.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package func weightedColumnDots(_ other: Matrix, weights: [Double]) -> [Double] {
    precondition(weights.count == rowCount, "\(weights.count) weights for \(self)")
    var sums = [Double](repeating: 0, count: columnCount)
    for row in 0..<rowCount {
      withRow(row) { left in
        other.withRow(row) { right in
          for column in left.indices {
            sums[column] += weights[row] * Double(left[column]) * Double(right[column])
          }
        }
      }
    }
    return sums
  }

  /// Adds `other · diag(factors)` in place.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package mutating func addColumns(_ other: Matrix, times factors: [Element]) {
    precondition(factors.count == columnCount, "\(factors.count) factors for \(self)")
    for row in 0..<rowCount {
      other.withRow(row) { source in
        withMutableRow(row) { target in
          for column in target.indices { target[column] += factors[column] * source[column] }
        }
      }
    }
  }

  /// `self + other · diag(factors)`.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package func combinedColumns(with other: Matrix, times factors: [Element]) -> Matrix {
    var result = compact()
    result.addColumns(other, times: factors)
    return result
  }

  /// Overwrites the columns that satisfy a condition by those of another matrix.
  package mutating func replaceColumns(with other: Matrix, where condition: (Int) -> Bool) {
    for column in 0..<columnCount where condition(column) {
      for row in 0..<rowCount { self[row, column] = other[row, column] }
    }
  }

  /// `self - diag(factors) · other`.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package func subtractingRows(of other: Matrix, times factors: [Element]) -> Matrix {
    precondition(factors.count == rowCount, "\(factors.count) factors for \(self)")
    var result = compact()
    for row in 0..<rowCount {
      other.withRow(row) { source in
        result.withMutableRow(row) { target in
          for column in target.indices { target[column] -= factors[row] * source[column] }
        }
      }
    }
    return result
  }
}
