/// How well a score tells foreign rows (out of distribution) from known ones.
public struct OutOfDistributionDetection: Sendable, Equatable {
  /// The probability that a foreign row scores higher than a known one; ties count one half.
  public let auroc: Double
  /// The share of known rows that are taken for foreign when 95 % of the foreign ones are found.
  public let falsePositiveRateAt95: Double
  /// The average precision with foreign rows as the positive class.
  public let auprOut: Double
  /// The average precision with known rows as the positive class.
  public let auprIn: Double
}

extension Metrics {
  /// Scores the detection of foreign rows by an uncertainty: higher means more foreign.
  ///
  ///     AUROC = P(s_out > s_in) + ½ P(s_out = s_in)
  ///     FPR@95 = min over thresholds t with P(s_out ≥ t) ≥ 0.95 of P(s_in ≥ t)
  ///     AUPR = Σ_t (recall_t - recall_{t-1}) precision_t   (average precision)
  ///
  /// - Parameters:
  ///   - inDistribution: the scores of known rows.
  ///   - outOfDistribution: the scores of foreign rows.
  /// - Returns: four numbers in 0...1; NaN when either list is empty or holds a NaN, which has no order.
  /// - Complexity: O(N log N).
  /// - Note: Source: Hanley and McNeil, "The meaning and use of the area under a receiver operating
  ///   characteristic (ROC) curve", Radiology 1982 (mid-ranks); Hendrycks and Gimpel, "A baseline for
  ///   detecting misclassified and out-of-distribution examples in neural networks", ICLR 2017.
  public static func outOfDistributionDetection(
    inDistribution: [Double], outOfDistribution: [Double]
  ) -> OutOfDistributionDetection {
    guard !inDistribution.isEmpty, !outOfDistribution.isEmpty,
      !inDistribution.contains(where: \.isNaN), !outOfDistribution.contains(where: \.isNaN)
    else {
      return OutOfDistributionDetection(
        auroc: .nan, falsePositiveRateAt95: .nan, auprOut: .nan, auprIn: .nan)
    }
    let rows = (outOfDistribution.map { ($0, true) } + inDistribution.map { ($0, false) })
      .sorted { $0.0 > $1.0 }
    let (positives, negatives) = (Double(outOfDistribution.count), Double(inDistribution.count))
    var (truePositives, falsePositives) = (0.0, 0.0)
    var (area, auprOut, falsePositiveRate) = (0.0, 0.0, Double?.none)
    var thresholds: [(truePositives: Double, falsePositives: Double)] = []
    var start = 0
    while start < rows.count {
      // Equal scores pass a threshold together.
      var (end, foreign, known) = (start, 0.0, 0.0)
      while end < rows.count, rows[end].0 == rows[start].0 || end == start {
        if rows[end].1 { foreign += 1 } else { known += 1 }
        end += 1
      }
      area += known * (truePositives + foreign / 2)
      truePositives += foreign
      falsePositives += known
      auprOut += foreign / positives * truePositives / (truePositives + falsePositives)
      if falsePositiveRate == nil, truePositives >= 0.95 * positives {
        falsePositiveRate = falsePositives / negatives
      }
      thresholds.append((truePositives, falsePositives))
      start = end
    }
    // The known rows as the positive class, from the other end.
    var (auprIn, foundBefore) = (0.0, 0.0)
    for index in thresholds.indices.reversed() {
      let before = index > 0 ? thresholds[index - 1] : (0, 0)
      let found = negatives - before.1
      let wrong = positives - before.0
      auprIn += (found - foundBefore) / negatives * (found / (found + wrong))
      foundBefore = found
    }
    // Sums of shares may round past 1.
    return OutOfDistributionDetection(
      auroc: min(area / (positives * negatives), 1),
      falsePositiveRateAt95: min(falsePositiveRate ?? 1, 1), auprOut: min(auprOut, 1),
      auprIn: min(auprIn, 1))
  }
}
