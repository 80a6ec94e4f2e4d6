import BllarseNumerics

/// How large features may be: their squares, and the sums of these, must stay finite in single precision.
///
///     fitted rows   |x| ≤ sqrt(M / (N·D))     the Gram matrix of all rows
///     other rows    |x| ≤ sqrt(M / D)         the squared norm of one row
///
/// with M the largest number of single precision, 3.4e38, and the bound rounded down to a power of ten. The
/// range of a row that is only predicted does not depend on the rows beside it.
struct FeatureRange: Sendable, Equatable {
  /// The largest magnitude.
  let bound: Double
  /// What stays finite, for messages.
  private let sum: String

  /// The range of rows that a head is fitted to.
  init(fitting rowCount: Int, columnCount: Int) {
    self.init(termCount: Double(rowCount) * Double(columnCount), sum: "of squares over all rows")
  }

  /// The range of rows that are predicted.
  init(predicting columnCount: Int) {
    self.init(termCount: Double(columnCount), sum: "of a row's squares")
  }

  private init(termCount: Double, sum: String) {
    bound = FeatureMatrix.largestValue(termCount: termCount)
    self.sum = sum
  }

  /// What is wrong with a value that is not in the range.
  ///
  /// - Parameters:
  ///   - value: NaN, infinite, or beyond the bound.
  ///   - file: the file, if there is one.
  ///   - key: the array or split.
  ///   - row: from 0.
  ///   - column: from 0.
  /// - Returns: the error.
  func fault(
    _ value: Double, file: String?, key: String, row: Int, column: Int
  ) -> DataError {
    guard value.isFinite else {
      return DataError(
        .notFinite, file: file, key: key, row: row, column: column,
        found: "the value is \(value)", expected: "a finite number",
        advice: "remove the row or replace the value")
    }
    return DataError(
      .outOfRange, file: file, key: key, row: row, column: column,
      // In the digits of the precision that it has.
      found: "the value is " + (Double(Float(value)) == value ? "\(Float(value))" : "\(value)"),
      expected: "at most \(bound) in magnitude, so that sums \(sum) stay finite",
      advice: "remove the row, or divide the column by its scale in every split")
  }
}
