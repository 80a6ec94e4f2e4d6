import Glibc
public import BllarseNumerics

/// Predictions with their labels, and what scores need to know of each row.
///
/// One pass collects it; accuracy, likelihood, Brier score, the calibration of the confidence, selective
/// risk and bootstrap intervals are then computed from a few numbers a row, in double precision.
public struct Predictions: Sendable {
  /// What is known of a row.
  public struct Row: Sendable, Equatable {
    /// The class that it has, and the most probable one; of equals the first.
    public var label, predicted: Int32
    /// The highest probability.
    public var confidence: Double
    /// Whether the label is predicted; never where its probability is not a number.
    public var isCorrect: Bool
    /// The log-probability of the label, and the Brier score, in 0...2.
    public var logLikelihood, brier: Double
    /// The number of classes that are more probable than the label, or equal and before it.
    public var labelRank: Int32
  }

  /// The rows, in their order.
  public let rows: [Row]
  /// The number of classes.
  public let classCount: Int
  private let values: Matrix<Float>
  private let areLogarithms: Bool

  /// The number of rows.
  public var count: Int { rows.count }

  /// The class probabilities in single precision, N x K.
  ///
  /// - Complexity: O(N·K) for predictions that were given as log-probabilities.
  public var probabilities: Matrix<Float> { areLogarithms ? values.exponentials() : values }

  /// Takes predictions given as log-probabilities, N x K, which lose nothing to underflow, with N labels in
  /// `0..<K`.
  ///
  /// - Throws: `NumericsError` when labels and rows differ in number, or a label is no class.
  /// - Complexity: O(N·K), one pass.
  public init<Scalar: BLASScalar>(
    logProbabilities: Matrix<Scalar>, labels: [Int32], execution: Execution = .available
  ) throws(NumericsError) {
    try self.init(logProbabilities, labels, areLogarithms: true, execution)
  }

  /// Takes predictions given as probabilities; one that is 0 at the label has an infinite loss.
  ///
  /// - Throws: as ``init(logProbabilities:labels:execution:)``.
  public init<Scalar: BLASScalar>(
    probabilities: Matrix<Scalar>, labels: [Int32], execution: Execution = .available
  ) throws(NumericsError) {
    try self.init(probabilities, labels, areLogarithms: false, execution)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  private init<Scalar: BLASScalar>(
    _ values: Matrix<Scalar>, _ labels: [Int32], areLogarithms: Bool, _ execution: Execution
  ) throws(NumericsError) {
    let count = values.rowCount
    try TrainingRows.matchLabels(labels, rowCount: count, classCount: values.columnCount)
    rows = execution.map(count, blockSize: 4096) { range in
      let block = values.rows(range)
      return Self.summarize(
        block, probabilities: areLogarithms ? block.exponentials() : block,
        areLogarithms: areLogarithms, labels: labels[range])
    }
    classCount = values.columnCount
    self.values = values as? Matrix<Float> ?? Matrix<Float>(values)
    self.areLogarithms = areLogarithms
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  private static func summarize<Scalar: BLASScalar>(
    _ values: Matrix<Scalar>, probabilities: Matrix<Scalar>, areLogarithms: Bool,
    labels: ArraySlice<Int32>
  ) -> [Row] {
    let classCount = values.columnCount
    return values.withUnsafePointer { values, valueStride in
      probabilities.withUnsafePointer { probabilities, stride in
        labels.enumerated().map { row, label in
          let value = values + row * valueStride
          let probability = probabilities + row * stride
          let y = Int(label)
          // Ranks compare the given values: logarithms still differ where probabilities underflow.
          let own = value[y]
          var (rank, best, sumOfSquares): (Int32, Int, Double) = (0, 0, 0)
          for k in 0..<classCount {
            let p = Double(probability[k])
            sumOfSquares += p * p
            if value[k] > value[best] { best = k }
            if value[k] > own || (value[k] == own && k < y) { rank += 1 }
          }
          let p = Double(probability[y])
          return Row(
            label: label, predicted: Int32(best), confidence: Double(probability[best]),
            isCorrect: best == y && !own.isNaN,
            logLikelihood: areLogarithms ? Double(own) : log(p),
            brier: (sumOfSquares - p * p) + (1 - p) * (1 - p), labelRank: rank)
        }
      }
    }
  }
}

/// The scores of one set of rows: the metrics that are computed for every split, by name.
///
/// A file holds them as one object, `{"acc": …, "nll": …, "ece": …, "brier": …}`.
public struct SplitScores: Sendable, Equatable {
  /// The scores by the names of their metrics.
  public private(set) var values: [String: Double]

  /// The score that a metric has; NaN where there is none.
  public subscript(name: String) -> Double {
    get { values[name] ?? .nan }
    set { values[name] = newValue }
  }

  /// The accuracy.
  public var acc: Double { self["acc"] }
  /// The mean negative log-likelihood, in nats.
  public var nll: Double { self["nll"] }
  /// The expected calibration error, 20 bins of equal width.
  public var ece: Double { self["ece"] }
  /// The Brier score, the sum of squares over classes (0 to 2).
  public var brier: Double { self["brier"] }

  /// Scores predictions.
  public init(_ predictions: Predictions) {
    values = Metric.values(of: predictions, everySplit: true)
  }
}

extension SplitScores: Codable {
  /// Reads an object of numbers.
  public init(from decoder: any Decoder) throws { values = try [String: Double](from: decoder) }
  /// Writes an object of numbers.
  public func encode(to encoder: any Encoder) throws { try values.encode(to: encoder) }
}

/// Scores of predictions, of calibration and of uncertainty, a function each.
///
/// All sums are in double precision; no rows give NaN. ``Metric/all`` names those that a run reports.
public enum Metrics {
  /// The share of rows whose most probable class is the label.
  ///
  ///     accuracy = 1/N Σᵢ [argmaxₖ pᵢₖ = yᵢ]
  ///
  /// Of classes with equal probability the first counts, as in NumPy's `argmax`.
  public static func accuracy(_ predictions: Predictions) -> Double {
    Double(predictions.rows.count { $0.isCorrect }) / Double(predictions.count)
  }

  /// The share of rows whose label is among the k ≥ 1 most probable classes, of equals the first.
  public static func topKAccuracy(_ predictions: Predictions, k: Int) -> Double {
    precondition(k >= 1, "the \(k) most probable classes")
    return Double(predictions.rows.count { Int($0.labelRank) < k }) / Double(predictions.count)
  }

  /// The mean negative log-probability of the labels, in nats.
  ///
  ///     NLL = -1/N Σᵢ log pᵢ,yᵢ
  ///
  /// It is infinite when a label was given probability 0. Predictions given as log-probabilities keep
  /// the tails that probabilities lose.
  public static func negativeLogLikelihood(_ predictions: Predictions) -> Double {
    -mean(predictions.rows.lazy.map { $0.logLikelihood })
  }

  /// The mean squared distance of the predicted distribution from the label.
  ///
  ///     Brier = 1/N Σᵢ Σₖ (pᵢₖ - [yᵢ = k])²    in 0...2
  ///
  /// With two classes it is twice the form that looks at one class alone.
  ///
  /// - Note: Source: Brier, "Verification of forecasts expressed in terms of probability", Monthly
  ///   Weather Review 1950.
  public static func brierScore(_ predictions: Predictions) -> Double {
    mean(predictions.rows.lazy.map { $0.brier })
  }

  /// The mean of numbers; NaN when there are none.
  static func mean(_ values: some Collection<Double>) -> Double {
    values.reduce(0, +) / Double(values.count)
  }

  /// The smaller of two numbers; NaN when either is NaN.
  static func minimum(_ first: Double, _ second: Double) -> Double {
    first.isNaN || first < second ? first : second
  }

  /// The larger of two numbers; NaN when either is NaN.
  static func maximum(_ first: Double, _ second: Double) -> Double {
    first.isNaN || first > second ? first : second
  }
}

/// How often each class was predicted for each label.
public struct ConfusionMatrix: Sendable, Equatable {
  /// The number of rows, by label and predicted class.
  public private(set) var counts: [[Int]]

  /// Counts predictions.
  public init(_ predictions: Predictions) {
    let classes = predictions.classCount
    counts = [[Int]](repeating: [Int](repeating: 0, count: classes), count: classes)
    for row in predictions.rows { counts[Int(row.label)][Int(row.predicted)] += 1 }
  }

  /// The share of the rows of each label that were predicted right; NaN for a label without rows.
  public var recall: [Double] {
    counts.indices.map { Double(counts[$0][$0]) / Double(counts[$0].reduce(0, +)) }
  }

  /// The share of the predictions of each class that were right; NaN for a class never predicted.
  public var precision: [Double] {
    counts.indices.map { k in Double(counts[k][k]) / Double(counts.reduce(0) { $0 + $1[k] }) }
  }

  /// The mean recall of the labels that have rows: accuracy in which every class weighs the same.
  public var balancedAccuracy: Double { Metrics.mean(recall.filter { !$0.isNaN }) }
}
