extension Metrics {
  /// The share of rows whose most probable class is the label.
  ///
  ///     accuracy = 1/N Σᵢ [argmaxₖ pᵢₖ = yᵢ]
  ///
  /// Of classes with equal probability the first counts, as in NumPy's `argmax`.
  public static func accuracy(_ summary: PredictionSummary) -> Double {
    Double(summary.isCorrect.count { $0 }) / Double(summary.count)
  }

  /// The share of rows whose label is among the k most probable classes.
  ///
  /// Of classes with equal probability the first are preferred.
  ///
  /// - Parameters:
  ///   - summary: the predictions.
  ///   - k: how many classes count, at least 1; with 1 this is ``accuracy(_:)``.
  /// - Returns: a number in 0...1.
  public static func topKAccuracy(_ summary: PredictionSummary, k: Int) -> Double {
    precondition(k >= 1, "the \(k) most probable classes")
    return Double(summary.labelRank.count { Int($0) < k }) / Double(summary.count)
  }
}
