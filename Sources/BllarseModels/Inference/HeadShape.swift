public import BllarseNumerics

/// The rows of a head's design and the prior of its weights: what does not change while it is fitted.
public struct HeadShape: Sendable, Equatable {
  /// The number of features of a row, without the bias.
  public var featureCount: Int
  /// The number of classes, K, at least 2.
  public var classCount: Int
  /// Whether the design ends with a column of ones.
  public var usesBias: Bool
  /// How features become rows of the design.
  public var transform: FeatureTransform
  /// The prior precision of every weight, `Λ₀ = priorPrecision · I`.
  public var priorPrecision: Double

  /// Describes a head over features under a transform.
  public init(
    featureCount: Int, classCount: Int, usesBias: Bool = true, transform: FeatureTransform,
    priorPrecision: Double = 1
  ) {
    precondition(featureCount > 0, "a head over \(featureCount) features")
    precondition(classCount >= 2, "a head with \(classCount) classes")
    precondition(
      priorPrecision > 0 && priorPrecision.isFinite, "a prior precision of \(priorPrecision)")
    self.featureCount = featureCount
    self.classCount = classCount
    self.usesBias = usesBias
    self.transform = transform
    self.priorPrecision = priorPrecision
  }

  /// D, the number of columns of the design.
  public var designColumnCount: Int { featureCount + (usesBias ? 1 : 0) }

  /// The design matrix of features.
  ///
  /// - Throws: `NumericsError.sizeMismatch` when the features are not `featureCount` a row.
  func design<Scalar>(_ features: FeatureMatrix) throws(NumericsError) -> DesignMatrix<Scalar> {
    try TrainingRows.checkFeatureCount(features, featureCount)
    return DesignMatrix(features, transform: transform, hasBias: usesBias)
  }

  /// Refuses rows and labels that cannot be, as ``TrainingRows`` says.
  func check(
    _ features: FeatureMatrix, _ labels: [Int32], _ execution: Execution
  ) throws(NumericsError) {
    try TrainingRows.check(
      features, labels: labels, featureCount: featureCount, classCount: classCount,
      execution: execution)
  }
}

/// What rows and labels must be before anything is computed from them.
///
/// Fits, updates and scores ask here. Runs of the executables checked their rows before, while loading, with the
/// place in the file.
public enum TrainingRows {
  /// Refuses rows that no head can be fitted to.
  ///
  /// - Parameters:
  ///   - features: N x D.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - featureCount: D of the head; whatever the features have when `nil`.
  ///   - classCount: K, at least 2.
  ///   - weights: of the rows, N finite numbers that are not negative and not all 0; `nil` for 1 each.
  ///   - execution: the threads to look at the features with.
  /// - Throws: `NumericsError` with the first row at fault: `noRows`, `sizeMismatch`, `labelOutOfRange`,
  ///   `notFinite`, `outOfRange`, `invalidWeight`, `invalidParameter`.
  /// - Complexity: one pass over the features.
  public static func check(
    _ features: FeatureMatrix, labels: [Int32], featureCount: Int? = nil, classCount: Int,
    weights: [Double]? = nil, execution: Execution = .available
  ) throws(NumericsError) {
    try checkLabels(labels, rowCount: features.rowCount, classCount: classCount)
    try checkFeatureCount(features, featureCount ?? features.columnCount)
    try checkValues(features, execution: execution)
    if let weights { try checkWeights(weights, rowCount: features.rowCount) }
  }

  /// Refuses labels that are not one class a row, and none.
  ///
  /// - Parameters:
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - rowCount: N, at least 1.
  ///   - classCount: K, at least 2.
  ///   - rows: what the rows are called, "training rows".
  /// - Throws: `NumericsError`.
  package static func checkLabels(
    _ labels: [Int32], rowCount: Int, classCount: Int, rows: String = "training rows"
  ) throws(NumericsError) {
    guard rowCount > 0 else { throw .noRows(rows) }
    guard classCount >= 2 else {
      throw .invalidParameter(
        "the number of classes", value: Double(classCount), expected: "2 or more")
    }
    try matchLabels(labels, rowCount: rowCount, classCount: classCount)
  }

  /// Refuses labels that are not one class a row; no rows are no fault.
  package static func matchLabels(
    _ labels: [Int32], rowCount: Int, classCount: Int
  ) throws(NumericsError) {
    guard labels.count == rowCount else {
      throw .sizeMismatch(
        of: "labels", found: labels.count, expected: rowCount, reason: "one for each row")
    }
    if let row = labels.firstIndex(where: { $0 < 0 || Int($0) >= classCount }) {
      throw .labelOutOfRange(row: row, label: Int(labels[row]), classCount: classCount)
    }
  }

  /// Refuses rows of another width.
  ///
  /// - Parameters:
  ///   - features: N x D.
  ///   - featureCount: D of the head.
  /// - Throws: `NumericsError.sizeMismatch`.
  public static func checkFeatureCount(
    _ features: FeatureMatrix, _ featureCount: Int
  ) throws(NumericsError) {
    guard features.columnCount == featureCount, featureCount > 0 else {
      throw .sizeMismatch(
        of: "features a row", found: features.columnCount, expected: max(featureCount, 1),
        reason: featureCount > 0 ? "as the head has" : "or more")
    }
  }

  /// Refuses features that are NaN, infinite, or so large that the squares of all rows overflow in single
  /// precision.
  ///
  /// - Parameters:
  ///   - features: N x D.
  ///   - execution: the threads to look with.
  /// - Throws: `NumericsError.notFinite` or `NumericsError.outOfRange` with the first place.
  package static func checkValues(
    _ features: FeatureMatrix, execution: Execution = .available
  ) throws(NumericsError) {
    let bound = FeatureMatrix.largestValue(
      termCount: Double(features.rowCount) * Double(features.columnCount))
    guard let (row, column) = features.firstValue(beyond: bound, execution: execution) else {
      return
    }
    let value = features.value(row, column)
    guard value.isFinite else { throw .notFinite(row: row, column: column) }
    throw .outOfRange(row: row, column: column, value: value, bound: bound)
  }

  /// Refuses weights that are not one a row, negative, not finite, or all 0.
  ///
  /// - Parameters:
  ///   - weights: of the rows.
  ///   - rowCount: N.
  /// - Throws: `NumericsError`.
  package static func checkWeights(_ weights: [Double], rowCount: Int) throws(NumericsError) {
    guard weights.count == rowCount else {
      throw .sizeMismatch(
        of: "weights", found: weights.count, expected: rowCount, reason: "one for each row")
    }
    if let row = weights.firstIndex(where: { !($0 >= 0 && $0.isFinite) }) {
      throw .invalidWeight(row: row, weight: weights[row])
    }
    guard weights.contains(where: { $0 > 0 }) else {
      throw .noRows("rows whose weight is above 0")
    }
  }
}

extension TrainingRows {
  /// Refuses an order of rows that names one that is not there, or one twice, and an empty one.
  static func checkOrder(_ order: [Int], rowCount: Int) throws(NumericsError) {
    guard !order.isEmpty else { throw .noRows("rows in the order") }
    var isTaken = [Bool](repeating: false, count: rowCount)
    for (place, row) in order.enumerated() {
      guard row >= 0, row < rowCount, !isTaken[row] else {
        throw .invalidParameter(
          "the row at place \(place) of the order", value: Double(row),
          expected: "each row in 0..<\(rowCount) at most once")
      }
      isTaken[row] = true
    }
  }

  /// Refuses a start of an iteration that has another shape than the weights.
  static func checkStart(
    _ start: Matrix<Double>, rowCount: Int, columnCount: Int
  ) throws(NumericsError) {
    for (what, found, expected) in [
      ("rows of the start", start.rowCount, rowCount),
      ("columns of the start", start.columnCount, columnCount),
    ] where found != expected {
      throw .sizeMismatch(
        of: what, found: found, expected: expected, reason: "as the weights have")
    }
    if let (row, column) = start.firstNonFinite { throw .notFinite(row: row, column: column) }
  }
}

extension NumericsError {
  /// Refuses an update that no iteration makes, or that forgets more than all or less than nothing.
  static func requireUpdate(iterations: Int, forgettingRate: Double) throws(NumericsError) {
    try require(iterations >= 1, "the number of iterations", Double(iterations), "1 or more")
    try require(
      0...1 ~= forgettingRate, "the forgetting rate", forgettingRate, "a number from 0 to 1")
  }

  /// Refuses a number that is not as expected.
  package static func require(
    _ condition: Bool, _ name: String, _ value: Double, _ expected: String
  ) throws(NumericsError) {
    guard condition else { throw .invalidParameter(name, value: value, expected: expected) }
  }
}

/// A design matrix of at most this many bytes is kept in memory during a fit.
package let residentDesignLimit = 128 << 20

/// `base` to a power that is not negative.
package func power(_ base: Double, _ exponent: Int) -> Double {
  var result = 1.0
  var (square, rest) = (base, exponent)
  while rest > 0 {
    if rest & 1 == 1 { result *= square }
    square *= square
    rest >>= 1
  }
  return result
}
