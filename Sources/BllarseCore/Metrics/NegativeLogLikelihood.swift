extension Metrics {
  /// The mean negative log-probability of the labels, in nats.
  ///
  ///     NLL = -1/N Σᵢ log pᵢ,yᵢ
  ///
  /// It is infinite when a label was given probability 0. Summaries made from log-probabilities keep
  /// the tails that probabilities lose.
  public static func negativeLogLikelihood(_ summary: PredictionSummary) -> Double {
    -mean(summary.logLikelihood)
  }
}
