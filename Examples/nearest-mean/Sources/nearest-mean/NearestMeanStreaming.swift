import BllarseCore
import BllarseNumerics

/// What a head may do beside: learn from further rows, to the same means in batches as at once.
extension NearestMeanHead: StreamingHead {
  static let mergesExactly = true

  mutating func update(
    _ features: FeatureMatrix, labels: [Int32], execution: Execution
  ) throws(NumericsError) {
    try TrainingRows.check(
      features, labels: labels, featureCount: featureCount, classCount: classCount)
    learn(features, labels, nil)
  }
}
