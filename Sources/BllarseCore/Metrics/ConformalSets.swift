import Glibc
public import BllarseNumerics

/// Sets of classes that hold the label with a chosen probability, whatever the model is worth.
///
/// Calibration rows give scores `sᵢ` of their labels; the threshold is the `⌈(n+1)·level⌉`-th smallest, and
/// infinite where there are fewer. The set of a row holds all classes whose score does not exceed it, so
/// that with an infinite threshold it holds all there are. What that promises depends on the rows that the
/// scores come from: see ``Source``.
///
///     LAC: s = 1 - p_y                                     the smallest sets on average
///     APS: s = Σ of the probabilities down to the label's  sets that adapt to the row
///
/// - Note: Source: Sadinle, Lei and Wasserman, "Least ambiguous set-valued classifiers with bounded
///   error levels", JASA 2019 (LAC); Romano, Sesia and Candès, "Classification with valid and adaptive
///   coverage", NeurIPS 2020 (APS).
public struct ConformalSets: Sendable, Equatable {
  /// The score of a class.
  public enum Method: Sendable, Equatable {
    /// One less the class's probability.
    case lac
    /// The cumulated probability of the classes down to this one. With a seed, a uniform share of the
    /// class's own probability is left out, which makes the coverage exact instead of conservative.
    case aps(seed: UInt64? = nil)
  }

  /// The rows that a threshold comes from, and what its sets promise.
  public enum Source: String, Sendable, Equatable, CaseIterable {
    /// Rows that neither the model nor its calibration saw.
    ///
    /// If they and a new row are exchangeable, the label is in its set with probability at least `level`
    /// (over calibration rows and new row together: marginally, not class by class), and at most
    /// `level + 1/(n+1)` where scores have no ties.
    case validation
    /// Predictions of training rows by models that were fitted without their fold, while new rows are
    /// predicted by the model that was refitted to all rows.
    ///
    /// In practice the label is in its set with a probability near `level`. No bound is proven without an
    /// assumption of stability, that leaving out a fold changes little: what is proven, at least
    /// `1 - 2·(1 - level)` less a term of the order of the number of folds over n, is for sets that ask the
    /// fold's own models about the new row (cross-conformal sets, CV+).
    ///
    /// - Note: Source: Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial
    ///   Intelligence 2015; Barber, Candès, Ramdas and Tibshirani, "Predictive inference with the
    ///   jackknife+", Annals of Statistics 2021.
    case folds

    /// The promise in one line, for a result.
    public func guarantee(level: Double, rowCount: Int) -> String {
      let needed = ConformalSets.rowCountNeeded(level: level)
      if rowCount < needed {
        return
          "sets hold every class: \(rowCount) calibration rows are too few for a level of \(level), "
          + "which takes \(needed)"
      }
      switch self {
      case .validation:
        return
          "marginal, exact for exchangeable rows: a new row's set holds its label with probability "
          + "at least \(level)"
      case .folds:
        return
          "near \(level) in practice, not exact: thresholds are of models fitted without a fold, sets of "
          + "the model refitted to all rows; cross-conformal and CV+ sets, which ask the models of the "
          + "folds, guarantee about 1 - 2·(1 - level) (Vovk 2015; Barber et al. 2021)"
      }
    }
  }

  /// What the sets are worth on labelled rows.
  public struct Report: Sendable, Equatable {
    /// The share of rows whose set holds the label, the mean number of classes in a set, and the share of rows
    /// whose set is empty.
    public let coverage, meanSize, emptyShare: Double
  }

  /// The score of a class.
  public let method: Method
  /// The probability that a set should hold the label.
  public let level: Double
  /// The largest score that a class in a set has; infinite when there were too few rows to calibrate.
  public let threshold: Double

  /// Finds the threshold.
  ///
  /// It comes from predictions, n x K, for rows that the model was not fitted on, and their labels.
  ///
  /// - Throws: `NumericsError` for a level, labels or probabilities that cannot be, with the first row. No
  ///   rows are no fault: the threshold is infinite.
  public init<Scalar: BLASScalar>(
    _ method: Method, level: Double, probabilities: Matrix<Scalar>, labels: [Int32]
  ) throws(NumericsError) {
    try NumericsError.require(
      level > 0 && level < 1, "the level", level, "a number above 0 and below 1")
    try TrainingRows.matchLabels(
      labels, rowCount: probabilities.rowCount, classCount: probabilities.columnCount)
    if let (row, column) = probabilities.firstNonFinite {
      throw .notFinite(row: row, column: column)
    }
    (self.method, self.level) = (method, level)
    // Calibration rows and test rows draw from streams of their own.
    let scores = labels.indices.map { row in
      Self.scores(method, probabilities.row(row), stream: 2 * row)[Int(labels[row])]
    }.sorted()
    let rank = Self.rank(level: level, rowCount: labels.count)
    threshold = rank <= scores.count ? scores[max(rank, 1) - 1] : .infinity
  }

  /// Which of the ordered scores is the threshold, counted from 1.
  static func rank(level: Double, rowCount: Int) -> Int {
    // The product may be a rounding error above a whole number: 0.9·(9+1).
    Int((level * Double(rowCount + 1) - 1e-9).rounded(.up))
  }

  /// The calibration rows that a level takes: with fewer, sets hold every class.
  static func rowCountNeeded(level: Double) -> Int {
    // n ≥ level·(n + 1), and one less or more by rounding.
    var count = max(1, Int(min(level / (1 - level), 1e15)) - 1)
    while rank(level: level, rowCount: count) > count { count += 1 }
    return count
  }

  /// The classes in the set of every row, in ascending order.
  ///
  /// A class whose probability is not a number is in the set: nothing speaks against it.
  public func sets<Scalar: BLASScalar>(for probabilities: Matrix<Scalar>) -> [[Int]] {
    (0..<probabilities.rowCount).map { row in
      let scores = Self.scores(method, probabilities.row(row), stream: 2 * row + 1)
      return scores.indices.filter { !(scores[$0] > threshold) }
    }
  }

  /// Coverage and size of the sets of labelled rows; NaN without rows.
  ///
  /// - Throws: `NumericsError` when labels and rows differ in number, or a label is no class.
  public func evaluate<Scalar: BLASScalar>(
    probabilities: Matrix<Scalar>, labels: [Int32]
  ) throws(NumericsError) -> Report {
    try TrainingRows.matchLabels(
      labels, rowCount: probabilities.rowCount, classCount: probabilities.columnCount)
    let sets = sets(for: probabilities)
    let count = Double(labels.count)
    return Report(
      coverage: Double(zip(sets, labels).count { $0.contains(Int($1)) }) / count,
      meanSize: Double(sets.reduce(0) { $0 + $1.count }) / count,
      emptyShare: Double(sets.count { $0.isEmpty }) / count)
  }

  /// The scores of all classes of a row.
  private static func scores<Scalar: BLASScalar>(
    _ method: Method, _ probabilities: [Scalar], stream: Int
  ) -> [Double] {
    switch method {
    case .lac: return probabilities.map { 1 - Double($0) }
    case .aps(let seed):
      var generator = seed.map { Philox(seed: $0, purpose: .sampling, index: UInt64(stream)) }
      let share = generator?.uniform() ?? 0
      let order = probabilities.indices.sorted {
        (probabilities[$1], $0) < (probabilities[$0], $1)
      }
      var (sum, scores) = (0.0, [Double](repeating: 0, count: probabilities.count))
      for k in order {
        let p = Double(probabilities[k])
        sum += p
        scores[k] = sum - share * p
      }
      return scores
    }
  }
}
