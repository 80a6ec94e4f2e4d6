/// Which of several labels each row has: none, some or all.
public struct LabelSets: Sendable, Equatable {
  /// N.
  public let rowCount: Int
  /// L.
  public let labelCount: Int
  /// Row by row, N·L.
  private let values: [Bool]

  /// Takes a number for each row and label.
  ///
  /// - Parameters:
  ///   - rowCount: N.
  ///   - labelCount: L, at least 1.
  ///   - values: N·L, row by row.
  public init(rowCount: Int, labelCount: Int, _ values: [Bool]) {
    precondition(
      labelCount > 0 && values.count == rowCount * labelCount,
      "\(values.count) values for \(rowCount) rows of \(labelCount) labels")
    (self.rowCount, self.labelCount, self.values) = (rowCount, labelCount, values)
  }

  /// Whether a row has a label.
  public subscript(row: Int, label: Int) -> Bool { values[row * labelCount + label] }

  /// Whether rows have a label, as two classes: 1 for rows that have it, N.
  func classes(of label: Int) -> [Int32] { (0..<rowCount).map { self[$0, label] ? 1 : 0 } }

  /// The labels that a row has, ascending.
  func labels(ofRow row: Int) -> [Int] { (0..<labelCount).filter { self[row, $0] } }

  func rows(_ range: Range<Int>) -> LabelSets {
    LabelSets(
      rowCount: range.count, labelCount: labelCount,
      Array(values[range.lowerBound * labelCount..<range.upperBound * labelCount]))
  }

  func gatheringRows(_ rows: [Int]) -> LabelSets {
    LabelSets(
      rowCount: rows.count, labelCount: labelCount,
      rows.flatMap { values[$0 * labelCount..<($0 + 1) * labelCount] })
  }
}

extension StoredTensor {
  /// Zeros and ones, (rows, labels), of any type.
  func labelSets() throws(DataError) -> LabelSets {
    guard shape.count == 2, shape[1] > 0 else {
      throw header.wrongShape(
        expected: "a column of zeros and ones for each label (rows, labels)",
        advice: shape.count == 1
          ? "store sets of labels as zeros and ones, or leave --task multilabel out" : nil)
    }
    let columns = shape[1]
    let values: [Double] = try array()
    return LabelSets(
      rowCount: shape[0], labelCount: columns,
      try values.enumerated().map { (place, value) throws(DataError) in
        guard value == 0 || value == 1 else {
          throw DataError(
            .invalidLabel, file: path, key: name, row: place / columns, column: place % columns,
            found: "the value is \(value)",
            expected: "1 for a label that the row has, 0 for one that it has not",
            advice: "correct or remove the row")
        }
        return value == 1
      })
  }
}
