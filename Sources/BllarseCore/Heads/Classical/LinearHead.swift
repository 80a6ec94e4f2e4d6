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

/// A linear head with one set of weights, `logits = x·W`, fitted by minimising a loss.
///
/// Its probabilities are the softmax of the logits for either loss, as in the Python original.
public struct LinearHead<Loss: LinearLoss>: Head {
  /// The name of the loss.
  public static var kind: String { Loss.kind }

  /// The number of features of a row.
  public let featureCount: Int
  /// The number of classes.
  public let classCount: Int
  /// W, (featureCount + 1) x classCount; the bias is the last row.
  public var weights: Matrix<Float>
  /// How threads are used.
  public var parallelism: Parallelism = .available

  /// Zero weights: every class equally probable.
  public init(featureCount: Int, classCount: Int) {
    precondition(featureCount > 0, "a head over \(featureCount) features")
    precondition(classCount >= 2, "a head with \(classCount) classes")
    self.featureCount = featureCount
    self.classCount = classCount
    weights = .zeros(featureCount + 1, classCount)
  }

  /// The design matrix: features as they are, and a column of ones.
  public func design(_ features: FeatureMatrix) -> DesignMatrix<Float> {
    precondition(
      features.columnCount == featureCount,
      "features have \(features.columnCount) columns, the head expects \(featureCount)")
    return DesignMatrix(features, transform: .identity, hasBias: true)
  }

  /// The logits of a set of rows, N x classCount.
  public func logits(_ features: FeatureMatrix) -> Matrix<Float> {
    let pass = ProbitPass(
      design: design(features), labels: [Int32](repeating: -1, count: features.rowCount),
      classCount: classCount, parallelism: parallelism)
    return pass.logits(of: Matrix<Double>(weights))
  }

  /// The logarithms of the class probabilities.
  public func logProbabilities(_ features: FeatureMatrix) throws(NumericsError) -> Matrix<Float> {
    var logits = logits(features)
    logits.formLogSoftmaxRows()
    return logits
  }

  /// Adds the weights.
  public func encode(into writer: inout SafetensorsWriter) { writer.add("weights", weights) }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    self.init(
      featureCount: try file.integer("feature_count", atLeast: 1),
      classCount: try file.integer("class_count", atLeast: 2))
    weights = try file.matrix("weights", rows: featureCount + 1, columns: classCount)
  }
}
