/// Multiplies each column of some rows by a number of its own and adds another, in place.
///
/// Products and sums are taken in double precision: a column's mean may be far larger than its spread.
///
/// The loops are written for each precision by themselves. A generic one converts every element through
/// the protocols of the standard library, fifty times slower, wherever the compiler does not specialise it.
///
/// - Parameters:
///   - rowCount: how many rows.
///   - width: how many columns.
///   - rows: the address of the first row.
///   - stride: the distance between rows.
///   - scale: a number for each column.
///   - shift: a number for each column.
func scaleRows<Scalar: BLASScalar>(
  _ rowCount: Int, _ width: Int, _ rows: UnsafeMutablePointer<Scalar>, _ stride: Int,
  scale: [Double], shift: [Double]
) {
  precondition(
    scale.count >= width && shift.count >= width,
    "\(scale.count) scales and \(shift.count) shifts for \(width) columns")
  let address = UnsafeMutableRawPointer(rows)
  unsafe scale.withUnsafeBufferPointer { scale in
    unsafe shift.withUnsafeBufferPointer { shift in
      if Scalar.self == Float.self {
        let rows = unsafe address.assumingMemoryBound(to: Float.self)
        for row in 0..<rowCount {
          let values = unsafe rows + row * stride
          for column in 0..<width {
            unsafe values[column] = Float(Double(values[column]) * scale[column] + shift[column])
          }
        }
      } else {
        precondition(Scalar.self == Double.self, "rows of \(Scalar.self)")
        let rows = unsafe address.assumingMemoryBound(to: Double.self)
        for row in 0..<rowCount {
          let values = unsafe rows + row * stride
          for column in 0..<width {
            unsafe values[column] = values[column] * scale[column] + shift[column]
          }
        }
      }
    }
  }
}
