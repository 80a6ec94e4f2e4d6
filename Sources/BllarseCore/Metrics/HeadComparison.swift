public import BllarseNumerics

/// How several heads predict the same rows, and which of them differ by more than the noise of those rows.
///
/// The losses of a row under two heads go together, so their difference has a smaller error than either score:
/// the mean difference of the rows is resampled, in pairs, and its interval says whether one head is better.
/// The heads are compared with the one of the lowest loss.
///
/// - Note: Source: Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 13 (percentile intervals).
public struct HeadComparison: Sendable, Equatable {
  /// A head's loss in excess of the best head's.
  public struct Excess: Sendable, Equatable, Encodable {
    /// The mean over rows, in nats, and its interval.
    public let mean, lower, upper: Double
    /// Whether the interval lies above 0.
    public var isBeyondNoise: Bool { lower > 0 }

    /// Writes the numbers and the verdict.
    public func encode(to encoder: any Encoder) throws {
      try JSONMembers([
        "mean": mean, "lower": lower, "upper": upper, "is_beyond_noise": isBeyondNoise,
      ]).encode(to: encoder)
    }
  }

  /// The place of the head with the lowest mean loss; the first of equals.
  public let best: Int
  /// Of each head, in order; that of the best is 0 throughout.
  public let excesses: [Excess]
  /// The coverage that the intervals aim at, and how often rows were resampled.
  public let level: Double, replicateCount: Int

  /// Compares heads.
  ///
  /// - Parameters:
  ///   - losses: for each head the losses of the same rows, at least one head and one row; a loss that is not a number
  ///     counts as infinite.
  ///   - level: of the intervals.
  ///   - seed: of the draws.
  ///   - execution: the threads to work with; they do not change the result.
  /// - Complexity: O(replicates · rows · heads).
  public init(
    losses: [[Double]], level: Double = 0.95, seed: UInt64 = 0, execution: Execution = .available
  ) {
    let count = losses.first?.count ?? 0
    precondition(count > 0 && losses.allSatisfy { $0.count == count }, "losses of other rows")
    let losses = losses.map { $0.map { $0.isNaN ? .infinity : $0 } }
    let means = losses.map { $0.reduce(0, +) / Double(count) }
    let best = means.indices.reduce(0) { means[$1] < means[$0] ? $1 : $0 }
    let replicates = min(2000, max(200, Self.workLimit / (count * losses.count)))
    let differences = losses.map { zip($0, losses[best]).map { $0 == $1 ? 0 : $0 - $1 } }
    // (replicates, heads), one draw of rows for all heads.
    let drawn = execution.map(replicates, blockSize: 8) { range in
      range.flatMap { replicate in
        var generator = Philox(seed: seed, purpose: .bootstrap, index: UInt64(replicate))
        var sums = [Double](repeating: 0, count: differences.count)
        for _ in 0..<count {
          let row = generator.integer(below: count)
          for head in sums.indices { sums[head] += differences[head][row] }
        }
        return sums.map { $0 / Double(count) }
      }
    }
    excesses = differences.indices.map { head in
      let values = (0..<replicates).map { drawn[$0 * differences.count + head] }.sorted()
      let mean = differences[head].reduce(0, +) / Double(count)
      return Excess(
        mean: mean, lower: min(mean, Metrics.quantile(ofSorted: values, (1 - level) / 2)),
        upper: max(mean, Metrics.quantile(ofSorted: values, (1 + level) / 2)))
    }
    (self.best, self.level, replicateCount) = (best, level, replicates)
  }

  /// Rows times heads times replicates: about a second.
  private static var workLimit: Int { 200_000_000 }
}

extension Head {
  /// The negative log-likelihood of each row, in nats; of several target values or labels their mean.
  ///
  /// - Throws: `NumericsError` as ``scores(of:execution:)``.
  public func losses(
    of split: FeatureSplit, execution: Execution = .available
  ) throws(NumericsError) -> [Double] {
    if let regressor = self as? any RegressionHead {
      let predicted = try regressor.predict(split.features, execution: execution)
      let logs = try predicted.logDensities(split.values)
      return (0..<logs.rowCount).map { row in
        -logs.row(row).reduce(0, +) / Double(max(logs.columnCount, 1))
      }
    }
    if let head = self as? any MultiLabelHead {
      let odds = try head.logOdds(split.features, execution: execution)
      return try LabelPredictions(logOdds: odds, split.labelSets).rowScores.map(\.nll)
    }
    guard let classifier = self as? any ClassificationHead else { return [] }
    let predictions = try Predictions(
      logProbabilities: classifier.logProbabilities(split.features, execution: execution),
      labels: split.labels, distributions: split.targets.softDistributions, execution: execution)
    return predictions.rows.map { -$0.logLikelihood }
  }
}
