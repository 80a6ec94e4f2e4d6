extension Metrics {
  /// The mean squared distance of the predicted distribution from the label.
  ///
  ///     Brier = 1/N Σᵢ Σₖ (pᵢₖ - [yᵢ = k])²    in 0...2
  ///
  /// With two classes it is twice the form that looks at one class alone.
  ///
  /// - Note: Source: Brier, "Verification of forecasts expressed in terms of probability", Monthly
  ///   Weather Review 1950.
  public static func brierScore(_ summary: PredictionSummary) -> Double { mean(summary.brier) }
}
