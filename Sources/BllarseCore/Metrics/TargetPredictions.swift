public import BllarseModels
public import BllarseNumerics

/// Predicted distributions of target values with the values that came.
public struct TargetPredictions: Sendable {
  /// What was predicted, N x T.
  public let distributions: TargetDistributions
  /// What came, N x T.
  public let targets: Matrix<Double>
  /// What the predictions are worth.
  public let metrics: RegressionMetrics

  /// Joins predictions and targets.
  ///
  /// - Throws: `NumericsError` when they differ in shape, there are no rows, or a target is not finite.
  public init(
    _ distributions: TargetDistributions, targets: Matrix<Double>
  ) throws(NumericsError) {
    metrics = try RegressionMetrics(distributions, targets: targets)
    (self.distributions, self.targets) = (distributions, targets)
  }
}

/// Target values of training rows, each predicted by a fit that left it out, and what they tell of new rows.
struct LeftOutRegression: Sendable {
  /// What was predicted.
  let predictions: LeftOutTargets
  /// What came, N x T.
  let targets: Matrix<Double>
  /// How often each row counts, N.
  private let weights: [Double]
  /// Which rows were left out together, N numbers from 0 on.
  private let groups: [Int]

  init(
    _ predictions: LeftOutTargets, _ targets: Matrix<Double>, weights: [Double]?, groups: [Int]
  ) {
    (self.predictions, self.targets, self.groups) = (predictions, targets, groups)
    self.weights = weights ?? [Double](repeating: 1, count: targets.rowCount)
  }

  /// The residuals of rows that count, in units of their scales, N' x T; `nil` where some count more than others, as
  /// conformal intervals are of rows that are alike.
  func normalizedResiduals() throws(NumericsError) -> Matrix<Double>? {
    let rows = weights.indices.filter { weights[$0] > 0 }
    guard let first = rows.first, rows.allSatisfy({ weights[$0] == weights[first] }) else {
      return nil
    }
    return try predictions.normalizedResiduals(targets).gatheringRows(rows)
  }

  /// The scores to expect on new rows: `nll`, its standard error `nll_se`, `crps`, `rmse`, `mae`, and `rows`.
  ///
  /// Rows that were left out together are one draw as far as the standard error goes.
  var estimate: [String: Double] {
    let (rows, columns) = (targets.rowCount, targets.columnCount)
    var losses = [Double](repeating: 0, count: rows)
    var (crps, absolute, total) = (0.0, 0.0, 0.0)
    var squares = [Double](repeating: 0, count: columns)
    var standard = StudentDistribution(degreesOfFreedom: .infinity)
    for row in 0..<rows {
      let freedom = predictions.degreesOfFreedom[row]
      if freedom != standard.degreesOfFreedom {
        standard = StudentDistribution(degreesOfFreedom: freedom)
      }
      total += weights[row]
      for t in 0..<columns {
        let (error, scale) = (
          targets[row, t] - predictions.locations[row, t], predictions.scales[row, t]
        )
        losses[row] -= predictions.logDensities[row, t] / Double(columns)
        crps += weights[row] * scale * standard.crps(error / scale)
        squares[t] += weights[row] * error * error
        absolute += weights[row] * error.magnitude
      }
    }
    let nll = zip(losses, weights).reduce(0) { $0 + $1.0 * $1.1 } / total
    var clusters = [Double](repeating: 0, count: (groups.max() ?? 0) + 1)
    for row in 0..<rows { clusters[groups[row]] += weights[row] * (losses[row] - nll) }
    let variance = clusters.reduce(0) { $0 + $1 * $1 }
    let count = total * Double(columns)
    let rmse = squares.reduce(0) { $0 + ($1 / total).squareRoot() } / Double(columns)
    return [
      "rows": Double(weights.count { $0 > 0 }), "nll": nll, "nll_se": variance.squareRoot() / total,
      "crps": crps / count, "rmse": rmse, "mae": absolute / count,
    ]
  }
}
