#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// How well confidence ranks right predictions before wrong ones.
public struct SelectiveRisk: Sendable, Equatable {
  /// The area under the risk-coverage curve.
  public let areaUnderRiskCoverage: Double
  /// The area in excess of the best possible order of these predictions.
  public let excess: Double
}

extension Metrics {
  /// The area under the risk-coverage curve (AURC) and its excess (E-AURC).
  ///
  ///     AURC = 1/N Σⱼ errors among the j most confident rows / j
  ///     E-AURC = AURC - (r + (1 - r) log(1 - r)),    r the error rate
  ///
  /// Rows of equal confidence count as in a random order, on average; so permuting rows changes nothing.
  ///
  /// - Parameter summary: the predictions.
  /// - Returns: both areas.
  /// - Complexity: O(N log N).
  /// - Note: Source: Geifman, Uziel and El-Yaniv, "Bias-reduced uncertainty estimation for deep neural
  ///   classifiers", ICLR 2019, eq. (1) and section 3.
  public static func selectiveRisk(_ summary: PredictionSummary) -> SelectiveRisk {
    let ordered = ConfidenceOrder(summary)
    var (errors, area) = (0.0, 0.0)
    for (covered, correct) in ordered.correct.reversed().enumerated() {
      errors += 1 - correct
      area += errors / Double(covered + 1)
    }
    let count = Double(summary.count)
    let risk = errors / count
    let best = risk < 1 ? risk + (1 - risk) * log1p(-risk) : 1
    return SelectiveRisk(areaUnderRiskCoverage: area / count, excess: area / count - best)
  }
}
