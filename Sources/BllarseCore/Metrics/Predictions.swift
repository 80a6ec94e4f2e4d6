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
    /// How probable the predicted class is as the label: 1 or 0, or its share of class probabilities.
    public var hit: Double
    /// Whether the targets are class probabilities.
    var isSoft = false
  }

  /// The rows, in their order.
  public let rows: [Row]
  /// The number of classes.
  public let classCount: Int
  /// Whether the classes have an order, 0 to K - 1, so that metrics of ordered classes are computed.
  public var areOrdered = false
  /// Whether the targets are class probabilities.
  var areSoft: Bool { rows.first?.isSoft ?? false }
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
    try self.init(logProbabilities, labels, nil, areLogarithms: true, execution)
  }

  /// Takes predictions given as log-probabilities, of rows whose targets are class probabilities Y.
  ///
  ///     log-likelihood Σ_k Y_k log p_k,   Brier score Σ_k (p_k - Y_k)²,   hit Y_k of the predicted class.
  ///
  /// - Parameters:
  ///   - logProbabilities: N x K.
  ///   - labels: the most probable classes, by which predictions are right or wrong.
  ///   - distributions: Y; `nil` where the labels are the targets.
  ///   - execution: the threads to work with.
  /// - Throws: as ``init(logProbabilities:labels:execution:)``.
  public init<Scalar: BLASScalar>(
    logProbabilities: Matrix<Scalar>, labels: [Int32], distributions: ClassDistributions?,
    execution: Execution = .available
  ) throws(NumericsError) {
    if let distributions, distributions.classCount != logProbabilities.columnCount {
      throw .sizeMismatch(
        of: "class probabilities of a row", found: distributions.classCount,
        expected: logProbabilities.columnCount, reason: "one for each class")
    }
    try self.init(logProbabilities, labels, distributions, areLogarithms: true, execution)
  }

  /// Takes predictions given as probabilities; one that is 0 at the label has an infinite loss.
  ///
  /// - Throws: as ``init(logProbabilities:labels:execution:)``.
  public init<Scalar: BLASScalar>(
    probabilities: Matrix<Scalar>, labels: [Int32], execution: Execution = .available
  ) throws(NumericsError) {
    try self.init(probabilities, labels, nil, areLogarithms: false, execution)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  private init<Scalar: BLASScalar>(
    _ values: Matrix<Scalar>, _ labels: [Int32], _ distributions: ClassDistributions?,
    areLogarithms: Bool, _ execution: Execution
  ) throws(NumericsError) {
    let count = values.rowCount
    try TrainingRows.matchLabels(labels, rowCount: count, classCount: values.columnCount)
    rows = execution.map(count, blockSize: 4096) { range in
      let block = values.rows(range)
      let probabilities = areLogarithms ? block.exponentials() : block
      var rows = Self.summarize(
        block, probabilities: probabilities, areLogarithms: areLogarithms, labels: labels[range])
      if let distributions {
        for place in rows.indices {
          rows[place].take(
            distributions.probabilities.row(range.lowerBound + place),
            logs: block.row(place).map { Double($0) },
            probabilities: probabilities.row(place).map { Double($0) })
        }
      }
      return rows
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
            brier: (sumOfSquares - p * p) + (1 - p) * (1 - p), labelRank: rank,
            hit: best == y && !own.isNaN ? 1 : 0)
        }
      }
    }
  }
}

extension Predictions.Row {
  /// Takes the scores against class probabilities.
  fileprivate mutating func take(_ shares: [Float], logs: [Double], probabilities: [Double]) {
    (logLikelihood, brier) = (0, 0)
    for (k, share) in shares.enumerated() {
      if share > 0 { logLikelihood += Double(share) * logs[k] }
      let difference = probabilities[k] - Double(share)
      brier += difference * difference
    }
    hit = confidence.isNaN ? 0 : Double(shares[Int(predicted)])
    isSoft = true
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

  /// What was predicted.
  public var task: LearningTask {
    values["rmse"] != nil
      ? .regression : values["hamming_loss"] != nil ? .multilabel : .classification
  }

  /// Whether they hold metrics of ordered classes.
  public var isOrdered: Bool { values["rps"] != nil }

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

  /// Scores predictions of target values.
  public init(_ predictions: TargetPredictions) {
    values = Metric.values(of: predictions, everySplit: true)
  }

  /// Scores predictions of sets of labels.
  public init(_ predictions: LabelPredictions) {
    values = Metric.values(of: predictions, everySplit: true)
  }
}

extension SplitScores: Codable {
  /// Reads an object of numbers.
  public init(from decoder: any Decoder) throws { values = try [String: Double](from: decoder) }
  /// Writes an object of numbers.
  public func encode(to encoder: any Encoder) throws { try values.encode(to: encoder) }
}
