import BllarseNumerics

/// Numbers and vectors of checkpoints, checked.
extension SafetensorsFile {
  /// A metadata entry that is an integer.
  func integer(_ name: String, atLeast minimum: Int) throws(DataError) -> Int {
    let text = try metadata(name)
    guard let value = Int(text), value >= minimum else {
      throw wrongEntry(name, text, "an integer, at least \(minimum)")
    }
    return value
  }

  /// A metadata entry that is a finite number.
  func number(_ name: String, above bound: Double) throws(DataError) -> Double {
    let text = try metadata(name)
    guard let value = Double(text), value > bound, value.isFinite else {
      throw wrongEntry(name, text, "a number above \(bound)")
    }
    return value
  }

  /// A tensor of one dimension with a known number of elements.
  func vector(_ name: String, count: Int) throws(DataError) -> [Double] {
    let values = try array(name, as: Double.self)
    guard values.count == count else {
      throw DataError(
        .wrongShape, file: path, key: name, found: "\(values.count) elements",
        expected: "\(count), as the metadata say")
    }
    return values
  }

  /// A tensor of two dimensions of a known shape.
  func matrix<Element: SafetensorsFloat>(
    _ name: String, rows: Int, columns: Int
  ) throws(DataError) -> Matrix<Element> {
    let matrix = try matrix(name, as: Element.self)
    guard matrix.rowCount == rows, matrix.columnCount == columns else {
      throw DataError(
        .wrongShape, file: path, key: name,
        found: "the shape is (\(matrix.rowCount), \(matrix.columnCount))",
        expected: "(\(rows), \(columns)), as the metadata say",
        advice: "write the checkpoint again")
    }
    return matrix
  }

  private func wrongEntry(_ name: String, _ text: String, _ expected: String) -> DataError {
    DataError(
      .wrongType, file: path, key: "metadata \(name)", found: "the entry is '\(text)'",
      expected: expected)
  }
}
