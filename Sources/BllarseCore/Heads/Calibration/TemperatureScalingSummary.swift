/// The repeats of a fraction taken together.
public struct TemperatureScalingSummary: Sendable, Equatable {
  /// A mean and a standard deviation over the repeats.
  public struct Spread: Sendable, Equatable {
    /// The mean.
    public let mean: Double
    /// The standard deviation (that of the repeats, without correction).
    public let deviation: Double

    init(_ values: [Double]) {
      let mean = Metrics.mean(values)
      self.mean = mean
      deviation = Metrics.mean(values.map { ($0 - mean) * ($0 - mean) }).squareRoot()
    }
  }

  /// Whose predictions: "baseline" or "head".
  public let source: String
  /// The share of the test rows that temperatures were fitted to.
  public let testFraction: Double
  /// Of the temperature.
  public let temperature: Spread
  /// Of the accuracy.
  public let acc: Spread
  /// Of the calibration error.
  public let ece: Spread
  /// Of the negative log-likelihood.
  public let nll: Spread

  /// Takes the repeats of each source and fraction together, in their order.
  public static func summaries(_ rows: [TemperatureScaling.Row]) -> [TemperatureScalingSummary] {
    var starts: [TemperatureScaling.Row] = []
    for row in rows
    where !starts.contains(where: {
      $0.source == row.source && $0.testFraction == row.testFraction
    }) {
      starts.append(row)
    }
    return starts.map { first in
      let group = rows.filter {
        $0.source == first.source && $0.testFraction == first.testFraction
      }
      return TemperatureScalingSummary(
        source: first.source, testFraction: first.testFraction,
        temperature: Spread(group.map(\.temperature)), acc: Spread(group.map(\.acc)),
        ece: Spread(group.map(\.ece)), nll: Spread(group.map(\.nll)))
    }
  }
}
