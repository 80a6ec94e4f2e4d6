#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif
public import BllarseNumerics

/// Sets of classes that hold the label with a chosen probability, whatever the model is worth.
///
/// Calibration rows give scores `sᵢ` of their labels; the threshold is the `⌈(n+1)·level⌉`-th smallest.
/// The set of a row holds all classes whose score does not exceed it. If calibration and test rows are
/// exchangeable, the label is in its set with probability at least `level`.
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

  /// What the sets are worth on labelled rows.
  public struct Report: Sendable, Equatable {
    /// The share of rows whose set holds the label.
    public let coverage: Double
    /// The mean number of classes in a set.
    public let meanSize: Double
    /// The share of rows whose set is empty.
    public let emptyShare: Double
  }

  /// The score of a class.
  public let method: Method
  /// The probability that a set should hold the label.
  public let level: Double
  /// The largest score that a class in a set has; infinite when there were too few rows to calibrate.
  public let threshold: Double

  /// Finds the threshold.
  ///
  /// - Parameters:
  ///   - method: the score of a class.
  ///   - level: the probability that a set should hold the label, in 0..<1.
  ///   - probabilities: n x K, predictions for rows that the model was not fitted on.
  ///   - labels: n class indices in `0..<K`.
  public init<Scalar: BLASScalar>(
    _ method: Method, level: Double, probabilities: Matrix<Scalar>, labels: [Int32]
  ) {
    precondition(level > 0 && level < 1, "a coverage of \(level)")
    precondition(
      probabilities.rowCount == labels.count,
      "\(probabilities.rowCount) rows of predictions for \(labels.count) labels")
    self.method = method
    self.level = level
    // Calibration rows and test rows draw from streams of their own.
    let scores = labels.indices.map { row in
      Self.scores(method, probabilities.row(row), stream: 2 * row)[Int(labels[row])]
    }.sorted()
    // The product may be a rounding error above a whole number: 0.9·(9+1).
    let rank = Int((level * Double(labels.count + 1) - 1e-9).rounded(.up))
    threshold = rank <= scores.count ? scores[max(rank, 1) - 1] : .infinity
  }

  /// The classes in the set of every row, in ascending order.
  ///
  /// - Parameter probabilities: N x K.
  /// - Returns: N lists of class indices.
  public func sets<Scalar: BLASScalar>(for probabilities: Matrix<Scalar>) -> [[Int]] {
    (0..<probabilities.rowCount).map { row in
      let scores = Self.scores(method, probabilities.row(row), stream: 2 * row + 1)
      return scores.indices.filter { scores[$0] <= threshold }
    }
  }

  /// Coverage and size of the sets of labelled rows.
  ///
  /// - Parameters:
  ///   - probabilities: N x K.
  ///   - labels: N class indices in `0..<K`.
  /// - Returns: the shares and the mean size; NaN without rows.
  public func evaluate<Scalar: BLASScalar>(
    probabilities: Matrix<Scalar>, labels: [Int32]
  ) -> Report {
    precondition(
      probabilities.rowCount == labels.count,
      "\(probabilities.rowCount) rows of predictions for \(labels.count) labels")
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
      let share: Double
      if let seed {
        var generator = Philox(seed: seed, purpose: .sampling, index: UInt64(stream))
        share = generator.uniform()
      } else {
        share = 0
      }
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
