public import BllarseNumerics

/// How far confidence is from accuracy, over bins of confidence.
///
/// With `n_m` rows in bin `m`, their mean confidence `conf_m` and their accuracy `acc_m`:
///
///     ECE = Σ_m n_m/N |acc_m - conf_m|        MCE = max_m |acc_m - conf_m|
///     RMSCE = sqrt(Σ_m n_m/N (acc_m - conf_m)²)
///
/// The values depend on the bins, so the names of the metrics say which and how many.
///
/// - Note: Source: Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using
///   Bayesian binning", AAAI 2015; Guo et al., "On calibration of modern neural networks", ICML 2017.
public struct CalibrationError: Sendable, Equatable {
  /// The mean distance, weighted by rows (averaged over classes, where each has bins), the largest, and the root
  /// of the mean squared distance.
  public let expected, maximum, rootMeanSquare: Double

  init(_ sums: [BinSums]) {
    let total = Double(sums.reduce(0) { $0 + $1.count })
    var (expected, squares, maximum) = (0.0, 0.0, 0.0)
    for sum in sums where sum.count > 0 {
      let gap = (sum.correct - sum.confidence).magnitude  // n_m |acc_m - conf_m|
      expected += gap
      squares += gap * gap / Double(sum.count)
      maximum = Metrics.maximum(maximum, gap / Double(sum.count))
    }
    self.expected = expected / total
    rootMeanSquare = (squares / total).squareRoot()
    self.maximum = total > 0 ? maximum : .nan
  }
}

/// A bin of a reliability diagram.
public struct ReliabilityBin: Sendable, Equatable, Encodable {
  /// The confidence from which on rows belong to it, and up to which; that itself belongs to the next bin, but
  /// for the last.
  public let from, to: Double
  /// The number of rows.
  public let count: Int
  /// Their mean confidence and their accuracy; nothing in an empty bin.
  public let confidence, accuracy: Double?
}

/// The sums of one bin.
struct BinSums: Sendable {
  var count = 0
  var (confidence, correct) = (0.0, 0.0)

  /// The bin of equal width that a probability belongs to: `floor(p · binCount)`, the last for 1.
  static func index(_ probability: Double, _ binCount: Int) -> Int {
    // A NaN falls into the first bin and makes its sums NaN.
    probability > 0 ? min(Int(min(probability, 1) * Double(binCount)), binCount - 1) : 0
  }

  mutating func add(_ confidence: Double, _ correct: Double) {
    count += 1
    self.confidence += confidence
    self.correct += correct
  }
}

extension Metrics {
  /// The calibration error over bins of equal width.
  ///
  /// A row with confidence `c` is in bin `floor(c · binCount)`, the last for 1: a confidence on an edge
  /// goes up. (This is TensorFlow Probability's rule; others put it down.)
  public static func calibrationError(
    _ predictions: Predictions, binCount: Int = 20
  ) -> CalibrationError {
    precondition(binCount >= 1, "\(binCount) bins")
    return CalibrationError(binSums(predictions, binCount: binCount))
  }

  /// The reliability diagram: the bins of equal width, from low to high confidence, empty ones among them.
  public static func reliability(
    _ predictions: Predictions, binCount: Int = 20
  ) -> [ReliabilityBin] {
    binSums(predictions, binCount: binCount).enumerated().map { place, sum in
      let count = sum.count > 0 ? Double(sum.count) : nil
      let width = 1 / Double(binCount)
      return ReliabilityBin(
        from: Double(place) * width, to: Double(place + 1) * width, count: sum.count,
        confidence: count.map { sum.confidence / $0 }, accuracy: count.map { sum.correct / $0 })
    }
  }

  /// The sums of bins of equal width.
  static func binSums(_ predictions: Predictions, binCount: Int) -> [BinSums] {
    var sums = [BinSums](repeating: BinSums(), count: binCount)
    for row in predictions.rows {
      sums[BinSums.index(row.confidence, binCount)].add(row.confidence, row.isCorrect ? 1 : 0)
    }
    return sums
  }

  /// The calibration error over bins that hold equally many rows.
  ///
  /// Rows are ordered by confidence; bin `m` holds those from `⌊m·N/M⌋` on. Rows of equal confidence may
  /// fall into two bins; each then counts with the accuracy that these rows have together, so that the
  /// order of the rows does not matter.
  ///
  /// - Complexity: O(N log N).
  /// - Note: Source: Nguyen and O'Connor, "Posterior calibration and exploratory analysis for natural
  ///   language processing models", EMNLP 2015; "adaptive ECE".
  public static func equalMassCalibrationError(
    _ predictions: Predictions, binCount: Int = 20
  ) -> CalibrationError {
    precondition(binCount >= 1, "\(binCount) bins")
    let ordered = ConfidenceOrder(predictions)
    var sums = [BinSums](repeating: BinSums(), count: binCount)
    for bin in 0..<binCount {
      for row in bin * predictions.count / binCount..<(bin + 1) * predictions.count / binCount {
        sums[bin].add(ordered.confidence[row], ordered.correct[row])
      }
    }
    return CalibrationError(sums)
  }

  /// The calibration error of every class's probability, averaged over classes.
  ///
  ///     classwise ECE = 1/K Σₖ Σ_m n_mk/N |freq_mk - p̄_mk|
  ///
  /// where `n_mk` rows have their probability of class `k` in bin `m`, `p̄_mk` is the mean of these
  /// probabilities and `freq_mk` the share of these rows whose label is `k`. `maximum` is the largest
  /// distance over all bins of all classes.
  ///
  /// - Throws: `NumericsError` when labels and rows differ in number, or a label is no class.
  /// - Complexity: O(N·K).
  /// - Note: Source: Kull et al., "Beyond temperature scaling: obtaining well-calibrated multiclass
  ///   probabilities with Dirichlet calibration", NeurIPS 2019, eq. (2).
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public static func classwiseCalibrationError<Scalar: BLASScalar>(
    probabilities: Matrix<Scalar>, labels: [Int32], binCount: Int = 20
  ) throws(NumericsError) -> CalibrationError {
    precondition(binCount >= 1, "\(binCount) bins")
    try TrainingRows.matchLabels(
      labels, rowCount: probabilities.rowCount, classCount: probabilities.columnCount)
    var sums = [BinSums](repeating: BinSums(), count: binCount * probabilities.columnCount)
    for (row, label) in labels.enumerated() {
      probabilities.withRow(row) { values in
        for k in values.indices {
          let p = Double(values[k])
          sums[k * binCount + BinSums.index(p, binCount)].add(p, k == Int(label) ? 1 : 0)
        }
      }
    }
    // Every class has N rows, so the mean over all of them is the mean over classes.
    return CalibrationError(sums)
  }

  /// A calibration error without bins: the largest distance of cumulated confidence from cumulated
  /// correctness.
  ///
  ///     KS = max_c 1/N |Σ_{i: confᵢ ≤ c} (confᵢ - correctᵢ)|
  ///
  /// It is in 0...1; |accuracy - mean confidence| is a lower bound.
  ///
  /// - Complexity: O(N log N).
  /// - Note: Source: Gupta et al., "Calibration of neural networks using splines", ICLR 2021, eq. (7).
  public static func kolmogorovSmirnovCalibrationError(_ predictions: Predictions) -> Double {
    let ordered = ConfidenceOrder(predictions)
    var (sum, largest) = (0.0, 0.0)
    for (start, end) in zip(ordered.groupStarts, ordered.groupStarts.dropFirst()) {
      for row in start..<end { sum += ordered.confidence[row] - ordered.correct[row] }
      largest = maximum(largest, sum.magnitude)
    }
    return largest / Double(predictions.count)
  }
}

/// Rows in the order of their confidence, lowest first.
///
/// Rows of equal confidence have no order of their own; each gets the mean of their correctness, which
/// is what a random order gives on average.
struct ConfidenceOrder: Sendable {
  private(set) var confidence, correct: [Double]
  /// Where the rows of equal confidence start, and the number of rows at the end.
  private(set) var groupStarts: [Int] = []

  init(_ predictions: Predictions) {
    var rows = predictions.rows.map {
      (confidence: $0.confidence, correct: $0.isCorrect ? 1.0 : 0.0)
    }
    // NaN goes to the front, so that the order stays a strict one.
    rows.sort { $0.confidence < $1.confidence || ($0.confidence.isNaN && !$1.confidence.isNaN) }
    confidence = rows.map(\.confidence)
    correct = rows.map(\.correct)
    var start = 0
    while start < rows.count {
      var end = start + 1
      while end < rows.count, confidence[end] == confidence[start] { end += 1 }
      groupStarts.append(start)
      if end > start + 1 {
        let mean = correct[start..<end].reduce(0, +) / Double(end - start)
        for row in start..<end { correct[row] = mean }
      }
      start = end
    }
    groupStarts.append(rows.count)
  }
}
