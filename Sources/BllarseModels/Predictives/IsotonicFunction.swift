public import BllarseNumerics
import Glibc

/// A rising map of the log-odds of one class's probability, through the steps of an isotonic regression.
///
/// Pooling adjacent violators gives steps: rows of which a share `s/n` is of the class, with mean predicted
/// probability `p̄`. A step is a knot at `log(p̄ / (1 - p̄))`; between knots the map is linear, beyond the
/// first and the last it keeps their distance from no change. So what a step function gives one value is
/// still told apart, and a probability that no row was seen near is left as it is.
///
/// The log-odds of a knot are those of two shares, of rows of the class and of others, each drawn towards
/// what was predicted by one event, or by 100 rows where an event is rarer than that:
///
///     (s + c·p̄) / (n + c),   c = min(1/p̄, 100)
///
/// Rows that are all right, or all of one class, or one row alone, therefore say little, and no probability
/// becomes 0 or 1.
///
/// - Note: Source: Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass
///   probability estimates", KDD 2002, for the regression; the prior is this package's.
public struct IsotonicFunction: Sendable, Equatable {
  /// The predicted log-odds at which the map is given, ascending, at least one.
  public let knots: [Double]
  /// The log-odds there, never falling.
  public let values: [Double]

  /// Takes knots as they are.
  ///
  /// - Parameters:
  ///   - knots: finite, ascending, at least one.
  ///   - values: as many, finite, not falling.
  public init(knots: [Double], values: [Double]) {
    precondition(
      knots.count == values.count && !values.isEmpty,
      "\(knots.count) knots for \(values.count) values")
    self.knots = knots
    self.values = values
  }

  /// Fits the map of a class.
  ///
  /// - Parameters:
  ///   - logProbabilities: the logarithms of the probabilities that were predicted for the class, one a row.
  ///   - isClass: whether a row is of the class, as many.
  /// - Throws: `NumericsError` when there are no rows, numbers differ, or a logarithm is not finite.
  public init(logProbabilities: [Double], isClass: [Bool]) throws(NumericsError) {
    guard !logProbabilities.isEmpty else { throw .noRows("rows to calibrate on") }
    guard isClass.count == logProbabilities.count else {
      throw .sizeMismatch(
        of: "labels", found: isClass.count, expected: logProbabilities.count,
        reason: "one for each row")
    }
    if let row = logProbabilities.firstIndex(where: { !$0.isFinite }) {
      throw .notFinite(row: row, column: 0)
    }
    var blocks: [Block] = []
    for row in logProbabilities.indices.sorted(by: { logProbabilities[$0] < logProbabilities[$1] })
    {
      let block = Block(logProbability: logProbabilities[row], isClass: isClass[row])
      if let last = blocks.last, last.end == block.end {
        blocks[blocks.count - 1].add(block)
      } else {
        blocks.append(block)
      }
      while blocks.count > 1, blocks[blocks.count - 2].share >= blocks[blocks.count - 1].share {
        let last = blocks.removeLast()
        blocks[blocks.count - 1].add(last)
      }
    }
    // The prior may disturb the order of small blocks: keep what was reached.
    var (knots, values): ([Double], [Double]) = ([], [])
    for block in blocks {
      let value = max(values.last ?? -.infinity, block.value)
      if let last = knots.last, block.knot <= last {
        values[values.count - 1] = value
      } else {
        knots.append(block.knot)
        values.append(value)
      }
    }
    (self.knots, self.values) = (knots, values)
  }

  /// The mapped log-odds.
  ///
  /// - Parameter logOdds: as predicted, finite.
  /// - Returns: what stands for them, finite.
  public func callAsFunction(_ logOdds: Double) -> Double {
    guard let first = knots.first, let last = knots.last else { return logOdds }
    if logOdds <= first { return logOdds + (values[0] - first) }
    if logOdds >= last { return logOdds + (values[values.count - 1] - last) }
    var (low, high) = (0, knots.count - 1)
    while high - low > 1 {
      let middle = (low + high) / 2
      if knots[middle] <= logOdds { low = middle } else { high = middle }
    }
    let share = (logOdds - knots[low]) / (knots[high] - knots[low])
    return values[low] + share * (values[high] - values[low])
  }

  /// The logarithm of `p / (1 - p)`, within ±690.
  static func logOdds(ofLogProbability logProbability: Double) -> Double {
    let value = logProbability - log(max(-expm1(logProbability), 1e-300))
    return min(max(value, -690), 690)
  }

  /// Rows between two probabilities that share one value.
  private struct Block {
    /// The rows, and those of the class.
    var count = 1.0
    var hits: Double
    /// Σ p and Σ (1 - p).
    var expected: Double
    var expectedOthers: Double
    /// The largest logarithm of a probability.
    var end: Double

    init(logProbability: Double, isClass: Bool) {
      hits = isClass ? 1 : 0
      expected = max(exp(logProbability), 1e-300)
      expectedOthers = max(-expm1(logProbability), 1e-300)
      end = logProbability
    }

    mutating func add(_ other: Block) {
      count += other.count
      hits += other.hits
      expected += other.expected
      expectedOthers += other.expectedOthers
      end = max(end, other.end)
    }

    var share: Double { hits / count }
    var knot: Double { min(max(log(expected / expectedOthers), -690), 690) }
    var value: Double {
      log(drawn(hits, expected / count)) - log(drawn(count - hits, expectedOthers / count))
    }

    /// A share of rows, drawn towards the predicted one.
    private func drawn(_ hits: Double, _ predicted: Double) -> Double {
      let rows = min(1 / predicted, 100)
      return max((hits + rows * predicted) / (count + rows), 1e-300)
    }
  }
}
