public import BllarseNumerics
import Glibc

/// What Bayesian linear regression needs to know of rows: their weight, means, and scatter about the means.
///
///     W = Σ wᵢ,   x̄ = Σ wᵢxᵢ / W,   S_xx = Σ wᵢ(xᵢ - x̄)(xᵢ - x̄)ᵀ,   S_xy = Σ wᵢ(xᵢ - x̄)(yᵢ - ȳ)ᵀ
///
/// They add up, and are subtracted again (batches, streams, folds, rows to be forgotten), by moving both
/// parts to the common mean: nothing is lost to an offset that is far larger than the spread. All numbers
/// are Float64 products and sums of the rows as they are stored.
///
/// - Note: Source: Chan, Golub and LeVeque, "Algorithms for computing the sample variance", American
///   Statistician 1983.
public struct RegressionStatistics: Sendable, Equatable {
  /// The number of rows of positive weight.
  public let rowCount: Int
  /// The sum of the weights, W.
  public let weight: Double
  /// The means of the inputs, D.
  public let inputMeans: [Double]
  /// The means of the targets, T.
  public let targetMeans: [Double]
  /// `S_xx`, D x D.
  public let inputScatter: Matrix<Double>
  /// `S_xy`, D x T.
  public let crossScatter: Matrix<Double>
  /// `S_yy` of each target, T.
  public let targetScatter: [Double]

  /// Takes statistics as they are.
  ///
  /// - Throws: `NumericsError` for sizes that differ, and for numbers that no rows have.
  public init(
    rowCount: Int, weight: Double, inputMeans: [Double], targetMeans: [Double],
    inputScatter: Matrix<Double>, crossScatter: Matrix<Double>, targetScatter: [Double]
  ) throws(NumericsError) {
    let (inputs, targets) = (inputMeans.count, targetMeans.count)
    for (what, found, expected) in [
      ("rows of the inputs' scatter", inputScatter.rowCount, inputs),
      ("columns of the inputs' scatter", inputScatter.columnCount, inputs),
      ("rows of the cross scatter", crossScatter.rowCount, inputs),
      ("columns of the cross scatter", crossScatter.columnCount, targets),
      ("scatters of targets", targetScatter.count, targets),
    ] where found != expected {
      throw .sizeMismatch(
        of: what, found: found, expected: expected, reason: "as there are means")
    }
    try NumericsError.require(
      weight > 0 && weight.isFinite, "the weight of all rows", weight, "a positive number")
    try NumericsError.require(rowCount > 0, "the number of rows", Double(rowCount), "1 or more")
    for value in targetScatter {
      try NumericsError.require(
        value >= 0 && value.isFinite, "the scatter of a target", value,
        "a finite number that is not negative")
    }
    self.init(
      unchecked: rowCount, weight, inputMeans, targetMeans, inputScatter, crossScatter,
      targetScatter)
  }

  init(
    unchecked rowCount: Int, _ weight: Double, _ inputMeans: [Double], _ targetMeans: [Double],
    _ inputScatter: Matrix<Double>, _ crossScatter: Matrix<Double>, _ targetScatter: [Double]
  ) {
    (self.rowCount, self.weight) = (rowCount, weight)
    (self.inputMeans, self.targetMeans) = (inputMeans, targetMeans)
    (self.inputScatter, self.crossScatter) = (inputScatter, crossScatter)
    self.targetScatter = targetScatter
  }

  /// The number of inputs, D.
  public var inputCount: Int { inputMeans.count }
  /// The number of targets, T.
  public var targetCount: Int { targetMeans.count }

  /// Reads rows.
  ///
  /// - Parameters:
  ///   - features: n x D, finite.
  ///   - transform: what makes inputs of them.
  ///   - targets: n x T, finite.
  ///   - weights: how much each row counts, n numbers that are not negative, not all 0; `nil` for 1 each.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError` with the first row at fault.
  /// - Complexity: O(n·D·(D + T)).
  public init(
    _ features: FeatureMatrix, transform: FeatureTransform, targets: Matrix<Double>,
    weights: [Double]? = nil, execution: Execution = .available
  ) throws(NumericsError) {
    try RegressionRows.check(features, targets: targets, weights: weights, execution: execution)
    let rows = RegressionRows(
      features, transform: transform, targets: targets, weights: weights, execution: execution)
    let scatter = rows.design.gram(rowWeights: weights, execution: execution)
    try execution.checkCancellation()
    let (cross, own) = rows.targetProducts(execution: execution)
    self.init(
      unchecked: rows.rowCount, rows.weight, rows.inputMeans, rows.targetMeans, scatter, cross, own)
  }

  /// The statistics of these rows and of others.
  ///
  /// - Throws: `NumericsError.sizeMismatch` where inputs or targets differ in number.
  public func adding(
    _ other: RegressionStatistics
  ) throws(NumericsError) -> RegressionStatistics {
    try checkSizes(of: other)
    let total = weight + other.weight
    return combined(
      with: other, sign: 1, rowCount: rowCount + other.rowCount, weight: total,
      meanShift: other.weight / total, scatterFactor: weight / total * other.weight)
  }

  /// The statistics of these rows without some of them.
  ///
  /// What is left is exact to the rounding of the whole: forgetting all rows but those of a thousandth of
  /// the scatter leaves three digits less.
  ///
  /// - Throws: `NumericsError.sizeMismatch`, and `noRows` where nothing would be left.
  public func subtracting(
    _ other: RegressionStatistics
  ) throws(NumericsError) -> RegressionStatistics {
    try checkSizes(of: other)
    let rest = weight - other.weight
    guard rowCount > other.rowCount, rest > 1e-12 * weight else {
      throw .noRows("rows left after those to be forgotten")
    }
    // δ = x̄ - x̄ₒ is W_rest/W of the distance between the two parts' means.
    return combined(
      with: other, sign: -1, rowCount: rowCount - other.rowCount, weight: rest,
      meanShift: -other.weight / rest, scatterFactor: -weight / rest * other.weight)
  }

  private func checkSizes(of other: RegressionStatistics) throws(NumericsError) {
    for (what, found, expected) in [
      ("inputs", other.inputCount, inputCount), ("targets", other.targetCount, targetCount),
    ] where found != expected {
      throw .sizeMismatch(of: what, found: found, expected: expected, reason: "as here")
    }
  }

  private func combined(
    with other: RegressionStatistics, sign: Double, rowCount: Int, weight: Double,
    meanShift: Double, scatterFactor: Double
  ) -> RegressionStatistics {
    let inputShift = zip(other.inputMeans, inputMeans).map { $0 - $1 }
    let targetShift = zip(other.targetMeans, targetMeans).map { $0 - $1 }
    var scatter = inputScatter
    scatter.add(other.inputScatter, times: sign)
    scatter.addOuterProduct(inputShift, inputShift, times: scatterFactor)
    var cross = crossScatter
    cross.add(other.crossScatter, times: sign)
    cross.addOuterProduct(inputShift, targetShift, times: scatterFactor)
    let own = targetScatter.indices.map { t in
      let value =
        targetScatter[t] + sign * other.targetScatter[t]
        + scatterFactor * targetShift[t] * targetShift[t]
      return max(0, value)
    }
    return RegressionStatistics(
      unchecked: rowCount, weight, zip(inputMeans, inputShift).map { $0 + meanShift * $1 },
      zip(targetMeans, targetShift).map { $0 + meanShift * $1 }, scatter, cross, own)
  }
}

extension Matrix<Double> {
  /// Adds `factor · a·bᵀ`.
  fileprivate mutating func addOuterProduct(_ a: [Double], _ b: [Double], times factor: Double) {
    for row in 0..<rowCount {
      let left = factor * a[row]
      withMutableRow(row) { values in
        for column in values.indices { values[column] += left * b[column] }
      }
    }
  }
}

/// Rows with real targets, centred on their weighted means.
package struct RegressionRows {
  /// The inputs less their means, n x D.
  package let design: DesignMatrix<Double>
  /// The means of the inputs, D.
  let inputMeans: [Double]
  /// The means of the targets, T.
  let targetMeans: [Double]
  /// The number of rows of positive weight, and the sum of the weights.
  let rowCount: Int
  let weight: Double
  private let targets: Matrix<Double>
  private let weights: [Double]?

  init(
    _ features: FeatureMatrix, transform: FeatureTransform, targets: Matrix<Double>,
    weights: [Double]?, execution: Execution
  ) {
    let statistics = ColumnStatistics(
      features, transform: transform, weights: weights, execution: execution)
    design = DesignMatrix(
      features, transform: transform.centred(on: statistics.means), hasBias: false)
    inputMeans = statistics.means
    let first = weights?.firstIndex { $0 > 0 } ?? 0
    let total = weights?.reduce(0, +) ?? Double(features.rowCount)
    targetMeans = (0..<targets.columnCount).map { t in
      // About the first target, so that an offset costs no accuracy.
      let origin = targets[first, t]
      var sum = 0.0
      for row in 0..<targets.rowCount {
        sum += (weights?[row] ?? 1) * (targets[row, t] - origin)
      }
      return origin + sum / total
    }
    rowCount = weights?.count { $0 > 0 } ?? features.rowCount
    weight = total
    (self.targets, self.weights) = (targets, weights)
  }

  /// Refuses rows that no regression can be fitted to.
  package static func check(
    _ features: FeatureMatrix, targets: Matrix<Double>, featureCount: Int? = nil,
    targetCount: Int? = nil, weights: [Double]?, execution: Execution
  ) throws(NumericsError) {
    guard features.rowCount > 0 else { throw .noRows("training rows") }
    try TrainingRows.checkFeatureCount(features, featureCount ?? features.columnCount)
    guard targets.rowCount == features.rowCount else {
      throw .sizeMismatch(
        of: "rows of targets", found: targets.rowCount, expected: features.rowCount,
        reason: "one for each row of features")
    }
    guard targets.columnCount > 0, targets.columnCount == targetCount ?? targets.columnCount else {
      throw .sizeMismatch(
        of: "targets a row", found: targets.columnCount, expected: targetCount ?? 1,
        reason: targetCount == nil ? "or more" : "as the model has")
    }
    if let weights { try TrainingRows.checkWeights(weights, rowCount: features.rowCount) }
    try TrainingRows.checkValues(features, execution: execution)
    for row in 0..<targets.rowCount {
      for column in 0..<targets.columnCount {
        let value = targets[row, column]
        guard value.isFinite else { throw .notFinite(row: row, column: column) }
        guard value.magnitude <= largestTarget else {
          throw .outOfRange(row: row, column: column, value: value, bound: largestTarget)
        }
      }
    }
  }

  /// Squares of targets are summed.
  private static let largestTarget = 1e140

  /// The targets of some rows less their means.
  func centredTargets(_ range: Range<Int>) -> Matrix<Double> {
    var result = targets.rows(range).compact()
    for row in 0..<range.count {
      result.withMutableRow(row) { values in
        for t in values.indices { values[t] -= targetMeans[t] }
      }
    }
    return result
  }

  /// `S_xy`, D x T, and `S_yy`, T.
  func targetProducts(execution: Execution) -> (cross: Matrix<Double>, own: [Double]) {
    var cross = Matrix<Double>.zeros(design.columnCount, targets.columnCount)
    var own = [Double](repeating: 0, count: targets.columnCount)
    let blockSize = 2048
    for start in stride(from: 0, to: targets.rowCount, by: blockSize) {
      let range = start..<min(start + blockSize, targets.rowCount)
      var values = centredTargets(range)
      for row in 0..<range.count {
        let weight = weights?[start + row] ?? 1
        values.withMutableRow(row) { values in
          for t in values.indices {
            own[t] += weight * values[t] * values[t]
            values[t] *= weight
          }
        }
      }
      let inputs = design.matrix(rows: range)
      execution.withBLAS {
        Matrix.multiply(inputs, transposingA: true, values, into: &cross, beta: 1)
      }
    }
    return (cross, own)
  }

  /// The centred inputs times the roots of their weights, n x D.
  func weightedInputs() -> Matrix<Double> {
    var inputs = design.matrix(rows: 0..<design.rowCount)
    guard let weights else { return inputs }
    for (row, weight) in weights.enumerated() {
      let root = weight.squareRoot()
      inputs.withMutableRow(row) { values in for j in values.indices { values[j] *= root } }
    }
    return inputs
  }
}

extension FeatureTransform {
  /// The transform followed by the subtraction of a mean for each column.
  func centred(on means: [Double]) -> FeatureTransform {
    switch self {
    case .identity:
      .columns(scale: [Double](repeating: 1, count: means.count), shift: means.map { -$0 })
    case .columns(let scale, let shift):
      .columns(scale: scale, shift: zip(shift, means).map { $0 - $1 })
    case .layerNorm(let epsilon):
      .centredLayerNorm(epsilon: epsilon, mean: means)
    case .centredLayerNorm(let epsilon, let mean):
      .centredLayerNorm(epsilon: epsilon, mean: zip(mean, means).map { $0 + $1 })
    }
  }
}
