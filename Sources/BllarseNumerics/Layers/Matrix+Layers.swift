import BllarseKernels

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
  /// with the row's population variance.
  ///
  /// - Parameters:
  ///   - target: a matrix of the same shape.
  ///   - epsilon: ε.
  ///   - gain: one factor a column.
  ///   - shift: one summand a column.
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

  /// Copies a row over every row.
  package mutating func fillRows(with row: [Float]) {
    precondition(row.count == columnCount, "\(row.count) values for the rows of \(self)")
    for index in 0..<rowCount {
      withMutableRow(index) { values in
        for column in values.indices { values[column] = row[column] }
      }
    }
  }
}
