import Glibc

/// How well confidence ranks right predictions before wrong ones.
public struct SelectiveRisk: Sendable, Equatable {
  /// The area under the risk-coverage curve, and its excess over that of the best possible order.
  public let areaUnderRiskCoverage, excess: Double
}

extension Metrics {
  /// The area under the risk-coverage curve (AURC) and its excess (E-AURC).
  ///
  ///     AURC = 1/N Σⱼ errors among the j most confident rows / j
  ///     E-AURC = AURC - (r + (1 - r) log(1 - r)),    r the error rate
  ///
  /// Rows of equal confidence count as in a random order, on average; so permuting rows changes nothing.
  ///
  /// - Complexity: O(N log N).
  /// - Note: Source: Geifman, Uziel and El-Yaniv, "Bias-reduced uncertainty estimation for deep neural
  ///   classifiers", ICLR 2019, eq. (1) and section 3.
  public static func selectiveRisk(_ predictions: Predictions) -> SelectiveRisk {
    let ordered = ConfidenceOrder(predictions)
    var (errors, area) = (0.0, 0.0)
    for (covered, correct) in ordered.correct.reversed().enumerated() {
      errors += 1 - correct
      area += errors / Double(covered + 1)
    }
    let count = Double(predictions.count)
    let risk = errors / count
    let best = risk < 1 ? risk + (1 - risk) * log1p(-risk) : 1
    return SelectiveRisk(areaUnderRiskCoverage: area / count, excess: area / count - best)
  }
}

/// How well a score tells out-of-distribution rows from those in distribution.
public struct OutOfDistributionDetection: Sendable, Equatable {
  /// The probability that an out-of-distribution row scores higher than one in distribution; ties count
  /// one half.
  public let auroc: Double
  /// The share of in-distribution rows above the threshold that 95 % of the others reach.
  public let falsePositiveRateAt95: Double
  /// The average precision with the rows out of distribution, or in distribution, as the positive class.
  public let auprOut, auprIn: Double
}

extension Metrics {
  /// Scores the detection of out-of-distribution rows by an uncertainty, which is higher for them.
  ///
  ///     AUROC = P(s_out > s_in) + ½ P(s_out = s_in)
  ///     FPR@95 = min over thresholds t with P(s_out ≥ t) ≥ 0.95 of P(s_in ≥ t)
  ///     AUPR = Σ_t (recall_t - recall_{t-1}) precision_t   (average precision)
  ///
  /// All four are in 0...1; NaN when either list is empty or holds a NaN, which has no order.
  ///
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
      var (end, outside, inside) = (start, 0.0, 0.0)
      while end < rows.count, rows[end].0 == rows[start].0 || end == start {
        if rows[end].1 { outside += 1 } else { inside += 1 }
        end += 1
      }
      area += inside * (truePositives + outside / 2)
      truePositives += outside
      falsePositives += inside
      auprOut += outside / positives * truePositives / (truePositives + falsePositives)
      if falsePositiveRate == nil, truePositives >= 0.95 * positives {
        falsePositiveRate = falsePositives / negatives
      }
      thresholds.append((truePositives, falsePositives))
      start = end
    }
    // In-distribution rows as the positive class, from the other end.
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
