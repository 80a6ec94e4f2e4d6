import BllarseNumerics
import Glibc

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
    /// n_m.
    var count: Double
    /// The mean confidence.
    var confidence: Double
    /// correct_m - n_m·conf_m.
    var gap: Double
    /// Of `correct_m`, with one row of the predicted kind added, so that it is never 0.
    var variance: Double
  }

  private let bins: [Bin]
  private let uniforms: [[Double]]
  /// N·T.
  private let observed: Double
  private let total: Double

  /// Draws of each T*, and halvings of the search for an end.
  private static let drawCount = 500
  private static let halvings = 14

  /// Prepares an interval.
  ///
  /// - Parameters:
  ///   - sums: of every bin.
  ///   - seed: of the draws, which are the same for all θ.
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

  /// The ends.
  ///
  /// - Parameter level: the coverage aimed at.
  /// - Returns: two numbers in 0...1 with T between them; NaN when there are no rows.
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
  ///
  /// - Parameters:
  ///   - count: the number of trials.
  ///   - probability: of a success, in 0...1.
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
    var sum = 0.0
    for index in masses.indices {
      sum += masses[index]
      masses[index] = sum
    }
    start = first
    cumulated = masses.map { $0 / sum }
  }

  /// The smallest number whose cumulated probability is not below `uniform`.
  func callAsFunction(_ uniform: Double) -> Double {
    var (low, high) = (0, cumulated.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if cumulated[middle] < uniform { low = middle + 1 } else { high = middle }
    }
    return Double(start + low)
  }
}
