import BllarseNumerics

/// How features are brought to a common scale before a head with an evidence-chosen prior sees them.
///
/// All scalings end with mean 0 over the training rows, so that the bias has a meaning of its own.
public enum FeatureScaling: String, Sendable, Equatable, CaseIterable, Codable {
  /// Each column to mean 0 and variance 1; columns that do not vary are ignored.
  case columns
  /// Each column to mean 0, and all divided by one number, so that the mean variance is 1.
  case global
  /// Each row to mean 0 and variance 1 (layer normalisation), then each column to mean 0.
  case rows

  /// The scalings that are tried by default.
  ///
  /// Those of rows take two degrees of freedom from a row, too much where it has few; they tame rows that
  /// lie far out.
  static func candidates(featureCount: Int) -> [FeatureScaling] {
    featureCount >= 8 ? [.columns, .global, .rows] : [.columns, .global]
  }

  /// What numbers the transform is made from.
  private static let layerNormEpsilon = 1e-5

  /// The transform that training rows define.
  ///
  /// - Parameters:
  ///   - features: the training rows, N x D.
  ///   - parallelism: the threads to work with.
  /// - Returns: the transform.
  func transform(of features: FeatureMatrix, parallelism: Parallelism) -> FeatureTransform {
    switch self {
    case .rows:
      let statistics = ColumnStatistics(
        features, transform: .layerNorm(epsilon: Self.layerNormEpsilon), parallelism: parallelism)
      return .centredLayerNorm(epsilon: Self.layerNormEpsilon, mean: statistics.means)
    case .columns, .global:
      let statistics = ColumnStatistics(features, parallelism: parallelism)
      let varies = statistics.variation
      let global = statistics.globalDeviation
      let scale = varies.indices.map { j in
        varies[j] ? 1 / (self == .columns ? statistics.deviations[j] : global) : 0
      }
      return .columns(scale: scale, shift: zip(scale, statistics.means).map { -$0 * $1 })
    }
  }
}

extension ColumnStatistics {
  /// Whether a column varies by more than the rounding of its values.
  ///
  /// A column that does not is multiplied by 0: a new row may hold any value there without effect.
  var variation: [Bool] {
    zip(deviations, magnitudes).map { deviation, magnitude in deviation > 1e-7 * magnitude }
  }

  /// The root of the mean variance of the columns.
  var globalDeviation: Double {
    let sum = zip(deviations, variation).reduce(0.0) { $0 + ($1.1 ? $1.0 * $1.0 : 0) }
    return (sum / Double(max(deviations.count, 1))).squareRoot()
  }
}
