public import BllarseNumerics

/// A last layer that has been fitted: it turns features into class probabilities and can be stored.
///
/// A new kind of head is one type that conforms to this protocol and one line in ``HeadRegistry``; the
/// executables, the metrics and the checkpoint need no change.
public protocol Head: Sendable {
  /// The name of the kind, as checkpoints spell it, and `--head` where it names one: "IBProbit".
  static var kind: String { get }

  /// The number of features of a row.
  var featureCount: Int { get }
  /// The number of classes.
  var classCount: Int { get }
  /// How threads are used.
  var parallelism: Parallelism { get set }

  /// The logarithms of the predictive class probabilities.
  ///
  /// - Parameter features: N x featureCount, finite.
  /// - Returns: N x classCount; the exponentials of a row sum to 1.
  /// - Throws: `NumericsError` for rows of another width, and when the state of the head is numerically
  ///   unusable.
  func logProbabilities(_ features: FeatureMatrix) throws(NumericsError) -> Matrix<Float>

  /// Scores the head on labelled rows.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  /// - Returns: the scores.
  /// - Throws: as ``logProbabilities(_:)``, and for labels that cannot be.
  func evaluation(features: FeatureMatrix, labels: [Int32]) throws(NumericsError) -> SplitScores

  /// Scores the head as ``evaluation(features:labels:)`` does, with its predictions mapped.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - calibration: the map.
  /// - Returns: the scores.
  /// - Throws: as ``logProbabilities(_:)``, and for labels that cannot be.
  func evaluation(
    features: FeatureMatrix, labels: [Int32], calibration: HeldOutCalibration
  ) throws(NumericsError) -> SplitScores

  /// Adds everything that prediction needs to a checkpoint: tensors, and metadata as strings.
  func encode(into writer: inout SafetensorsWriter)

  /// Reads what ``encode(into:)`` wrote.
  ///
  /// - Parameter file: the checkpoint.
  /// - Throws: `DataError` that names the file and the tensor or metadata entry that is wrong.
  init(decoding file: SafetensorsFile) throws(DataError)
}

extension Head {
  /// The scores of ``logProbabilities(_:)``.
  public func evaluation(
    features: FeatureMatrix, labels: [Int32]
  ) throws(NumericsError) -> SplitScores {
    try evaluation(features: features, labels: labels, calibration: .none)
  }

  /// The scores of the mapped ``logProbabilities(_:)``.
  public func evaluation(
    features: FeatureMatrix, labels: [Int32], calibration: HeldOutCalibration
  ) throws(NumericsError) -> SplitScores {
    let logs = calibration.apply(to: try logProbabilities(features), parallelism: parallelism)
    return SplitScores(
      try Predictions(logProbabilities: logs, labels: labels, parallelism: parallelism))
  }
}

/// The kinds of heads that this package knows.
public enum HeadRegistry {
  /// All kinds: a new head is a file of its own and a line here.
  static let trainable: [any TrainableHead.Type] = [
    IBProbitHead<Float>.self,
    IBPolyaGammaHead<Float>.self,
    MultinomialPolyaGammaHead<Float>.self,
    LinearHead<CrossEntropyLoss>.self,
    LinearHead<SquaredErrorLoss>.self,
  ]

  /// All kinds.
  public static let kinds: [any Head.Type] =
    trainable + [EvidenceHead.self, IBProbitReferenceHead.self, CalibratedHead.self]

  /// The names of all kinds.
  public static var names: [String] { kinds.map { $0.kind } }

  /// The name of the default: softmax regression whose prior precision is left to the data.
  public static let softmax = "softmax"

  /// What `--head` accepts, the default first; the forms that the probit head takes are chosen by other
  /// options.
  public static var lossFunctions: [String] { [softmax] + trainable.map { $0.kind } }

  /// Whether heads of a name are fitted in closed form, and need no optimiser.
  public static func isClosedForm(_ name: String) -> Bool {
    trainable.first { $0.kind == name }?.isClosedForm ?? true
  }

  /// Whether `--update` says how heads of a name go through the data.
  public static func takesUpdates(_ name: String) -> Bool {
    name != softmax && isClosedForm(name)
  }

  /// What fits the head of a configuration.
  ///
  /// - Throws: `DataError.Code.missingKey` when there is no head of that name.
  static func trainer(
    _ configuration: RunConfiguration, data: TrainingData, parallelism: Parallelism
  ) throws(DataError) -> any HeadTrainer {
    if configuration.fitsEvidenceHead {
      return EvidenceTrainer(configuration, data: data, parallelism: parallelism)
    }
    if configuration.evidence.matchesReference && configuration.lossFunction == "IBProbit" {
      return ReferenceTrainer(
        IBProbitTrainer(configuration, data: data, parallelism: parallelism))
    }
    guard let kind = trainable.first(where: { $0.kind == configuration.lossFunction }) else {
      throw DataError(
        .missingKey, found: "there is no head \(configuration.lossFunction.quoted())",
        expected: "one of " + lossFunctions.joined(separator: ", "))
    }
    return kind.trainer(configuration, data: data, parallelism: parallelism)
  }

  /// The kind of a name, or `nil`.
  public static func kind(named name: String) -> (any Head.Type)? {
    kinds.first { $0.kind == name }
  }
}
