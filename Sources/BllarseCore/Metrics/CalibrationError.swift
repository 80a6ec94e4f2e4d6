/// How far confidence is from accuracy, over bins of confidence.
///
/// With `n_m` rows in bin `m`, their mean confidence `conf_m` and their accuracy `acc_m`:
///
///     ECE = Σ_m n_m/N |acc_m - conf_m|        MCE = max_m |acc_m - conf_m|
///     RMSCE = sqrt(Σ_m n_m/N (acc_m - conf_m)²)
///
/// The values depend on the bins, so their ``name`` says which and how many.
///
/// - Note: Source: Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using
///   Bayesian binning", AAAI 2015; Guo et al., "On calibration of modern neural networks", ICML 2017.
public struct CalibrationError: Sendable, Equatable {
  /// How bins are made.
  public enum Binning: String, Sendable, Equatable {
    /// Bins of equal width in confidence.
    case equalWidth = "equal_width"
    /// Bins of (nearly) equal numbers of rows.
    case equalMass = "equal_mass"
    /// Bins of equal width in the probability of each class.
    case classwise = "classwise"
  }

  /// One bin of a reliability diagram.
  public struct Bin: Sendable, Equatable {
    /// The number of rows.
    public var count = 0
    /// Their mean confidence; 0 in an empty bin.
    public var confidence = 0.0
    /// Their accuracy; 0 in an empty bin.
    public var accuracy = 0.0
  }

  /// How the bins were made.
  public let binning: Binning
  /// The number of bins.
  public let binCount: Int
  /// The bins from low to high confidence; of all classes one after the other for `classwise`.
  public let bins: [Bin]
  /// The mean distance, weighted by rows (averaged over classes for `classwise`).
  public let expected: Double
  /// The largest distance.
  public let maximum: Double
  /// The root of the mean squared distance.
  public let rootMeanSquare: Double

  /// A name for ``expected`` that carries the bins, "ece_equal_width_20".
  public var name: String { "ece_\(binning.rawValue)_\(binCount)" }

  init(binning: Binning, binCount: Int, sums: [BinSums], groups: Int = 1) {
    self.binning = binning
    self.binCount = binCount
    bins = sums.map { sum in
      sum.count == 0
        ? Bin()
        : Bin(
          count: sum.count, confidence: sum.confidence / Double(sum.count),
          accuracy: sum.correct / Double(sum.count))
    }
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

/// The sums of one bin.
struct BinSums: Sendable {
  var count = 0
  var confidence = 0.0
  var correct = 0.0

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
  ///
  /// - Parameters:
  ///   - summary: the predictions.
  ///   - binCount: the number of bins, at least 1.
  /// - Returns: the errors and the bins.
  public static func calibrationError(
    _ summary: PredictionSummary, binCount: Int = 20
  ) -> CalibrationError {
    precondition(binCount >= 1, "\(binCount) bins")
    return CalibrationError(
      binning: .equalWidth, binCount: binCount, sums: binSums(summary, binCount: binCount))
  }

  /// The sums of bins of equal width.
  static func binSums(_ summary: PredictionSummary, binCount: Int) -> [BinSums] {
    var sums = [BinSums](repeating: BinSums(), count: binCount)
    for (confidence, isCorrect) in zip(summary.confidence, summary.isCorrect) {
      sums[BinSums.index(confidence, binCount)].add(confidence, isCorrect ? 1 : 0)
    }
    return sums
  }
}
