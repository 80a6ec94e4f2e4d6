extension Matrix where Element: BLASScalar {
  /// The logarithms of `Φ` at every element and at its negative, from tail to tail.
  ///
  /// - Parameter approximate: takes `sigmoid(2·sqrt(2/π)·(x + 0.044715·x³))` for `Φ`.
  /// - Returns: `log Φ(x)` and `log Φ(-x)`, each of this shape.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package func logNormalCDFs(approximate: Bool) -> (lower: Matrix, upper: Matrix) {
    let count = rowCount * columnCount
    var lower = compact()
    let upper = unsafe Matrix(rows: rowCount, columns: columnCount) { upper in
      unsafe lower.withUnsafeMutablePointer { values, _ in
        guard let target = upper.baseAddress, count > 0 else { return }
        if approximate {
          unsafe Element.kernels.logApproximateNormalCDFs(count, values, values, target)
        } else {
          unsafe Element.kernels.logNormalCDFs(count, values, values, target)
        }
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

  /// The exponential of every element.
  @specialized(where Element == Float)
  @specialized(where Element == Double)
  package func exponentials() -> Matrix {
    var result = compact()
    let count = rowCount * columnCount
    unsafe result.withUnsafeMutablePointer { values, _ in
      unsafe Element.kernels.exp(count, values, values)
    }
    return result
  }

  /// Softmax of every row.
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
