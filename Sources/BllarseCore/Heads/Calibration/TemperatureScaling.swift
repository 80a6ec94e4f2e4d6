public import BllarseNumerics

/// Temperatures fitted to random parts of a split and scored on the rest of it, as the Python original's
/// comparison of classifiers does.
///
/// For every fraction and repeat: a random `round(fraction·n)` of the rows give an inverse temperature by
/// a few Newton steps from 1; the other rows give the scores. This measures what a temperature would do for
/// predictions; nothing that is stored changes.
///
/// - Note: The rows of a repeat are a function of the seed, the fraction and the repeat, the same for
///   whatever is scored, so that results can be compared pair by pair. They are not those of the original,
///   whose seeds differ from process to process.
public struct TemperatureScaling: Sendable, Equatable {
  /// Repeats of a fraction, each with other rows.
  public static let repeatCount = 25

  /// Newton steps.
  public var stepCount: Int
  /// The shares of the rows that a temperature is fitted to, each above 0 and below 1.
  public var fractions: [Double]

  /// Chooses how.
  public init(stepCount: Int = 4, fractions: [Double] = [0.1]) {
    self.stepCount = stepCount
    self.fractions = fractions
  }

  /// The scores of one repeat.
  public struct Row: Sendable, Equatable, Codable {
    /// Whose predictions: "baseline", the classifier that the backbone was trained with, or "head".
    public var source: String
    /// The share of the test rows that the temperature was fitted to.
    public var testFraction: Double
    /// The repeat, counted from 0.
    public var repeatIndex: Int
    /// The temperature, the inverse of the factor of the logits.
    public var temperature: Double
    /// The accuracy on the other test rows.
    public var acc: Double
    /// Their expected calibration error, 20 bins of equal width.
    public var ece: Double
    /// Their mean negative log-likelihood, in nats.
    public var nll: Double

    enum CodingKeys: String, CodingKey {
      case source, temperature, acc, ece, nll
      case testFraction = "test_fraction"
      case repeatIndex = "repeat_idx"
    }
  }

  /// Scores predictions.
  ///
  /// - Parameters:
  ///   - source: whose predictions, "baseline" or "head".
  ///   - logits: n x K, log-probabilities up to a constant in each row, finite.
  ///   - labels: a class for each row.
  ///   - seed: of the run.
  ///   - execution: the threads to score with; they do not change the result.
  /// - Returns: fractions x repeats.
  /// - Throws: `NumericsError` with the first row whose label is no class or whose logits are not finite,
  ///   and when a fraction leaves no rows on one side.
  public func rows(
    _ source: String, logits: Matrix<Double>, labels: [Int32], seed: UInt64,
    execution: Execution
  ) throws(NumericsError) -> [Row] {
    try check(logits, labels)
    try NumericsError.require(
      firstUnusable(of: labels.count) == nil, "a fraction of \(labels.count) rows",
      firstUnusable(of: labels.count) ?? 0, "a share that leaves rows on both sides")
    var rows: [Row] = []
    for fraction in fractions {
      let count = Self.count(fraction, of: labels.count)
      let stream = UInt64((fraction * 100_000).rounded()) << 8
      for index in 0..<Self.repeatCount {
        var generator = Philox(
          seed: seed, purpose: .temperatureRows, index: stream | UInt64(index))
        let order = generator.permutation(count: labels.count)
        let (fitted, scored) = (order[..<count], order[count...])
        let beta = fittedInverseTemperature(
          logits.gatheringRows(fitted), fitted.map { labels[$0] })
        var logs = logits.gatheringRows(scored)
        logs.scale(by: beta)
        logs.formLogSoftmaxRows()
        let scores = SplitScores(
          try Predictions(
            logProbabilities: logs, labels: scored.map { labels[$0] }, execution: execution))
        rows.append(
          Row(
            source: source, testFraction: fraction, repeatIndex: index, temperature: 1 / beta,
            acc: scores.acc, ece: scores.ece, nll: scores.nll))
      }
    }
    return rows
  }

  /// The inverse temperature after the Newton steps.
  ///
  ///     β ← clip(β - g / (h + 1e-8), 0.01, 100),   from β = 1
  ///
  /// - Parameters:
  ///   - logits: n x K.
  ///   - labels: a class for each row.
  /// - Returns: β.
  /// - Throws: `NumericsError` with the first row whose label is no class or whose logits are not finite,
  ///   and when there are no rows.
  public func inverseTemperature(
    _ logits: Matrix<Double>, _ labels: [Int32]
  ) throws(NumericsError) -> Double {
    try check(logits, labels)
    return fittedInverseTemperature(logits, labels)
  }

  private func check(_ logits: Matrix<Double>, _ labels: [Int32]) throws(NumericsError) {
    try TrainingRows.checkLabels(
      labels, rowCount: logits.rowCount, classCount: logits.columnCount,
      rows: "rows to fit a temperature to")
    if let (row, column) = logits.firstNonFinite { throw .notFinite(row: row, column: column) }
  }

  /// The first fraction that leaves no rows to fit a temperature to, or none to score it on.
  func firstUnusable(of rowCount: Int) -> Double? {
    fractions.first { !(1..<max(rowCount, 1)).contains(Self.count($0, of: rowCount)) }
  }

  /// How many rows a share of them is.
  static func count(_ fraction: Double, of rowCount: Int) -> Int {
    let rows = (fraction * Double(rowCount)).rounded(.toNearestOrEven)
    return rows.isFinite ? Int(min(max(rows, -1), Double(rowCount) + 1)) : 0
  }

  private func fittedInverseTemperature(_ logits: Matrix<Double>, _ labels: [Int32]) -> Double {
    var beta = 1.0
    for _ in 0..<stepCount {
      let (gradient, curvature) = logits.temperatureDerivatives(labels, beta)
      beta = min(max(beta - gradient / (curvature + 1e-8), 0.01), 100)
    }
    return beta
  }
}

/// The repeats of a fraction taken together.
public struct TemperatureScalingSummary: Sendable, Equatable {
  /// A mean and a standard deviation over the repeats.
  public struct Spread: Sendable, Equatable {
    /// What it is of: "temperature", or a metric.
    public let name: String
    /// The mean.
    public let mean: Double
    /// The standard deviation (that of the repeats, without correction).
    public let deviation: Double

    init(_ name: String, _ values: [Double]) {
      let mean = Metrics.mean(values)
      (self.name, self.mean) = (name, mean)
      deviation = Metrics.mean(values.map { ($0 - mean) * ($0 - mean) }).squareRoot()
    }
  }

  /// Whose predictions: "baseline" or "head".
  public let source: String
  /// The share of the test rows that temperatures were fitted to.
  public let testFraction: Double
  /// Of the temperature, and of `acc`, `nll` and `ece` of the other rows.
  public let spreads: [Spread]

  /// Takes the repeats of each source and fraction together, in their order.
  public static func summaries(_ rows: [TemperatureScaling.Row]) -> [TemperatureScalingSummary] {
    rows.filter { $0.repeatIndex == 0 }.map { first in
      let group = rows.filter {
        $0.source == first.source && $0.testFraction == first.testFraction
      }
      return TemperatureScalingSummary(
        source: first.source, testFraction: first.testFraction,
        spreads: [
          Spread("temperature", group.map(\.temperature)), Spread("acc", group.map(\.acc)),
          Spread("nll", group.map(\.nll)), Spread("ece", group.map(\.ece)),
        ])
    }
  }
}
