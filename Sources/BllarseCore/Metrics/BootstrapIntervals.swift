public import BllarseNumerics
import Glibc

/// A score with an interval for it.
public struct BootstrapInterval: Sendable, Equatable, Encodable {
  /// The score on all rows.
  public let value: Double
  /// The lower end.
  public let lower: Double
  /// The upper end.
  public let upper: Double
}

/// Bootstrap confidence intervals of the main scores.
public struct BootstrapIntervals: Sendable, Equatable, Encodable {
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

  enum CodingKeys: String, CodingKey {
    case nll, brier, ece, level
    case accuracy = "acc"
    case replicateCount = "replicates"
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
  /// - Parameters:
  ///   - predictions: with labels.
  ///   - replicateCount: how often rows are resampled, at least 2.
  ///   - level: the coverage aimed at, in 0..<1.
  ///   - binCount: the number of bins of the calibration error.
  ///   - seed: the seed of the run.
  ///   - parallelism: the threads to work with.
  /// - Returns: the scores with their intervals; NaN when there are no rows.
  /// - Complexity: O(replicateCount · N).
  /// - Note: Source: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics
  ///   1979; Agresti and Coull, "Approximate is better than 'exact' for interval estimation of binomial
  ///   proportions", American Statistician 1998. Coverage by simulation: `IntervalCoverageTests`.
  public static func bootstrapIntervals(
    _ predictions: Predictions, replicateCount: Int = 1000, level: Double = 0.95,
    binCount: Int = 20, seed: UInt64 = 0, parallelism: Parallelism = .available
  ) -> BootstrapIntervals {
    precondition(
      replicateCount >= 2 && level > 0 && level < 1 && binCount >= 1,
      "\(replicateCount) replicates at level \(level) with \(binCount) bins")
    let count = predictions.count
    let added = AddedRows(predictions)
    let rows = predictions.rows.map {
      RowScores(correct: $0.isCorrect ? 1 : 0, nll: -$0.logLikelihood, brier: $0.brier)
    }
    let drawn = count + added.count
    let means = [RowScores](unsafeUninitializedCapacity: replicateCount) { buffer, initialized in
      if let base = buffer.baseAddress {
        let output = SharedAddress(base)
        parallelism.forEachBlock(of: replicateCount, blockSize: 8) { _, range in
          for replicate in range {
            var generator = Philox(seed: seed, purpose: .bootstrap, index: UInt64(replicate))
            var sums = RowScores()
            for _ in 0..<drawn {
              let row =
                drawn <= UInt32.max
                ? Int(generator.smallInteger(below: UInt32(drawn)))
                : generator.integer(below: drawn)
              sums += row < count ? rows[row] : added.row(row - count, generator.uniform())
            }
            (output.pointer + replicate).initialize(to: sums / Double(drawn))
          }
        }
      }
      initialized = replicateCount
    }
    func interval(_ score: (RowScores) -> Double, _ value: Double) -> BootstrapInterval {
      let sorted = means.map(score).sorted()
      return BootstrapInterval(
        value: value, lower: minimum(quantile(ofSorted: sorted, (1 - level) / 2), value),
        upper: maximum(quantile(ofSorted: sorted, (1 + level) / 2), value))
    }
    let sums = binSums(predictions, binCount: binCount)
    let ends = CalibrationErrorInterval(sums, seed: seed).ends(level: level)
    return BootstrapIntervals(
      accuracy: interval({ $0.correct }, accuracy(predictions)),
      nll: interval({ $0.nll }, negativeLogLikelihood(predictions)),
      brier: interval({ $0.brier }, brierScore(predictions)),
      ece: BootstrapInterval(
        value: CalibrationError(sums).expected,
        lower: ends.lower, upper: ends.upper),
      level: level, replicateCount: replicateCount)
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
  var correct = 0.0
  var nll = 0.0
  var brier = 0.0

  static func += (sum: inout RowScores, row: RowScores) {
    sum.correct += row.correct
    sum.nll += row.nll
    sum.brier += row.brier
  }

  static func / (sum: RowScores, count: Double) -> RowScores {
    RowScores(correct: sum.correct / count, nll: sum.nll / count, brier: sum.brier / count)
  }
}

/// Rows that are added to those that are drawn from: two that are predicted right, two that are not.
private struct AddedRows: Sendable {
  private let confidence: [Double]
  /// Σ_k p_k² of each row.
  private let squares: [Double]
  /// The cumulated probabilities of the rows' being right, and wrong.
  private let right: [Double]
  private let wrong: [Double]

  /// The number of rows that are added: none where predictions are all certain.
  let count: Int

  init(_ predictions: Predictions) {
    confidence = predictions.rows.map { min(max($0.confidence, 0), 1) }
    squares = predictions.rows.map { row in
      // From Brier = Σ p² - p_y² + (1 - p_y)².
      let p = row.isCorrect ? row.confidence : exp(row.logLikelihood)
      return row.brier + p * p - (1 - p) * (1 - p)
    }
    func cumulated(_ values: [Double]) -> [Double] {
      var sum = 0.0
      return values.map { value in
        sum += value
        return sum
      }
    }
    right = cumulated(confidence)
    wrong = cumulated(confidence.map { 1 - $0 })
    count = (wrong.last ?? 0) > 0 && (right.last ?? 0) > 0 ? 4 : 0
  }

  /// An added row of the confidence of one of the rows, drawn by what the predictions expect.
  ///
  /// - Parameters:
  ///   - index: in `0..<count`; the first half is right.
  ///   - uniform: in 0..<1.
  /// - Returns: its scores.
  func row(_ index: Int, _ uniform: Double) -> RowScores {
    let isRight = index < count / 2
    let source = Self.draw(isRight ? right : wrong, uniform)
    let (c, square) = (confidence[source], squares[source])
    if isRight {
      return RowScores(correct: 1, nll: -log(c), brier: square - c * c + (1 - c) * (1 - c))
    }
    // The expected probability of the label, given that it is not the most probable class: Σ p² over the
    // others, by their sum. It is at most that sum, and rounding is all that is left of very small ones.
    let rest = 1 - c
    let q = rest > 1e-6 ? min(max((square - c * c) / rest, 1e-3 * rest), rest) : rest
    return RowScores(correct: 0, nll: -log(q), brier: square + 1 - 2 * q)
  }

  private static func draw(_ cumulated: [Double], _ uniform: Double) -> Int {
    let target = uniform * (cumulated.last ?? 0)
    var (low, high) = (0, cumulated.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if cumulated[middle] <= target { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
