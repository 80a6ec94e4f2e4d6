public import BllarseModels
public import BllarseNumerics
import Glibc

/// Intervals of a real target that hold it with a chosen probability, whatever the model is worth.
///
/// Calibration rows give scores `|y - location|/scale`; the threshold q is the `⌈(n+1)·level⌉`-th smallest, and
/// infinite where there are fewer. The interval of a row is `location ± q·scale`: as wide as the model is unsure
/// there, and in all as wide as its errors have been. Each target has a threshold of its own, and its own promise.
///
/// - Note: Source: Papadopoulos, Proedrou, Vovk and Gammerman, "Inductive confidence machines for regression", ECML
///   2002; Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, "Distribution-free predictive inference for regression",
///   JASA 2018, section 5.2.
public struct ConformalIntervals: Sendable, Equatable {
  /// The rows that thresholds come from, and what the intervals promise.
  public enum Source: String, Sendable, Equatable, CaseIterable {
    /// Rows that neither the model nor its calibration saw.
    ///
    /// If they and a new row are exchangeable, the target is in its interval with probability at least `level` (over
    /// calibration rows and new row together: marginally, not for each row), and at most `level + 1/(n+1)` where
    /// scores have no ties.
    case validation
    /// Predictions of training rows that were left out one by one or by groups, while new rows are predicted by the
    /// model that was fitted to all rows: the jackknife.
    ///
    /// In practice the target is in its interval with a probability near `level`. No bound is proven without an
    /// assumption of stability; the jackknife+, which asks the models of all left-out rows about the new row,
    /// guarantees `1 - 2·(1 - level)`. Prior precisions and scales have seen all rows, too.
    ///
    /// - Note: Source: Barber, Candès, Ramdas and Tibshirani, "Predictive inference with the jackknife+", Annals of
    ///   Statistics 2021; Steinberger and Leeb, "Conditional predictive inference for stable algorithms", Annals of
    ///   Statistics 2023 (the jackknife of stable linear regression).
    case leftOut

    /// The promise in one line, for a result.
    public func guarantee(level: Double, rowCount: Int) -> String {
      let needed = ConformalSets.rowCountNeeded(level: level)
      if rowCount < needed {
        return
          "intervals are infinite: \(rowCount) calibration rows are too few for a level of \(level), which takes "
          + "\(needed)"
      }
      switch self {
      case .validation:
        return
          "marginal, exact for exchangeable rows: a new row's interval holds its target with probability at least "
          + "\(level)"
      case .leftOut:
        return
          "near \(level) in practice, not exact: thresholds are of training rows predicted without themselves, "
          + "intervals of the model of all rows; the jackknife+, which asks all those models, guarantees 1 - 2·(1 - "
          + "level) (Barber et al. 2021)"
      }
    }
  }

  /// The probability that an interval should hold its target.
  public let level: Double
  /// The half width of every target's intervals in units of the scales, T; infinite when there were too few rows.
  public let thresholds: [Double]

  /// Finds the thresholds.
  ///
  /// - Parameters:
  ///   - level: the probability that an interval should hold its target, in (0, 1).
  ///   - normalizedResiduals: (y - location)/scale of the calibration rows, n x T; no rows are no fault.
  /// - Throws: `NumericsError` for another level, and for residuals that are not finite.
  public init(level: Double, normalizedResiduals: Matrix<Double>) throws(NumericsError) {
    try NumericsError.require(
      level > 0 && level < 1, "the level", level, "a number above 0 and below 1")
    if let (row, column) = normalizedResiduals.firstNonFinite {
      throw .notFinite(row: row, column: column)
    }
    self.level = level
    let rank = ConformalSets.rank(level: level, rowCount: normalizedResiduals.rowCount)
    thresholds = (0..<normalizedResiduals.columnCount).map { t in
      let scores = normalizedResiduals.column(t).map(\.magnitude).sorted()
      return rank <= scores.count ? scores[max(rank, 1) - 1] : .infinity
    }
  }

  /// Finds the thresholds from predictions of rows that the model was not fitted to.
  ///
  /// - Parameters:
  ///   - level: the probability that an interval should hold its target, in (0, 1).
  ///   - predictions: of the calibration rows, n x T.
  ///   - targets: theirs, n x T, finite.
  /// - Throws: `NumericsError` for sizes that differ, targets that are not finite, and another level.
  public init(
    level: Double, _ predictions: TargetDistributions, targets: Matrix<Double>
  ) throws(NumericsError) {
    try predictions.check(targets)
    try self.init(
      level: level,
      normalizedResiduals: targets.combined(with: predictions.locations) { $0 - $1 }
        .combined(with: predictions.scales) { $0 / $1 })
  }

  /// The intervals of rows, n x T each; infinite where a threshold is.
  ///
  /// - Throws: `NumericsError.sizeMismatch` for another number of targets.
  public func intervals(
    _ predictions: TargetDistributions
  ) throws(NumericsError) -> (lower: Matrix<Double>, upper: Matrix<Double>) {
    guard predictions.targetCount == thresholds.count else {
      throw .sizeMismatch(
        of: "targets a row", found: predictions.targetCount, expected: thresholds.count,
        reason: "one for each threshold")
    }
    var (lower, upper) = (predictions.locations, predictions.locations)
    for row in 0..<predictions.rowCount {
      for (t, threshold) in thresholds.enumerated() {
        let half = threshold * predictions.scales[row, t]
        lower[row, t] -= half
        upper[row, t] += half
      }
    }
    return (lower, upper)
  }

  /// Coverage, width and score of the intervals of rows with known targets, one for each target.
  ///
  /// - Throws: `NumericsError` for no rows and sizes that differ.
  public func evaluate(
    _ predictions: TargetDistributions, targets: Matrix<Double>
  ) throws(NumericsError) -> [IntervalScores] {
    try predictions.check(targets)
    guard predictions.rowCount > 0 else { throw .noRows("rows to score") }
    let (lower, upper) = try intervals(predictions)
    return thresholds.indices.map { t in
      IntervalScores(
        level: level, lower: lower.column(t), upper: upper.column(t), targets: targets.column(t))
    }
  }
}
