package import BllarseNumerics

/// Whether features are such that steps on batches get anywhere.
///
/// Steps work on the features as they are, as in the Python original. Where these lie far from zero for their
/// spread, the loss is a narrow valley along the biases (its condition number grows with the square of
/// that ratio), and learning rates are made for features of a spread about 1.
package enum StepConditions {
  /// Rows that are looked at.
  private static let rowLimit = 4096
  /// On three classes with the default rate, AdamW loses 0.01 in accuracy after 20 epochs at a ratio of 3, 0.05
  /// at 10, and learns nothing at 30.
  private static let largestRatio = 10.0
  /// In that experiment a spread of 0.01 or 1000 is too far from 1, one of 0.1 or 100 is not.
  private static let spreads = 0.03...300

  /// What the user should know before the learning rate is blamed, or `nil`.
  package static func note(_ features: FeatureMatrix, parallelism: Parallelism) -> String? {
    let rows = features.rows(0..<min(features.rowCount, rowLimit))
    let statistics = ColumnStatistics(rows, parallelism: parallelism)
    let spread = statistics.globalDeviation
    guard spread > 0 else { return nil }
    let squares = statistics.means.reduce(0) { $0 + $1 * $1 }
    let offset = (squares / Double(max(statistics.means.count, 1))).squareRoot()
    let remedy =
      "steps take them as they are, as the Python original does: bring them to mean 0 and variance 1, or "
      + "fit with --optimizer newton, which does not depend on it"
    if offset > largestRatio * spread {
      return "the features lie \(rounded(offset / spread)) times their spread from zero; " + remedy
    }
    if !spreads.contains(spread) {
      return "the features have a spread of \(rounded(spread)); " + remedy
    }
    return nil
  }

  /// A number with two digits.
  private static func rounded(_ value: Double) -> String {
    let text = String(Float(value))
    guard value >= 10, value < 1e6 else { return text }
    return String(Int(value.rounded()))
  }
}
