import BllarseNumerics

/// Scores of classes that have an order, 0 to K - 1.
extension Metrics {
  /// The ranked probability score: the mean over rows of `Σ_k (F_k - 1[y <= k])² / (K - 1)`, k from 0 to K - 2, with F the
  /// distribution function of the predicted class.
  ///
  /// It is 0 for certainty of the label and 1 for certainty of the other end of the scale. Unlike the Brier score it
  /// tells a miss by one class from a miss by several.
  ///
  /// - Parameter predictions: N x K.
  /// - Returns: the score; NaN for no rows, `nil` for less than two classes.
  /// - Note: Source: Epstein, "A scoring system for probability forecasts of ranked categories", Journal of Applied
  ///   Meteorology 1969, in the form of Murphy (1971) and divided by K - 1.
  public static func rankedProbabilityScore(_ predictions: Predictions) -> Double? {
    guard predictions.classCount >= 2 else { return nil }
    let sum = meanOverRows(predictions) { row, label in
      var (below, score) = (0.0, 0.0)
      for k in 0..<row.count - 1 {
        below += Double(row[k])
        let difference = below - (label <= k ? 1 : 0)
        score += difference * difference
      }
      return score
    }
    return sum / Double(predictions.classCount - 1)
  }

  /// The mean distance, in classes, of the median of the predicted distribution from the label: the median is the first
  /// class at which the distribution function reaches a half of its end.
  ///
  /// - Parameter predictions: N x K.
  /// - Returns: the distance; NaN for no rows.
  public static func medianClassError(_ predictions: Predictions) -> Double? {
    meanOverRows(predictions) { row, label in
      let half = 0.5 * row.reduce(0) { $0 + Double($1) }
      guard half.isFinite else { return .nan }
      var (below, median) = (0.0, 0)
      for k in row.indices {
        below += Double(row[k])
        median = k
        if below >= half { break }
      }
      return Double((median - label).magnitude)
    }
  }

  private static func meanOverRows(
    _ predictions: Predictions, _ score: ([Float], Int) -> Double
  ) -> Double {
    let probabilities = predictions.probabilities
    let sum = predictions.rows.indices.reduce(0.0) { sum, row in
      sum + score(probabilities.row(row), Int(predictions.rows[row].label))
    }
    return sum / Double(predictions.count)
  }
}
