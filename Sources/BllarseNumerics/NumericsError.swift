/// A failure of a computation that comes from what it was given: rows, labels, or numbers on the way.
///
/// Every public fit, update, prediction and score throws it for rows and labels that it cannot take. Rows
/// and columns count from 0. Sizes that no data can reach, of a matrix that code makes, trap with both sizes.
public enum NumericsError: Error, Equatable, Sendable {
  /// A Cholesky factorisation met a leading minor that is not positive definite.
  ///
  /// `leadingMinor` is the order (1-based) of the first minor that failed, `dimension` the order of
  /// the whole matrix.
  case notPositiveDefinite(leadingMinor: Int, dimension: Int)

  /// An iterative LAPACK routine (an eigendecomposition) did not converge.
  case notConverged(routine: String, dimension: Int)

  /// A matrix that must be finite holds a NaN or an infinity at this row and column (from 0).
  case notFinite(row: Int, column: Int)

  /// There are no rows; of what, in the plural: "training rows".
  case noRows(String)

  /// Two sizes differ that must agree: of what, found, and expected, with the reason in a clause.
  ///
  ///     there are 512 features a row, expected 1024, as the head has
  case sizeMismatch(of: String, found: Int, expected: Int, reason: String)

  /// The label of this row is not a class in `0..<classCount`.
  case labelOutOfRange(row: Int, label: Int, classCount: Int)

  /// A value is so large that sums of squares of it overflow in single precision.
  case outOfRange(row: Int, column: Int, value: Double, bound: Double)

  /// The weight of this row is not a finite number that is not negative.
  case invalidWeight(row: Int, weight: Double)

  /// A parameter has a value that it cannot have: its name, the value, and what was expected.
  case invalidParameter(String, value: Double, expected: String)

  /// Memory could not be had: how much, for what, and which limit there is, in a clause.
  case outOfMemory(bytes: Int, purpose: String, limit: String?)

  /// A matrix is larger than the memory there is: which, its size, that memory, and what to take instead.
  case tooLarge(String, bytes: Int, limit: Int, advice: String)

  /// Threads cannot be started: how many, and for what.
  case outOfThreads(Int, purpose: String)

  /// The computation was told to stop by its `Cancellation`.
  case cancelled
}

extension NumericsError: CustomStringConvertible {
  /// What happened, and what to do.
  public var description: String {
    switch self {
    case .notPositiveDefinite(let minor, let dimension):
      "the \(dimension) x \(dimension) matrix is not positive definite: its leading minor of order "
        + "\(minor) fails; raise the prior precision, or remove features that repeat one another"
    case .notConverged(let routine, let dimension):
      "\(routine) did not converge on a \(dimension) x \(dimension) matrix; "
        + "check the features for extreme values"
    case .notFinite(let row, let column):
      "the value at row \(row), column \(column) is not finite"
    case .noRows(let rows):
      "there are no \(rows); give at least one"
    case .sizeMismatch(let what, let found, let expected, let reason):
      "there are \(found) \(what), expected \(expected), \(reason)"
    case .labelOutOfRange(let row, let label, let classCount):
      "row \(row): the label is \(label), expected a class index in 0..<\(classCount); "
        + "number the classes from 0, or correct the row"
    case .outOfRange(let row, let column, let value, let bound):
      "row \(row), column \(column): the value is \(value), expected at most \(bound) in magnitude, so "
        + "that sums of squares stay finite; divide the column by its scale"
    case .invalidWeight(let row, let weight):
      "row \(row): the weight is \(weight), expected a finite number that is not negative"
    case .invalidParameter(let name, let value, let expected):
      "\(name) is \(value), expected \(expected)"
    case .outOfMemory(let bytes, let purpose, let limit):
      "out of memory: \(MachineLimits.mebibytes(bytes)) for \(purpose) cannot be had"
        + (limit.map { "; \($0)" } ?? "") + "; raise the limit, or give fewer rows or threads"
    case .tooLarge(let what, let bytes, let limit, let advice):
      "\(what) needs \(MachineLimits.mebibytes(bytes)) of memory, and there are "
        + "\(MachineLimits.mebibytes(limit)); \(advice)"
    case .outOfThreads(let count, let purpose):
      "\(count) threads for \(purpose) cannot be started: memory or the number of processes is "
        + "limited (ulimit -v, ulimit -u); raise the limit, or do without"
    case .cancelled:
      "the computation was told to stop"
    }
  }
}
