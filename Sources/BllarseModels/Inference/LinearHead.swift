public import BllarseNumerics

/// The loss of a classical head: a name for it, and what its gradient is.
public protocol LinearLoss: Sendable {
  /// The name of the head, as `--loss-fn` spells it.
  static var kind: String { get }
}

/// The cross-entropy of softmax probabilities.
public enum CrossEntropyLoss: LinearLoss {
  /// "CrossEntropy".
  public static var kind: String { "CrossEntropy" }
}

/// Half the mean squared difference between logits and one-hot labels.
public enum SquaredErrorLoss: LinearLoss {
  /// "MSE".
  public static var kind: String { "MSE" }
}

/// A point in the space of the features, and the biases of a linear head there.
public struct LinearHeadCenter: Sendable, Equatable {
  /// The point, one number for each feature: the means of the training rows.
  public let means: [Double]
  /// The logits there, one for each class.
  public let biases: [Float]

  package init(means: [Double], biases: [Float]) {
    self.means = means
    self.biases = biases
  }
}

/// A linear head with one set of weights, `logits = x·W`, fitted by minimising a loss.
///
/// Where the means of the training rows are known, the logits are computed as `(x - means)·W` with the biases
/// there: with features far from zero, biases that make up for their offset have no digits left.
///
/// Its probabilities are the softmax of the logits for either loss, as in the Python original.
public struct LinearHead<Loss: LinearLoss>: Sendable {
  /// Where features are measured from.
  public typealias Center = LinearHeadCenter

  /// The name of the loss.
  public static var kind: String { Loss.kind }

  /// The number of features of a row.
  public let featureCount: Int
  /// The number of classes.
  public let classCount: Int
  /// W, (featureCount + 1) x classCount; the bias is the last row.
  ///
  /// They are for features as they are. Setting them forgets ``center``.
  public var weights: Matrix<Float> {
    didSet { center = nil }
  }
  /// The point from which features are measured in predictions; `nil` for zero.
  public package(set) var center: Center?

  /// Zero weights: every class equally probable.
  public init(featureCount: Int, classCount: Int) {
    precondition(featureCount > 0, "a head over \(featureCount) features")
    precondition(classCount >= 2, "a head with \(classCount) classes")
    self.featureCount = featureCount
    self.classCount = classCount
    weights = .zeros(featureCount + 1, classCount)
  }

  /// Takes weights for features less their means.
  ///
  /// - Parameters:
  ///   - weights: (featureCount + 1) x classCount; the biases, in the last row, are those at the means.
  ///   - means: featureCount numbers.
  package mutating func take(_ weights: Matrix<Double>, at means: [Double]) {
    precondition(means.count == featureCount, "\(means.count) means for \(featureCount) features")
    var raw = weights
    for k in 0..<classCount {
      raw[featureCount, k] -= means.indices.reduce(0.0) { $0 + means[$1] * weights[$1, k] }
    }
    self.weights = Matrix<Float>(raw)
    center = Center(means: means, biases: weights.row(featureCount).map(Float.init))
  }

  /// The design matrix: features, less their means where these are known, and a column of ones.
  ///
  /// - Throws: `NumericsError.sizeMismatch` when the features are not `featureCount` a row.
  public func design(_ features: FeatureMatrix) throws(NumericsError) -> DesignMatrix<Float> {
    try TrainingRows.checkFeatureCount(features, featureCount)
    return DesignMatrix(features, transform: transform, hasBias: true)
  }

  private var transform: FeatureTransform {
    guard let means = center?.means else { return .identity }
    return .columns(scale: [Double](repeating: 1, count: means.count), shift: means.map { -$0 })
  }

  /// The weights for rows of the design.
  private var designWeights: Matrix<Float> {
    guard let center else { return weights }
    var result = weights
    result.replaceBlock(
      row: featureCount, column: 0,
      with: Matrix(rows: 1, columns: classCount, elements: center.biases))
    return result
  }

  /// The logits of a set of rows, N x classCount.
  ///
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  public func logits(
    _ features: FeatureMatrix, execution: Execution = .available
  ) throws(NumericsError) -> Matrix<Float> {
    try design(features).multiplied(by: Matrix(designWeights), execution: execution)
  }

  /// The logarithms of the class probabilities.
  public func logProbabilities(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float> {
    var logits = try logits(features, execution: execution)
    logits.formLogSoftmaxRows()
    return logits
  }
}

/// A loss that can be minimised by batches and as a whole.
package protocol TrainableLoss: LinearLoss {
  /// The loss of a batch; `smoothing` is the share of a label that is spread over all classes.
  static func batchLoss(smoothing: Double) -> LinearBatchPass<Float>.Loss
  /// The minimum over all rows with an L2 penalty; with the most probable one for `nil`. Targets are class
  /// probabilities where there are some, whose most probable classes are the labels.
  static func optimum(
    _ rows: CentredDesign, labels: [Int32], distributions: ClassDistributions?, classCount: Int,
    smoothing: Double, penalty: Double?, execution: Execution
  ) throws(NumericsError) -> PenalisedOptimum
}

extension TrainableLoss {
  /// The minimum for labels.
  package static func optimum(
    _ rows: CentredDesign, labels: [Int32], classCount: Int, smoothing: Double, penalty: Double?,
    execution: Execution
  ) throws(NumericsError) -> PenalisedOptimum {
    try optimum(
      rows, labels: labels, distributions: nil, classCount: classCount, smoothing: smoothing,
      penalty: penalty, execution: execution)
  }
}

/// The optimum of a penalised loss over all rows of a ``CentredDesign``.
package struct PenalisedOptimum {
  /// W, (P + 1) x K.
  package var weights: Matrix<Double>
  /// λ', of all weights but the biases'.
  package var penalty: Double
  /// Laplace's approximation of the log evidence, in nats, where it was asked for.
  package var logEvidence: Double?
  /// Conjugate-gradient iterations.
  package var iterations: Int
  /// Whether the evidence still rose where the search for λ' ended.
  package var end: SearchEnd?
}
