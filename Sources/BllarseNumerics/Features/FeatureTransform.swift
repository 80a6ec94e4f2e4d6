/// How a row of features becomes a row of the design matrix, before the bias column.
public enum FeatureTransform: Sendable, Equatable {
  /// The features as they are.
  case identity

  /// Each row to mean 0 and variance 1: `(x - mean) / sqrt(variance + epsilon)`, with the population
  /// variance of the row and no parameters.
  case layerNorm(epsilon: Double)

  /// The layer normalisation of each row, less a mean for each column.
  case centredLayerNorm(epsilon: Double, mean: [Double])

  /// Each column its own way: `x · scale + shift`; both hold one number for each feature.
  case columns(scale: [Double], shift: [Double])

  /// The layer normalisation of the reference, with epsilon 1e-5.
  public static let standardLayerNorm = FeatureTransform.layerNorm(epsilon: 1e-5)
}
