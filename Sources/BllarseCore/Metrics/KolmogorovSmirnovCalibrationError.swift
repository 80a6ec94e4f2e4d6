extension Metrics {
  /// A calibration error without bins: the largest distance of cumulated confidence from cumulated
  /// correctness.
  ///
  ///     KS = max_c 1/N |Σ_{i: confᵢ ≤ c} (confᵢ - correctᵢ)|
  ///
  /// - Parameter summary: the predictions.
  /// - Returns: a number in 0...1; |accuracy - mean confidence| is a lower bound.
  /// - Complexity: O(N log N).
  /// - Note: Source: Gupta et al., "Calibration of neural networks using splines", ICLR 2021, eq. (7).
  public static func kolmogorovSmirnovCalibrationError(_ summary: PredictionSummary) -> Double {
    let ordered = ConfidenceOrder(summary)
    var (sum, largest) = (0.0, 0.0)
    for (start, end) in zip(ordered.groupStarts, ordered.groupStarts.dropFirst()) {
      for row in start..<end { sum += ordered.confidence[row] - ordered.correct[row] }
      largest = maximum(largest, sum.magnitude)
    }
    return largest / Double(summary.count)
  }
}
