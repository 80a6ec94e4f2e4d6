extension Metrics {
  /// The calibration error over bins that hold equally many rows.
  ///
  /// Rows are ordered by confidence; bin `m` holds those from `⌊m·N/M⌋` on. Rows of equal confidence may
  /// fall into two bins; each then counts with the accuracy that these rows have together, so that the
  /// order of the rows does not matter.
  ///
  /// - Parameters:
  ///   - summary: the predictions.
  ///   - binCount: the number of bins, at least 1.
  /// - Returns: the errors and the bins.
  /// - Complexity: O(N log N).
  /// - Note: Source: Nguyen and O'Connor, "Posterior calibration and exploratory analysis for natural
  ///   language processing models", EMNLP 2015; "adaptive ECE".
  public static func equalMassCalibrationError(
    _ summary: PredictionSummary, binCount: Int = 20
  ) -> CalibrationError {
    precondition(binCount >= 1, "\(binCount) bins")
    let ordered = ConfidenceOrder(summary)
    var sums = [BinSums](repeating: BinSums(), count: binCount)
    for bin in 0..<binCount {
      for row in bin * summary.count / binCount..<(bin + 1) * summary.count / binCount {
        sums[bin].add(ordered.confidence[row], ordered.correct[row])
      }
    }
    return CalibrationError(binning: .equalMass, binCount: binCount, sums: sums)
  }
}

/// Rows in the order of their confidence, lowest first.
///
/// Rows of equal confidence have no order of their own; each gets the mean of their correctness, which
/// is what a random order gives on average.
struct ConfidenceOrder: Sendable {
  private(set) var confidence: [Double]
  private(set) var correct: [Double]
  /// Where the rows of equal confidence start, and the number of rows at the end.
  private(set) var groupStarts: [Int] = []

  init(_ summary: PredictionSummary) {
    var rows = zip(summary.confidence, summary.isCorrect).map {
      (confidence: $0.0, correct: $0.1 ? 1.0 : 0.0)
    }
    // NaN goes to the front, so that the order stays a strict one.
    rows.sort { $0.confidence < $1.confidence || ($0.confidence.isNaN && !$1.confidence.isNaN) }
    confidence = rows.map(\.confidence)
    correct = rows.map(\.correct)
    var start = 0
    while start < rows.count {
      var end = start + 1
      while end < rows.count, confidence[end] == confidence[start] { end += 1 }
      groupStarts.append(start)
      if end > start + 1 {
        let mean = correct[start..<end].reduce(0, +) / Double(end - start)
        for row in start..<end { correct[row] = mean }
      }
      start = end
    }
    groupStarts.append(rows.count)
  }
}
