import BllarseKernels

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
    self.init(converting: FeatureMatrix(storing: source))
  }

  /// Converts features, in memory of its own.
  init(converting features: FeatureMatrix) {
    let (rows, columns) = (features.rowCount, features.columnCount)
    unsafe self.init(rows: rows, columns: columns) { target in
      guard let base = target.baseAddress, target.count > 0 else { return }
      unsafe features.withStoredRows(from: 0) {
        unsafe Element.convertRows(rows, columns, $0, base, columns)
      }
    }
  }

  /// Applies a function to every element.
  public func map(_ transform: (Element) -> Element) -> Matrix {
    unsafe Matrix(rows: rowCount, columns: columnCount) { target in
      unsafe withUnsafePointer { source, stride in
        for row in 0..<rowCount {
          for column in 0..<columnCount {
            unsafe target[row * columnCount + column] = transform(source[row * stride + column])
          }
        }
      }
    }
  }

  /// Applies a function to corresponding elements of this matrix and another of the same shape.
  public func combined(with other: Matrix, _ transform: (Element, Element) -> Element) -> Matrix {
    requireShape(of: other)
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

  private func requireShape(of other: Matrix) {
    precondition(
      rowCount == other.rowCount && columnCount == other.columnCount,
      "\(self) and \(other) differ in shape")
  }

  /// Adds `factor * other`, of the same shape, in place.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  public mutating func add(_ other: Matrix, times factor: Element = 1) {
    requireShape(of: other)
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

  /// The sum of the squares of all elements, in double precision.
  public var squaredNorm: Double { dot(self) }

  /// The sum of the products with the elements of a matrix of the same shape, in double precision
  /// (the Frobenius inner product).
  public func dot(_ other: Matrix) -> Double { columnDots(other).reduce(0, +) }

  /// For every column, the sum of the products of corresponding elements, in double precision.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  public func columnDots(_ other: Matrix) -> [Double] {
    requireShape(of: other)
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

  // MARK: - Columns, each with a factor of its own

  /// For every column, the sum of products weighted by row, in double precision.
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

  // MARK: - Rows

  /// The sum of squares of every row, in double precision as all sums here.
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

  /// Changes corresponding elements of this matrix and of moments, with inputs at hand, all of one
  /// shape.
  ///
  /// `body` receives the elements of this matrix, of each moment and of each input, without gaps, and
  /// their number.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package mutating func updateElements(
    _ moments: inout [Matrix], _ inputs: [Matrix],
    _ body: (
      UnsafeMutablePointer<Element>, [UnsafeMutablePointer<Element>], [UnsafePointer<Element>], Int
    ) -> Void
  ) {
    let count = rowCount * columnCount
    if !isContiguous { self = compact() }
    // Unique after this, and alive as long as `moments`.
    let changed = unsafe moments.indices.map { index in
      requireShape(of: moments[index])
      if !moments[index].isContiguous { moments[index] = moments[index].compact() }
      return unsafe moments[index].withUnsafeMutablePointer { pointer, _ in unsafe pointer }
    }
    let read = inputs.map { $0.isContiguous ? $0 : $0.compact() }
    let pointers = unsafe read.map { input in
      requireShape(of: input)
      return unsafe input.withUnsafePointer { pointer, _ in unsafe pointer }
    }
    unsafe withUnsafeMutablePointer { theta, _ in
      unsafe body(theta, changed, pointers, count)
    }
    withExtendedLifetime((moments, read)) {}
  }

  /// The logarithms of `Φ`, or of its approximation `sigmoid(2·sqrt(2/π)·(x + 0.044715·x³))`, at
  /// every element and at its negative, from tail to tail: `log Φ(x)` and `log Φ(-x)`.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package func logNormalCDFs(approximate: Bool) -> (lower: Matrix, upper: Matrix) {
    let count = rowCount * columnCount
    var lower = compact()
    let upper = unsafe Matrix(rows: rowCount, columns: columnCount) { upper in
      unsafe lower.withUnsafeMutablePointer { values, _ in
        guard let target = upper.baseAddress, count > 0 else { return }
        let kernels = Element.kernels
        unsafe (approximate ? kernels.logApproximateNormalCDFs : kernels.logNormalCDFs)(
          count, values, values, target)
      }
    }
    return (lower, upper)
  }

  /// Subtracts from every row the logarithm of the sum of its exponentials.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  public mutating func formLogSoftmaxRows() {
    let (rows, columns) = (rowCount, columnCount)
    guard rows > 0, columns > 0 else { return }
    unsafe withUnsafeMutablePointer { values, stride in
      unsafe Element.kernels.logSoftmaxRows(rows, columns, values, stride, values, stride)
    }
  }

  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package func exponentials() -> Matrix {
    var result = compact()
    let count = rowCount * columnCount
    unsafe result.withUnsafeMutablePointer { values, _ in
      unsafe Element.kernels.exponentials(count, values, values)
    }
    return result
  }

  package func softmaxRows() -> Matrix {
    var result = compact()
    let (rows, columns) = (rowCount, columnCount)
    guard rows > 0, columns > 0 else { return result }
    unsafe result.withUnsafeMutablePointer { values, stride in
      unsafe Element.kernels.softmaxRows(rows, columns, values, stride, values, stride)
    }
    return result
  }
}

// What a network's forward pass needs besides products.
extension Matrix<Float> {
  /// Applies the exact GELU, `x · Φ(x)`, to every element in place.
  package mutating func formGELU() {
    let (rows, columns) = (rowCount, columnCount)
    unsafe withUnsafeMutablePointer { values, stride in
      for row in 0..<rows {
        unsafe bllarse_gelu_f32(columns, values + row * stride, values + row * stride)
      }
    }
  }

  /// Writes the layer normalisation of every row, `(x - mean) / sqrt(variance + ε) · gain + shift`,
  /// with the row's population variance and one gain and shift a column.
  package func layerNormalize(
    into target: inout Matrix<Float>, epsilon: Double, gain: [Float], shift: [Float]
  ) {
    precondition(
      target.rowCount == rowCount && target.columnCount == columnCount
        && gain.count == columnCount && shift.count == columnCount,
      "\(self) into \(target) with \(gain.count) gains and \(shift.count) shifts")
    let (rows, columns) = (rowCount, columnCount)
    unsafe target.withUnsafeMutablePointer { output, outputStride in
      unsafe withUnsafePointer { input, inputStride in
        unsafe gain.withUnsafeBufferPointer { gain in
          unsafe shift.withUnsafeBufferPointer { shift in
            unsafe bllarse_layer_norm_rows_f32(
              rows, columns, input, inputStride, epsilon, gain.baseAddress, shift.baseAddress,
              output, outputStride, 0)
          }
        }
      }
    }
  }

  package mutating func fillRows(with row: [Float]) {
    precondition(row.count == columnCount, "\(row.count) values for the rows of \(self)")
    for index in 0..<rowCount {
      withMutableRow(index) { values in
        for column in values.indices { values[column] = row[column] }
      }
    }
  }
}
