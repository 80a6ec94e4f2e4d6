public import BllarseNumerics
import Glibc

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
    reliability(binSums(predictions, binCount: binCount))
  }

  /// The diagram of bins of equal width.
  static func reliability(_ sums: [BinSums]) -> [ReliabilityBin] {
    sums.enumerated().map { place, sum in
      let count = sum.count > 0 ? Double(sum.count) : nil
      let width = 1 / Double(sums.count)
      return ReliabilityBin(
        from: Double(place) * width, to: Double(place + 1) * width, count: sum.count,
        confidence: count.map { sum.confidence / $0 }, accuracy: count.map { sum.correct / $0 })
    }
  }

  /// The sums of bins of equal width.
  static func binSums(_ predictions: Predictions, binCount: Int) -> [BinSums] {
    var sums = [BinSums](repeating: BinSums(), count: binCount)
    for row in predictions.rows {
      sums[BinSums.index(row.confidence, binCount)].add(row.confidence, row.hit)
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

  /// Orders rows.
  ///
  /// - Parameters:
  ///   - predictions: of the rows.
  ///   - byLabels: whether rows whose targets are class probabilities are right or wrong by their labels, not in part.
  init(_ predictions: Predictions, byLabels: Bool = false) {
    var rows = predictions.rows.map {
      (confidence: $0.confidence, correct: byLabels ? ($0.isCorrect ? 1 : 0) : $0.hit)
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

/// How well confidence ranks right predictions before wrong ones.
public struct SelectiveRisk: Sendable, Equatable {
  /// The area under the risk-coverage curve, and its excess over that of the best possible order.
  public let areaUnderRiskCoverage, excess: Double
}

extension Metrics {
  /// The area under the risk-coverage curve (AURC) and its excess (E-AURC).
  ///
  ///     AURC = 1/N Σⱼ errors among the j most confident rows / j
  ///     E-AURC = AURC - (r + (1 - r) log(1 - r)),    r the error rate
  ///
  /// Rows of equal confidence count as in a random order, on average; so permuting rows changes nothing.
  ///
  /// - Complexity: O(N log N).
  /// - Note: Source: Geifman, Uziel and El-Yaniv, "Bias-reduced uncertainty estimation for deep neural
  ///   classifiers", ICLR 2019, eq. (1) and section 3.
  public static func selectiveRisk(_ predictions: Predictions) -> SelectiveRisk {
    let ordered = ConfidenceOrder(predictions, byLabels: true)
    var (errors, area) = (0.0, 0.0)
    for (covered, correct) in ordered.correct.reversed().enumerated() {
      errors += 1 - correct
      area += errors / Double(covered + 1)
    }
    let count = Double(predictions.count)
    let risk = errors / count
    let best = risk < 1 ? risk + (1 - risk) * log1p(-risk) : 1
    return SelectiveRisk(areaUnderRiskCoverage: area / count, excess: area / count - best)
  }
}

/// How well a score tells out-of-distribution rows from those in distribution.
public struct OutOfDistributionDetection: Sendable, Equatable {
  /// The probability that an out-of-distribution row scores higher than one in distribution; ties count
  /// one half.
  public let auroc: Double
  /// The share of in-distribution rows above the threshold that 95 % of the others reach.
  public let falsePositiveRateAt95: Double
  /// The average precision with the rows out of distribution, or in distribution, as the positive class.
  public let auprOut, auprIn: Double
}

extension Metrics {
  /// Scores the detection of out-of-distribution rows by an uncertainty, which is higher for them.
  ///
  ///     AUROC = P(s_out > s_in) + ½ P(s_out = s_in)
  ///     FPR@95 = min over thresholds t with P(s_out ≥ t) ≥ 0.95 of P(s_in ≥ t)
  ///     AUPR = Σ_t (recall_t - recall_{t-1}) precision_t   (average precision)
  ///
  /// All four are in 0...1; NaN when either list is empty or holds a NaN, which has no order.
  ///
  /// - Complexity: O(N log N).
  /// - Note: Source: Hanley and McNeil, "The meaning and use of the area under a receiver operating
  ///   characteristic (ROC) curve", Radiology 1982 (mid-ranks); Hendrycks and Gimpel, "A baseline for
  ///   detecting misclassified and out-of-distribution examples in neural networks", ICLR 2017.
  public static func outOfDistributionDetection(
    inDistribution: [Double], outOfDistribution: [Double]
  ) -> OutOfDistributionDetection {
    guard !inDistribution.isEmpty, !outOfDistribution.isEmpty,
      !inDistribution.contains(where: \.isNaN), !outOfDistribution.contains(where: \.isNaN)
    else {
      return OutOfDistributionDetection(
        auroc: .nan, falsePositiveRateAt95: .nan, auprOut: .nan, auprIn: .nan)
    }
    let rows = (outOfDistribution.map { ($0, true) } + inDistribution.map { ($0, false) })
      .sorted { $0.0 > $1.0 }
    let (positives, negatives) = (Double(outOfDistribution.count), Double(inDistribution.count))
    var (truePositives, falsePositives) = (0.0, 0.0)
    var (area, auprOut, falsePositiveRate) = (0.0, 0.0, Double?.none)
    var thresholds: [(truePositives: Double, falsePositives: Double)] = []
    var start = 0
    while start < rows.count {
      // Equal scores pass a threshold together.
      var (end, outside, inside) = (start, 0.0, 0.0)
      while end < rows.count, rows[end].0 == rows[start].0 || end == start {
        if rows[end].1 { outside += 1 } else { inside += 1 }
        end += 1
      }
      area += inside * (truePositives + outside / 2)
      truePositives += outside
      falsePositives += inside
      auprOut += outside / positives * truePositives / (truePositives + falsePositives)
      if falsePositiveRate == nil, truePositives >= 0.95 * positives {
        falsePositiveRate = falsePositives / negatives
      }
      thresholds.append((truePositives, falsePositives))
      start = end
    }
    // In-distribution rows as the positive class, from the other end.
    var (auprIn, foundBefore) = (0.0, 0.0)
    for index in thresholds.indices.reversed() {
      let before = index > 0 ? thresholds[index - 1] : (0, 0)
      let found = negatives - before.1
      let wrong = positives - before.0
      auprIn += (found - foundBefore) / negatives * (found / (found + wrong))
      foundBefore = found
    }
    // Sums of shares may round past 1.
    return OutOfDistributionDetection(
      auroc: min(area / (positives * negatives), 1),
      falsePositiveRateAt95: min(falsePositiveRate ?? 1, 1), auprOut: min(auprOut, 1),
      auprIn: min(auprIn, 1))
  }
}
