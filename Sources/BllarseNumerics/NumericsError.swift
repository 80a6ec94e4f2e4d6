/// A failure of a numerical routine that comes from the values it was given.
///
/// Shape mismatches are a caller's bug and trap with both shapes; what depends on the data is thrown.
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

  /// Memory could not be had: how much, for what, and which limit there is, in a clause.
  case outOfMemory(bytes: Int, purpose: String, limit: String?)

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
    case .outOfMemory(let bytes, let purpose, let limit):
      "out of memory: \(MachineLimits.mebibytes(bytes)) for \(purpose) cannot be had"
        + (limit.map { "; \($0)" } ?? "") + "; raise the limit, or give fewer rows or --threads"
    case .outOfThreads(let count, let purpose):
      "\(count) threads for \(purpose) cannot be started: memory or the number of processes is "
        + "limited (ulimit -v, ulimit -u); raise the limit, or do without"
    case .cancelled:
      "the computation was told to stop"
    }
  }
}
