public import BllarseModels
public import BllarseNumerics
import Glibc

/// What predictive distributions of real targets are worth, for one target or on average over all.
///
/// Errors are in the targets' units; averages over targets of different units mean what their units mean.
public struct RegressionScores: Sendable, Equatable {
  /// The root of the mean squared error of the locations.
  public var rmse: Double
  /// The mean absolute error of the locations, which are medians.
  public var mae: Double
  /// The share of the targets' variance that the locations explain, `1 - Σ(y - m)²/Σ(y - ȳ)²`; for targets that do
  /// not vary 0, or 1 if they were predicted exactly.
  public var r2: Double
  /// The mean negative log density, in nats.
  public var nll: Double
  /// The mean continuous ranked probability score.
  public var crps: Double
  /// Central intervals at each level.
  public var intervals: [IntervalScores]
  /// The mean absolute deviation from uniform of the bins of the histogram of the probability integral transform,
  /// in units of the share that each should have: 0 where predictions are calibrated.
  public var pitError: Double
  /// The largest distance of the distribution function of the transform from that of a uniform number (Kolmogorov
  /// and Smirnov).
  public var pitDistance: Double
  /// The shares of the transform in bins of equal width: 1/B each where predictions are calibrated, more at the ends
  /// where they are too narrow, more in the middle where they are too wide.
  public var pitHistogram: [Double]
}

extension RegressionScores {
  /// The main scores by the names of their metrics.
  var values: [String: Double] {
    ["rmse": rmse, "mae": mae, "r2": r2, "nll": nll, "crps": crps]
  }
}

/// What central intervals of a level are worth.
public struct IntervalScores: Sendable, Equatable {
  /// The probability that an interval should hold its target.
  public let level: Double
  /// The share of targets in their intervals.
  public let coverage: Double
  /// The mean width.
  public let width: Double
  /// The mean of the interval score, `width + 2/(1 - level)·(distance from the interval)`: smaller is better.
  ///
  /// - Note: Source: Gneiting and Raftery, JASA 2007, equation (43).
  public let score: Double

  init(level: Double, coverage: Double, width: Double, score: Double) {
    (self.level, self.coverage, self.width, self.score) = (level, coverage, width, score)
  }
}

/// Scores of every target, and their averages.
public struct RegressionMetrics: Sendable, Equatable {
  /// Of each target.
  public let targets: [RegressionScores]
  /// The averages over targets; of the root mean squared error too, so that it is the mean of what is shown.
  public let average: RegressionScores

  /// The levels of central intervals.
  public static let levels = [0.5, 0.8, 0.9, 0.95, 0.99]
  /// The bins of the histogram of the probability integral transform.
  public static let binCount = 20

  /// Scores predictions.
  ///
  /// - Parameters:
  ///   - predictions: n x T distributions, n at least 1.
  ///   - targets: n x T, finite.
  ///   - levels: of the intervals.
  /// - Throws: `NumericsError` for no rows, sizes that differ, targets that are not finite, and levels outside of
  ///   (0, 1).
  public init(
    _ predictions: TargetDistributions, targets: Matrix<Double>,
    levels: [Double] = RegressionMetrics.levels
  ) throws(NumericsError) {
    try predictions.check(targets)
    guard predictions.rowCount > 0 else { throw .noRows("rows to score") }
    let logs = try predictions.logDensities(targets)
    let crps = try predictions.crps(targets)
    let transform = try predictions.cdf(targets)
    var intervals = [[IntervalScores]](repeating: [], count: predictions.targetCount)
    for level in levels {
      let (lower, upper) = try predictions.centralIntervals(level)
      for t in intervals.indices {
        intervals[t].append(
          IntervalScores(
            level: level, lower: lower.column(t), upper: upper.column(t),
            targets: targets.column(t)))
      }
    }
    self.targets = intervals.indices.map { t in
      let own = targets.column(t)
      let errors = zip(own, predictions.locations.column(t)).map { $0 - $1 }
      let squares = Metrics.mean(errors.map { $0 * $0 })
      // About the first target, so that an offset costs no accuracy.
      let shifted = own.map { $0 - own[0] }
      let mean = Metrics.mean(shifted)
      let variance = Metrics.mean(shifted.map { ($0 - mean) * ($0 - mean) })
      let pit = PITHistogram(transform.column(t), binCount: Self.binCount)
      return RegressionScores(
        rmse: squares.squareRoot(), mae: Metrics.mean(errors.map(\.magnitude)),
        r2: variance > 0 ? 1 - squares / variance : squares > 0 ? 0 : 1,
        nll: -Metrics.mean(logs.column(t)), crps: Metrics.mean(crps.column(t)),
        intervals: intervals[t], pitError: pit.error, pitDistance: pit.distance,
        pitHistogram: pit.shares)
    }
    average = Self.average(self.targets)
  }

  private static func average(_ scores: [RegressionScores]) -> RegressionScores {
    let mean = { (value: (RegressionScores) -> Double) in Metrics.mean(scores.map(value)) }
    return RegressionScores(
      rmse: mean(\.rmse), mae: mean(\.mae), r2: mean(\.r2), nll: mean(\.nll), crps: mean(\.crps),
      intervals: scores[0].intervals.indices.map { k in .average(scores.map { $0.intervals[k] }) },
      pitError: mean(\.pitError), pitDistance: mean(\.pitDistance),
      pitHistogram: scores[0].pitHistogram.indices.map { k in mean { $0.pitHistogram[k] } })
  }
}

extension IntervalScores {
  /// The averages over targets, at least one, of intervals of one level.
  static func average(_ scores: [IntervalScores]) -> IntervalScores {
    let mean = { (value: (IntervalScores) -> Double) in Metrics.mean(scores.map(value)) }
    return IntervalScores(
      level: scores[0].level, coverage: mean(\.coverage), width: mean(\.width),
      score: mean(\.score))
  }

  /// Scores intervals, however they came about.
  init(level: Double, lower: [Double], upper: [Double], targets: [Double]) {
    var (inside, width, score) = (0, 0.0, 0.0)
    for (y, (low, high)) in zip(targets, zip(lower, upper)) {
      if y >= low && y <= high { inside += 1 }
      width += high - low
      score += high - low + 2 / (1 - level) * max(0, low - y, y - high)
    }
    let count = Double(targets.count)
    self.init(
      level: level, coverage: Double(inside) / count, width: width / count, score: score / count)
  }
}

/// How far probability integral transforms are from uniform.
///
/// - Note: Source: Dawid, "Present position and potential developments: the prequential approach", JRSS A 1984;
///   Gneiting, Balabdaoui and Raftery, "Probabilistic forecasts, calibration and sharpness", JRSS B 2007.
struct PITHistogram {
  /// The shares of bins of equal width.
  let shares: [Double]
  /// The mean of `|share·B - 1|` over the B bins.
  let error: Double
  /// The statistic of Kolmogorov and Smirnov.
  let distance: Double

  /// Counts numbers from 0 to 1, at least one.
  init(_ values: [Double], binCount: Int) {
    var counts = [Int](repeating: 0, count: binCount)
    for value in values { counts[min(max(Int(value * Double(binCount)), 0), binCount - 1)] += 1 }
    let total = Double(values.count)
    shares = counts.map { Double($0) / total }
    error = Metrics.mean(shares.map { ($0 * Double(binCount) - 1).magnitude })
    var largest = 0.0
    for (index, value) in values.sorted().enumerated() {
      largest = max(largest, value - Double(index) / total, Double(index + 1) / total - value)
    }
    distance = largest
  }
}

extension RegressionMetrics {
  /// Confidence intervals of "rmse", "mae", "nll" and "crps", averaged over targets, each of which holds its value:
  /// percentiles of the scores of N rows drawn with replacement.
  ///
  /// Replicate `r` draws from the stream (seed, bootstrap, r), so the result does not depend on the number of
  /// threads.
  ///
  /// - Parameters:
  ///   - predictions: n x T distributions, n at least 1.
  ///   - targets: n x T, finite.
  ///   - replicateCount: how often rows are drawn, 2 or more; fewer where there are more than 400,000 rows.
  ///   - level: the coverage aimed at.
  ///   - seed: of the draws.
  ///   - execution: the threads to work with.
  /// - Returns: the intervals, averaged over targets where there are several.
  /// - Throws: `NumericsError` as the scores do.
  /// - Complexity: O(replicateCount · n · T).
  /// - Note: Source: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979.
  public static func bootstrapIntervals(
    _ predictions: TargetDistributions, targets: Matrix<Double>, replicateCount: Int = 1000,
    level: Double = 0.95, seed: UInt64 = 0, execution: Execution = .available
  ) throws(NumericsError) -> BootstrapIntervals {
    try NumericsError.require(
      replicateCount >= 2, "the number of replicates", Double(replicateCount), "2 or more")
    try NumericsError.require(
      level > 0 && level < 1, "the level", level, "a number above 0 and below 1")
    try predictions.check(targets)
    let count = predictions.rowCount
    guard count > 0 else { throw .noRows("rows to score") }
    let logs = try predictions.logDensities(targets)
    let crps = try predictions.crps(targets)
    let targetCount = predictions.targetCount
    // Means over targets of all but squared errors, whose roots are averaged.
    let share = 1 / Double(targetCount)
    var rows: [RowScores] = []
    var squares: [Double] = []
    for row in 0..<count {
      var scores = RowScores()
      for t in 0..<targetCount {
        let error = targets[row, t] - predictions.locations[row, t]
        squares.append(error * error)
        scores += RowScores(
          absolute: share * error.magnitude, nll: -share * logs[row, t],
          crps: share * crps[row, t])
      }
      rows.append(scores)
    }
    return BootstrapIntervals(
      ["rmse", "mae", "nll", "crps"], rowCount: count, replicateCount: replicateCount,
      level: level, seed: seed, execution: execution
    ) { [rows, squares] index in
      var sum = RowScores()
      var errors = [Double](repeating: 0, count: targetCount)
      for place in 0..<count {
        let row = index(place)
        sum += rows[row]
        for t in 0..<targetCount { errors[t] += squares[row * targetCount + t] }
      }
      let size = Double(count)
      let rmse = errors.reduce(0) { $0 + ($1 / size).squareRoot() } * share
      return [rmse, sum.absolute / size, sum.nll / size, sum.crps / size]
    }
  }

  private struct RowScores {
    var absolute = 0.0
    var nll = 0.0
    var crps = 0.0

    static func += (sum: inout RowScores, row: RowScores) {
      sum.absolute += row.absolute
      sum.nll += row.nll
      sum.crps += row.crps
    }
  }
}
