#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif
public import BllarseNumerics

/// What the scores of a set of predictions need to know of each row.
///
/// One pass over the predictions collects it; accuracy, likelihood, Brier score, the calibration of the
/// confidence, selective risk and bootstrap intervals are then computed from these N numbers each.
/// Everything is kept in double precision.
public struct PredictionSummary: Sendable, Equatable {
  /// The highest probability of each row.
  public let confidence: [Double]
  /// Whether the class with the highest probability is the label; of equals the first counts.
  public let isCorrect: [Bool]
  /// The log-probability of the label of each row.
  public let logLikelihood: [Double]
  /// The Brier score of each row, in 0...2.
  public let brier: [Double]
  /// The number of classes that are more probable than the label, or equal and before it.
  public let labelRank: [Int32]

  /// The number of rows.
  public var count: Int { confidence.count }

  /// Summarises predictions given as log-probabilities, which lose nothing to underflow.
  ///
  /// - Parameters:
  ///   - logProbabilities: N x K, the logarithms of rows that sum to 1.
  ///   - labels: N class indices in `0..<K`.
  ///   - parallelism: the threads to work with.
  /// - Throws: `NumericsError` when labels and rows differ in number, or a label is no class.
  /// - Complexity: O(N·K), one pass.
  public init<Scalar: BLASScalar>(
    logProbabilities: Matrix<Scalar>, labels: [Int32], parallelism: Parallelism = .available
  ) throws(NumericsError) {
    try self.init(logProbabilities, labels, areLogarithms: true, parallelism)
  }

  /// Summarises predictions given as probabilities; one that is 0 at the label has an infinite loss.
  ///
  /// - Parameters:
  ///   - probabilities: N x K, rows sum to 1.
  ///   - labels: N class indices in `0..<K`.
  ///   - parallelism: the threads to work with.
  /// - Throws: `NumericsError` when labels and rows differ in number, or a label is no class.
  /// - Complexity: O(N·K), one pass.
  public init<Scalar: BLASScalar>(
    probabilities: Matrix<Scalar>, labels: [Int32], parallelism: Parallelism = .available
  ) throws(NumericsError) {
    try self.init(probabilities, labels, areLogarithms: false, parallelism)
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  private init<Scalar: BLASScalar>(
    _ values: Matrix<Scalar>, _ labels: [Int32], areLogarithms: Bool, _ parallelism: Parallelism
  ) throws(NumericsError) {
    let rows = values.rowCount
    try TrainingRows.matchLabels(labels, rowCount: rows, classCount: values.columnCount)
    var confidence = [Double](repeating: 0, count: rows)
    var isCorrect = [Bool](repeating: false, count: rows)
    var logLikelihood = [Double](repeating: 0, count: rows)
    var brier = [Double](repeating: 0, count: rows)
    var labelRank = [Int32](repeating: 0, count: rows)
    confidence.withUnsafeMutableBufferPointer { confidence in
      isCorrect.withUnsafeMutableBufferPointer { isCorrect in
        logLikelihood.withUnsafeMutableBufferPointer { logLikelihood in
          brier.withUnsafeMutableBufferPointer { brier in
            labelRank.withUnsafeMutableBufferPointer { labelRank in
              let output = Output(
                confidence: confidence, isCorrect: isCorrect, logLikelihood: logLikelihood,
                brier: brier, labelRank: labelRank)
              parallelism.forEachBlock(of: rows, blockSize: 4096) { _, range in
                let block = values.rows(range)
                output.summarize(
                  block, probabilities: areLogarithms ? block.exponentials() : block,
                  areLogarithms: areLogarithms, labels: labels, from: range.lowerBound)
              }
            }
          }
        }
      }
    }
    self.confidence = confidence
    self.isCorrect = isCorrect
    self.logLikelihood = logLikelihood
    self.brier = brier
    self.labelRank = labelRank
  }

  /// Memory that threads fill, each the rows of its own blocks, which is why sharing it is safe.
  private struct Output: @unchecked Sendable {
    let confidence: UnsafeMutableBufferPointer<Double>
    let isCorrect: UnsafeMutableBufferPointer<Bool>
    let logLikelihood: UnsafeMutableBufferPointer<Double>
    let brier: UnsafeMutableBufferPointer<Double>
    let labelRank: UnsafeMutableBufferPointer<Int32>

    @specialized(where Scalar == Float)
    @specialized(where Scalar == Double)
    func summarize<Scalar: BLASScalar>(
      _ values: Matrix<Scalar>, probabilities: Matrix<Scalar>, areLogarithms: Bool,
      labels: [Int32], from start: Int
    ) {
      let (rows, classes) = (values.rowCount, values.columnCount)
      values.withUnsafePointer { values, valueStride in
        probabilities.withUnsafePointer { probabilities, stride in
          for row in 0..<rows {
            let value = values + row * valueStride
            let probability = probabilities + row * stride
            let label = Int(labels[start + row])
            // Ranks compare the given values: logarithms still differ where probabilities underflow.
            let own = value[label]
            var (rank, best, sumOfSquares): (Int32, Int, Double) = (0, 0, 0)
            for k in 0..<classes {
              let p = Double(probability[k])
              sumOfSquares += p * p
              if value[k] > value[best] { best = k }
              if value[k] > own || (value[k] == own && k < label) { rank += 1 }
            }
            let p = Double(probability[label])
            let index = start + row
            confidence[index] = Double(probability[best])
            isCorrect[index] = best == label && !own.isNaN
            logLikelihood[index] = areLogarithms ? Double(own) : log(p)
            brier[index] = (sumOfSquares - p * p) + (1 - p) * (1 - p)
            labelRank[index] = rank
          }
        }
      }
    }
  }
}

/// Scores of predictions, of calibration and of uncertainty.
///
/// Those of one prediction a row take a ``PredictionSummary``, so that one pass over the predictions
/// serves all of them. All sums are in double precision; no rows give NaN.
public enum Metrics {
  /// The mean of numbers; NaN when there are none.
  static func mean(_ values: [Double]) -> Double {
    var sum = 0.0
    for value in values { sum += value }
    return sum / Double(values.count)
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
