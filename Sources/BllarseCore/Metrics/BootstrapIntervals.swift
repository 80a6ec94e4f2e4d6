public import BllarseNumerics

/// A score with an interval for it.
public struct BootstrapInterval: Sendable, Equatable {
  /// The score on all rows.
  public let value: Double
  /// The lower end.
  public let lower: Double
  /// The upper end.
  public let upper: Double
}

/// Bootstrap confidence intervals of the main scores.
public struct BootstrapIntervals: Sendable, Equatable {
  /// Of the accuracy.
  public let accuracy: BootstrapInterval
  /// Of the negative log-likelihood.
  public let nll: BootstrapInterval
  /// Of the Brier score.
  public let brier: BootstrapInterval
  /// Of the expected calibration error over bins of equal width.
  public let ece: BootstrapInterval
  /// The coverage that the intervals aim at.
  public let level: Double
  /// How often the rows were resampled.
  public let replicateCount: Int
}

extension Metrics {
  /// Percentile bootstrap intervals: the scores of N rows drawn with replacement, many times.
  ///
  /// Replicate `r` draws from the stream (seed, bootstrap, r), so the result does not depend on the
  /// number of threads.
  ///
  /// - Parameters:
  ///   - summary: the predictions.
  ///   - replicateCount: how often rows are resampled, at least 2.
  ///   - level: the coverage aimed at, in 0..<1.
  ///   - binCount: the number of bins of the calibration error.
  ///   - seed: the seed of the run.
  ///   - parallelism: the threads to work with.
  /// - Returns: the scores with their intervals; NaN when there are no rows.
  /// - Complexity: O(replicateCount · N).
  /// - Note: Source: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics
  ///   1979. Resampling biases a calibration error upwards, so its interval may lie above its value.
  public static func bootstrapIntervals(
    _ summary: PredictionSummary, replicateCount: Int = 1000, level: Double = 0.95,
    binCount: Int = 20, seed: UInt64 = 0, parallelism: Parallelism = .available
  ) -> BootstrapIntervals {
    precondition(
      replicateCount >= 2 && level > 0 && level < 1 && binCount >= 1,
      "\(replicateCount) replicates at level \(level) with \(binCount) bins")
    let bins = summary.confidence.map { Int32(BinSums.index($0, binCount)) }
    let count = summary.count
    // Scores of each replicate: accuracy, NLL, Brier, ECE.
    let scores = Matrix<Double>(rows: replicateCount, columns: 4) { target in
      target.initialize(repeating: .nan)
      guard count > 0, let base = target.baseAddress else { return }
      let output = ReplicateScores(base: base)
      parallelism.forEachBlock(of: replicateCount, blockSize: 8) { _, range in
        var gaps = [Double](repeating: 0, count: binCount)
        for replicate in range {
          var generator = Philox(seed: seed, purpose: .bootstrap, index: UInt64(replicate))
          for bin in 0..<binCount { gaps[bin] = 0 }
          var (correct, likelihood, brier) = (0.0, 0.0, 0.0)
          for _ in 0..<count {
            let row =
              count <= UInt32.max
              ? Int(generator.smallInteger(below: UInt32(count))) : generator.integer(below: count)
            let right = summary.isCorrect[row] ? 1.0 : 0
            correct += right
            likelihood += summary.logLikelihood[row]
            brier += summary.brier[row]
            gaps[Int(bins[row])] += right - summary.confidence[row]
          }
          let target = output.base + 4 * replicate
          target[0] = correct / Double(count)
          target[1] = -likelihood / Double(count)
          target[2] = brier / Double(count)
          target[3] = gaps.reduce(0) { $0 + $1.magnitude } / Double(count)
        }
      }
    }
    func interval(_ column: Int, _ value: Double) -> BootstrapInterval {
      let sorted = scores.column(column).sorted()
      return BootstrapInterval(
        value: value, lower: quantile(ofSorted: sorted, (1 - level) / 2),
        upper: quantile(ofSorted: sorted, (1 + level) / 2))
    }
    return BootstrapIntervals(
      accuracy: interval(0, accuracy(summary)), nll: interval(1, negativeLogLikelihood(summary)),
      brier: interval(2, brierScore(summary)),
      ece: interval(3, calibrationError(summary, binCount: binCount).expected), level: level,
      replicateCount: replicateCount)
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

/// Memory that threads fill, each the rows of its own replicates, which is why sharing it is safe.
private struct ReplicateScores: @unchecked Sendable {
  let base: UnsafeMutablePointer<Double>
}
