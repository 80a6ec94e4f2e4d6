public import BllarseNumerics
import Glibc

/// A score with an interval for it.
public struct BootstrapInterval: Sendable, Equatable, Encodable {
  /// The score on all rows, and the ends of the interval.
  public let value, lower, upper: Double
}

/// Bootstrap confidence intervals of the main scores.
public struct BootstrapIntervals: Sendable, Equatable, Encodable {
  /// By the names of their metrics: "acc", "nll", "brier" and "ece" of class probabilities.
  public let scores: [String: BootstrapInterval]
  /// The coverage that the intervals aim at.
  public let level: Double
  /// How often the rows were resampled.
  public let replicateCount: Int

  /// The interval of a metric, where there is one.
  public subscript(name: String) -> BootstrapInterval? { scores[name] }

  /// Writes one object, the intervals beside the rest.
  public func encode(to encoder: any Encoder) throws {
    let rest: [String: any Encodable] = ["level": level, "replicates": replicateCount]
    try JSONMembers(rest.merging(scores) { own, _ in own }).encode(to: encoder)
  }
}

extension BootstrapIntervals {
  /// Draws of rows over all replicates: with more rows there are fewer replicates, but 200 at least.
  private static let drawLimit = 400_000_000

  /// Percentiles of scores of N rows drawn with replacement, widened to hold the scores themselves.
  ///
  /// Replicate `r` draws from the stream (seed, bootstrap, r), so the result does not depend on the
  /// number of threads.
  ///
  /// - Parameters:
  ///   - names: of the scores.
  ///   - count: N, at least 1.
  ///   - replicateCount: how often rows are drawn.
  ///   - level: the coverage aimed at.
  ///   - seed: of the draws.
  ///   - execution: the threads to work with.
  ///   - scores: those of the rows that are in each of N places, one for each name.
  /// - Note: Source: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979.
  init(
    _ names: [String], rowCount count: Int, replicateCount: Int, level: Double, seed: UInt64,
    execution: Execution, scores: @escaping @Sendable (_ row: (Int) -> Int) -> [Double]
  ) {
    let replicates = min(replicateCount, max(200, Self.drawLimit / count))
    let draws = execution.map(replicates, blockSize: 8) { range in
      range.map { replicate in
        var generator = Philox(seed: seed, purpose: .bootstrap, index: UInt64(replicate))
        return scores { _ in
          count <= UInt32.max
            ? Int(generator.smallInteger(below: UInt32(count))) : generator.integer(below: count)
        }
      }
    }
    let intervals = scores { $0 }.enumerated().map { place, value in
      let sorted = draws.map { $0[place] }.sorted()
      return BootstrapInterval(
        value: value,
        lower: Metrics.minimum(Metrics.quantile(ofSorted: sorted, (1 - level) / 2), value),
        upper: Metrics.maximum(Metrics.quantile(ofSorted: sorted, (1 + level) / 2), value))
    }
    self.scores = Dictionary(uniqueKeysWithValues: zip(names, intervals))
    (self.level, self.replicateCount) = (level, replicates)
  }
}

extension Metrics {
  /// Confidence intervals, each of which holds its value.
  ///
  /// Those of means over rows are the percentiles of N rows drawn with replacement, that of the
  /// calibration error is ``CalibrationErrorInterval``.
  ///
  /// Percentiles fail where errors are rare: rows that were all predicted right are so however they are
  /// drawn, and an interval of accuracy would be a point. So four rows are added to those that are
  /// drawn from, two that are predicted right and two that are not, of the confidences that the
  /// predictions themselves expect of such rows; the values do not have them. For an accuracy this is
  /// nearly the interval of Agresti and Coull.
  ///
  /// Replicate `r` draws from the stream (seed, bootstrap, r), so the result does not depend on the
  /// number of threads.
  ///
  /// There are at least 2 replicates; all are NaN when there are no rows.
  ///
  /// - Complexity: O(replicateCount · N).
  /// - Note: Source: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics
  ///   1979; Agresti and Coull, "Approximate is better than 'exact' for interval estimation of binomial
  ///   proportions", American Statistician 1998. Coverage by simulation: `IntervalCoverageTests`.
  public static func bootstrapIntervals(
    _ predictions: Predictions, replicateCount: Int = 1000, level: Double = 0.95,
    binCount: Int = 20, seed: UInt64 = 0, execution: Execution = .available
  ) -> BootstrapIntervals {
    precondition(
      replicateCount >= 2 && level > 0 && level < 1 && binCount >= 1,
      "\(replicateCount) replicates at level \(level) with \(binCount) bins")
    let count = predictions.count
    let added = AddedRows(predictions)
    let rows = predictions.rows.map {
      RowScores($0.isCorrect ? 1 : 0, -$0.logLikelihood, $0.brier)
    }
    let drawn = count + added.count
    let means = execution.map(replicateCount, blockSize: 8) { range in
      range.map { replicate in
        var generator = Philox(seed: seed, purpose: .bootstrap, index: UInt64(replicate))
        var sums = RowScores()
        for _ in 0..<drawn {
          let row =
            drawn <= UInt32.max
            ? Int(generator.smallInteger(below: UInt32(drawn))) : generator.integer(below: drawn)
          sums += row < count ? rows[row] : added.row(row - count, generator.uniform())
        }
        return sums / Double(drawn)
      }
    }
    func interval(_ score: (RowScores) -> Double, _ value: Double) -> BootstrapInterval {
      let sorted = means.map(score).sorted()
      return BootstrapInterval(
        value: value, lower: minimum(quantile(ofSorted: sorted, (1 - level) / 2), value),
        upper: maximum(quantile(ofSorted: sorted, (1 + level) / 2), value))
    }
    var scores = [
      "acc": interval({ $0.correct }, accuracy(predictions)),
      "nll": interval({ $0.nll }, negativeLogLikelihood(predictions)),
      "brier": interval({ $0.brier }, brierScore(predictions)),
    ]
    // The test behind the interval is of rows that are right or wrong, not in part.
    if !predictions.areSoft {
      let sums = binSums(predictions, binCount: binCount)
      let ends = CalibrationErrorInterval(sums, seed: seed).ends(level: level)
      scores["ece"] = BootstrapInterval(
        value: CalibrationError(sums).expected, lower: ends.lower, upper: ends.upper)
    }
    return BootstrapIntervals(scores: scores, level: level, replicateCount: replicateCount)
  }

  /// A quantile by linear interpolation between order statistics (NumPy's default, type 7).
  static func quantile(ofSorted values: [Double], _ probability: Double) -> Double {
    guard let last = values.last, let first = values.first else { return .nan }
    let position = probability * Double(values.count - 1)
    let index = Int(position)
    guard index + 1 < values.count else { return last }
    guard index >= 0 else { return first }
    let (low, high) = (values[index], values[index + 1])
    // The difference of two infinities would be NaN.
    return low == high ? low : low + (position - Double(index)) * (high - low)
  }
}

/// The scores of one row, of several together, or their means.
private struct RowScores: Sendable {
  var correct, nll, brier: Double

  init(_ correct: Double = 0, _ nll: Double = 0, _ brier: Double = 0) {
    (self.correct, self.nll, self.brier) = (correct, nll, brier)
  }

  static func += (sum: inout RowScores, row: RowScores) {
    sum.correct += row.correct
    sum.nll += row.nll
    sum.brier += row.brier
  }

  static func / (sum: RowScores, count: Double) -> RowScores {
    RowScores(sum.correct / count, sum.nll / count, sum.brier / count)
  }
}

/// Rows that are added to those that are drawn from: two that are predicted right, two that are not.
private struct AddedRows: Sendable {
  /// The confidence and Σ_k p_k² of each row, and the cumulated probabilities of the rows' being
  /// right, and wrong.
  private let confidence, squares, right, wrong: [Double]

  /// The number of rows that are added: none where predictions are all certain.
  let count: Int
  /// What an added row has but for being right or wrong, where targets are class probabilities: what one class more or
  /// less would do says nothing of them.
  private let mean: RowScores?

  init(_ predictions: Predictions) {
    confidence = predictions.rows.map { min(max($0.confidence, 0), 1) }
    squares = predictions.rows.map { row in
      // From Brier = Σ p² - p_y² + (1 - p_y)².
      let p = row.isCorrect ? row.confidence : exp(row.logLikelihood)
      return row.brier + p * p - (1 - p) * (1 - p)
    }
    mean =
      predictions.areSoft
      ? RowScores(
        0, Metrics.negativeLogLikelihood(predictions), Metrics.brierScore(predictions)) : nil
    right = confidence.cumulated
    wrong = confidence.map { 1 - $0 }.cumulated
    count = (wrong.last ?? 0) > 0 && (right.last ?? 0) > 0 ? 4 : 0
  }

  /// The scores of an added row of the confidence of one of the rows, drawn by what the predictions expect: the
  /// first half of them is right.
  func row(_ index: Int, _ uniform: Double) -> RowScores {
    let isRight = index < count / 2
    if let mean { return RowScores(isRight ? 1 : 0, mean.nll, mean.brier) }
    let sums = isRight ? right : wrong
    let target = uniform * (sums.last ?? 0)
    let source = sums.end { $0 <= target }
    let (c, square) = (confidence[source], squares[source])
    if isRight {
      return RowScores(1, -log(c), square - c * c + (1 - c) * (1 - c))
    }
    // The expected probability of the label, given that it is not the most probable class: Σ p² over the
    // others, by their sum. It is at most that sum, and rounding is all that is left of very small ones.
    let rest = 1 - c
    let q = rest > 1e-6 ? min(max((square - c * c) / rest, 1e-3 * rest), rest) : rest
    return RowScores(0, -log(q), square + 1 - 2 * q)
  }
}

extension [Double] {
  /// The first index of an ascending list from which on a condition does not hold, or the last index.
  fileprivate func end(where holds: (Double) -> Bool) -> Int {
    var (low, high) = (0, count - 1)
    while low < high {
      let middle = (low + high) / 2
      if holds(self[middle]) { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// The sums up to each element.
  fileprivate var cumulated: [Double] {
    var sum = 0.0
    return map { value in
      sum += value
      return sum
    }
  }
}

/// A confidence interval of a calibration error over bins, by inverting a test.
///
/// The error of N rows, `T = 1/N Σ_m |correct_m - conf_m|`, is larger than that of the population, `θ`, by
/// what noise adds to each bin; resampled rows have that noise twice, so percentiles of their errors lie
/// too high, or miss `T` itself. Here a value θ is in the interval unless its own test sets make a T as
/// small, or as large, as the one seen improbable:
///
///     α/2 ≤ P(T* ≤ T | θ) ≤ 1 - α/2,      correct*_m ~ Binomial(n_m, conf_m + gap_m(θ))
///
/// Which gaps go with θ is not known (they are nuisance parameters): those closest to the gaps seen, in
/// units of their variances, with the given θ. Smaller θ shrink all gaps, the uncertain ones to 0; larger
/// ones widen them. An interval always holds T, which is above θ on average.
///
/// - Note: Source: Chuang and Lai, "Hybrid resampling methods for confidence intervals", Statistica
///   Sinica 2000. The upward bias: Bröcker, "Estimating reliability and resolution of probability
///   forecasts through decomposition of the empirical score", Climate Dynamics 2012; Roelofs et al.,
///   "Mitigating bias in calibration error estimation", AISTATS 2022. Coverage by simulation:
///   `IntervalCoverageTests`.
struct CalibrationErrorInterval {
  private struct Bin {
    /// n_m, the mean confidence, and correct_m - n_m·conf_m.
    var count, confidence, gap: Double
    /// Of `correct_m`, with one row of the predicted kind added, so that it is never 0.
    var variance: Double
  }

  private let bins: [Bin]
  private let uniforms: [[Double]]
  /// N·T, and N.
  private let observed, total: Double

  /// Draws of each T*, and halvings of the search for an end.
  private static let drawCount = 500
  private static let halvings = 14

  /// Prepares an interval from the sums of every bin; the draws are the same for all θ.
  init(_ sums: [BinSums], seed: UInt64) {
    bins = sums.filter { $0.count > 0 }.map { sum in
      let count = Double(sum.count)
      let confidence = min(sum.confidence / count, 1)
      let accuracy = (sum.correct + confidence) / (count + 1)
      return Bin(
        count: count, confidence: confidence, gap: sum.correct - sum.confidence,
        variance: max(count * accuracy * (1 - accuracy), 1e-12))
    }
    uniforms = bins.indices.map { bin in
      // Streams beyond those of the replicates of other scores.
      var generator = Philox(seed: seed, purpose: .bootstrap, index: 1 << 40 | UInt64(bin))
      return (0..<Self.drawCount).map { _ in generator.uniform() }
    }
    observed = bins.reduce(0) { $0 + $1.gap.magnitude }
    total = bins.reduce(0) { $0 + $1.count }
  }

  /// The ends for a coverage: two numbers in 0...1 with T between them; NaN when there are no rows.
  func ends(level: Double) -> (lower: Double, upper: Double) {
    guard total > 0, observed.isFinite else { return (.nan, .nan) }
    let tail = (1 - level) / 2
    return (
      min(error(atProbability: 1 - tail), observed / total),
      max(error(atProbability: tail), observed / total)
    )
  }

  /// The θ under which a smaller T than the one seen has this probability; 0 if none is small enough.
  private func error(atProbability target: Double) -> Double {
    // Shrinking by λ times the variance: θ falls with λ, and P(T* ≤ T) rises with it.
    var high = bins.reduce(0) { max($0, $1.gap.magnitude / $1.variance) }
    guard test(shrinkage: high).probability > target else { return 0 }
    var low = -max(high, 1 / bins.reduce(0) { max($0, $1.variance) }.squareRoot())
    for _ in 0..<30 where test(shrinkage: low).probability > target { low *= 2 }
    for _ in 0..<Self.halvings {
      let middle = 0.5 * (low + high)
      if test(shrinkage: middle).probability > target { high = middle } else { low = middle }
    }
    return test(shrinkage: high).error
  }

  /// θ at a shrinkage of the gaps, and the probability of a smaller T there, ties counted half.
  private func test(shrinkage: Double) -> (error: Double, probability: Double) {
    var sums = [Double](repeating: 0, count: Self.drawCount)
    var error = 0.0
    for (bin, uniforms) in zip(bins, uniforms) {
      let magnitude = max(bin.gap.magnitude - shrinkage * bin.variance, 0)
      let gap = bin.gap < 0 ? -magnitude : magnitude
      let accuracy = min(max(bin.confidence + gap / bin.count, 0), 1)
      error += bin.count * (accuracy - bin.confidence).magnitude
      let binomial = BinomialQuantiles(count: Int(bin.count), probability: accuracy)
      let expected = bin.count * bin.confidence
      for (draw, uniform) in uniforms.enumerated() {
        sums[draw] += (binomial(uniform) - expected).magnitude
      }
    }
    let slack = 1e-9 * (1 + observed)
    var below = 0.0
    for sum in sums {
      below += sum < observed - slack ? 1 : sum <= observed + slack ? 0.5 : 0
    }
    return (error / total, below / Double(Self.drawCount))
  }
}

/// The quantiles of a binomial distribution, from a table of its bulk.
struct BinomialQuantiles {
  /// The first number in the table.
  private let start: Int
  /// The cumulated probabilities from there on.
  private let cumulated: [Double]

  /// Tabulates twelve standard deviations to either side of the mode, which leaves out less than 1e-30.
  init(count: Int, probability: Double) {
    guard probability > 0, probability < 1 else {
      start = probability > 0 ? count : 0
      cumulated = [1]
      return
    }
    let mode = min(Int(Double(count + 1) * probability), count)
    let reach = Int(12 * (Double(count) * probability * (1 - probability)).squareRoot()) + 12
    let first = max(0, mode - reach)
    let last = min(count, mode + reach)
    // Ratios of neighbours, from the mode, where the mass is 1 before it is normalised.
    var masses = [Double](repeating: 1, count: last - first + 1)
    let odds = probability / (1 - probability)
    for k in stride(from: mode + 1, through: last, by: 1) {
      masses[k - first] = masses[k - first - 1] * odds * Double(count - k + 1) / Double(k)
    }
    for k in stride(from: mode - 1, through: first, by: -1) {
      masses[k - first] = masses[k - first + 1] / odds * Double(k + 1) / Double(count - k)
    }
    let sums = masses.cumulated
    start = first
    cumulated = sums.map { $0 / sums[sums.count - 1] }
  }

  /// The smallest number whose cumulated probability is not below `uniform`.
  func callAsFunction(_ uniform: Double) -> Double {
    Double(start + cumulated.end { $0 < uniform })
  }
}
