@_exported public import BllarseModels
public import BllarseNumerics

// The statistics are part of this module for those who import it.

/// A last layer that has been fitted: it predicts rows of features, can be scored and can be stored.
///
/// A head is a ``ClassificationHead`` or a ``RegressionHead``. A new kind is one type that conforms to one of them and
/// one ``HeadMethod`` that is registered; the executables, the metrics and the checkpoint need no change.
public protocol Head: Sendable {
  /// The name of the kind, as checkpoints spell it, and `--head` where it names one: "IBProbit".
  static var kind: String { get }
  /// What it predicts.
  static var task: LearningTask { get }

  /// The number of features of a row.
  var featureCount: Int { get }
  /// The number of classes, or of target values of a row.
  var outputCount: Int { get }

  /// Scores the head on rows whose targets are known.
  ///
  /// - Parameters:
  ///   - split: rows of ``featureCount`` finite features, with targets of ``task``.
  ///   - execution: the threads to work with.
  /// - Returns: the scores.
  /// - Throws: `NumericsError` for rows or targets that cannot be, and when the state of the head is numerically
  ///   unusable.
  func scores(of split: FeatureSplit, execution: Execution) throws(NumericsError) -> SplitScores

  /// Adds everything that prediction needs to a checkpoint: tensors, and metadata as strings.
  func encode(into writer: inout SafetensorsWriter)

  /// Reads what ``encode(into:)`` wrote.
  ///
  /// - Parameter file: the checkpoint.
  /// - Throws: `DataError` that names the file and the tensor or metadata entry that is wrong.
  init(decoding file: SafetensorsFile) throws(DataError)
}

/// A head that turns features into class probabilities.
public protocol ClassificationHead: Head {
  /// The number of classes.
  var classCount: Int { get }

  /// The logarithms of the predictive class probabilities.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - execution: the threads to work with.
  /// - Returns: N x classCount; the exponentials of a row sum to 1.
  /// - Throws: `NumericsError` for rows of another width, and when the state of the head is numerically
  ///   unusable.
  func logProbabilities(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float>

  /// Scores the head on labelled rows, with its predictions mapped.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - calibration: the map.
  ///   - execution: the threads to work with.
  /// - Returns: the scores.
  /// - Throws: as ``logProbabilities(_:execution:)``, and for labels that cannot be.
  func evaluation(
    features: FeatureMatrix, labels: [Int32], calibration: HeldOutCalibration,
    execution: Execution
  ) throws(NumericsError) -> SplitScores
}

/// A head that turns features into distributions of target values.
public protocol RegressionHead: Head {
  /// The number of target values of a row.
  var targetCount: Int { get }

  /// What is predicted of the targets of rows.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - execution: the threads to work with.
  /// - Returns: N x targetCount.
  /// - Throws: `NumericsError` for rows of another width, and when the state of the head is numerically
  ///   unusable.
  func predict(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> TargetDistributions
}

/// A head that turns features into probabilities of labels, of which a row may have any number.
public protocol MultiLabelHead: Head {
  /// The number of labels.
  var labelCount: Int { get }

  /// The log-odds of each label, `log p - log(1 - p)`.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - execution: the threads to work with.
  /// - Returns: N x labelCount.
  /// - Throws: `NumericsError` for rows of another width, and when the state of the head is numerically
  ///   unusable.
  func logOdds(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float>
}

extension Head {
  /// The head as one that predicts classes.
  ///
  /// - Throws: `DataError.Code.wrongType` for a head of another task.
  public func classifier() throws(DataError) -> any ClassificationHead {
    guard let head = self as? any ClassificationHead else {
      throw .wrongTask(of: self, expected: .classification)
    }
    return head
  }

  /// The head as one that predicts target values.
  ///
  /// - Throws: `DataError.Code.wrongType` for a head of another task.
  public func regressor() throws(DataError) -> any RegressionHead {
    guard let head = self as? any RegressionHead else {
      throw .wrongTask(of: self, expected: .regression)
    }
    return head
  }

  /// The head as one that predicts sets of labels.
  ///
  /// - Throws: `DataError.Code.wrongType` for a head of another task.
  public func multiLabel() throws(DataError) -> any MultiLabelHead {
    guard let head = self as? any MultiLabelHead else {
      throw .wrongTask(of: self, expected: .multilabel)
    }
    return head
  }

  /// The head without a map that was fitted to held-out rows.
  public var uncalibrated: any Head { (self as? CalibratedHead)?.base ?? self }
}

extension DataError {
  fileprivate static func wrongTask(of head: some Head, expected: LearningTask) -> DataError {
    func noun(_ task: LearningTask) -> String {
      switch task {
      case .classification: "classes"
      case .regression: "target values"
      case .multilabel: "sets of labels"
      }
    }
    return DataError(
      .wrongType, key: "head",
      found: "a head \(type(of: head).kind) predicts \(noun(type(of: head).task))",
      expected: "one that predicts \(noun(expected))")
  }
}

extension RegressionHead {
  /// ``LearningTask/regression``.
  public static var task: LearningTask { .regression }
  /// ``targetCount``.
  public var outputCount: Int { targetCount }

  /// What is predicted of the targets of rows, computed on all threads that this process has.
  public func predict(_ features: FeatureMatrix) throws(NumericsError) -> TargetDistributions {
    try predict(features, execution: .available)
  }

  /// The scores of ``predict(_:execution:)``.
  public func scores(
    of split: FeatureSplit, execution: Execution
  ) throws(NumericsError) -> SplitScores {
    SplitScores(
      try TargetPredictions(
        try predict(split.features, execution: execution), targets: split.values))
  }
}

extension MultiLabelHead {
  /// ``LearningTask/multilabel``.
  public static var task: LearningTask { .multilabel }
  /// ``labelCount``.
  public var outputCount: Int { labelCount }

  /// The log-odds of each label, computed on all threads that this process has.
  public func logOdds(_ features: FeatureMatrix) throws(NumericsError) -> Matrix<Float> {
    try logOdds(features, execution: .available)
  }

  /// The scores of ``logOdds(_:execution:)``.
  public func scores(
    of split: FeatureSplit, execution: Execution
  ) throws(NumericsError) -> SplitScores {
    SplitScores(
      try LabelPredictions(
        logOdds: try logOdds(split.features, execution: execution), split.labelSets))
  }
}

extension ClassificationHead {
  /// The head without a map that was fitted to held-out rows.
  public var uncalibrated: any ClassificationHead { (self as? CalibratedHead)?.base ?? self }

  /// ``LearningTask/classification``.
  public static var task: LearningTask { .classification }
  /// ``classCount``.
  public var outputCount: Int { classCount }

  /// The scores of ``evaluation(features:labels:calibration:execution:)`` without a map; against class
  /// probabilities, where these are the targets, those of ``logProbabilities(_:execution:)``.
  public func scores(
    of split: FeatureSplit, execution: Execution
  ) throws(NumericsError) -> SplitScores {
    if let distributions = split.targets.softDistributions {
      var predictions = try Predictions(
        logProbabilities: logProbabilities(split.features, execution: execution),
        labels: split.labels, distributions: distributions, execution: execution)
      predictions.areOrdered = self is any OrderedClassHead
      return SplitScores(predictions)
    }
    return try evaluation(features: split.features, labels: split.labels, execution: execution)
  }

  /// The logarithms of the predictive class probabilities, computed on all threads that this process has.
  public func logProbabilities(_ features: FeatureMatrix) throws(NumericsError) -> Matrix<Float> {
    try logProbabilities(features, execution: .available)
  }

  /// Scores the head on labelled rows.
  public func evaluation(
    features: FeatureMatrix, labels: [Int32], execution: Execution = .available
  ) throws(NumericsError) -> SplitScores {
    try evaluation(
      features: features, labels: labels, calibration: .none, execution: execution)
  }

  /// The scores of the mapped ``logProbabilities(_:execution:)``.
  public func evaluation(
    features: FeatureMatrix, labels: [Int32], calibration: HeldOutCalibration,
    execution: Execution
  ) throws(NumericsError) -> SplitScores {
    let logs = calibration.apply(
      to: try logProbabilities(features, execution: execution), execution: execution)
    var predictions = try Predictions(
      logProbabilities: logs, labels: labels, execution: execution)
    predictions.areOrdered = self is any OrderedClassHead
    return SplitScores(predictions)
  }
}

/// A head of classes that have an order, 0 to K - 1: its scores hold those of ordered classes, too.
public protocol OrderedClassHead: ClassificationHead {}

/// A head with a posterior over its weights, which makes the logits of a row random.
public protocol LatentHead: ClassificationHead {
  /// Means and variances of the logits of rows.
  ///
  /// - Parameters:
  ///   - features: n x featureCount, finite.
  ///   - execution: the threads to work with.
  /// - Returns: n x C, with C the columns of the weights: one for each class, or for each question about it.
  /// - Throws: `NumericsError` for rows of another width, and when the state of the head is numerically
  ///   unusable.
  func latent(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> LatentMoments
}

/// A head that learns from further rows, without those that it has learnt from.
public protocol StreamingHead: ClassificationHead {
  /// Whether rows lead to the same head in one batch as in several, but for rounding.
  static var mergesExactly: Bool { get }

  /// Learns from rows.
  ///
  /// - Parameters:
  ///   - features: n x featureCount, finite.
  ///   - labels: a class in `0..<classCount` for each row.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError` for rows or labels that cannot be; the head is unchanged then.
  mutating func update(
    _ features: FeatureMatrix, labels: [Int32], execution: Execution
  ) throws(NumericsError)
}

/// A head of target values that learns from further rows, without those that it has learnt from.
public protocol StreamingRegressionHead: RegressionHead {
  /// Whether rows lead to the same head in one batch as in several, but for rounding.
  static var mergesExactly: Bool { get }

  /// Learns from rows.
  ///
  /// - Parameters:
  ///   - features: n x featureCount, finite.
  ///   - values: n x targetCount, finite.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError` for rows or values that cannot be; the head is unchanged then.
  mutating func update(
    _ features: FeatureMatrix, values: Matrix<Double>, execution: Execution
  ) throws(NumericsError)
}

// What some heads can do beside predicting: a run asks a head for it, and knows no kind of head by name.

/// A head that can tell which columns of the features it gives no weight.
protocol ColumnSelectingHead: Head {
  /// The columns, from 0, ascending.
  var leftOutColumns: [Int] { get }
}

/// A head whose fit predicted training rows by fits that left them out.
protocol LeftOutPredictingHead: ClassificationHead {
  /// These predictions, where there are any.
  var leftOut: LeftOutPredictions? { get }
}

/// A head of target values whose fit predicted the training rows by fits that left them out.
protocol LeftOutRegressingHead: RegressionHead {
  /// These predictions; `nil` where a head was read or has learnt from other rows.
  var leftOut: LeftOutRegression? { get }
}

/// A head that says more of its fit than a trainer counts.
protocol ReportingHead: Head {
  /// What it says.
  var fitInfo: FitInfo { get }
}

/// A head with a posterior over its weights, by which uncertainty is split.
protocol UncertaintySplittingHead: ClassificationHead {
  /// Predictions with their uncertainty in parts.
  ///
  /// - Parameters:
  ///   - features: n x D, finite.
  ///   - map: the calibration.
  ///   - splitsEntropy: whether to split the entropy by draws, which takes up to ten times as long.
  ///   - execution: the threads to work with.
  /// - Returns: n rows of predictions, and a number a row for each part.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  func uncertaintyParts(
    _ features: FeatureMatrix, map: HeldOutCalibration, splitsEntropy: Bool,
    execution: Execution
  ) throws(NumericsError) -> UncertaintyParts
}

/// A head with logits.
protocol LogitHead: ClassificationHead {
  /// The logits of rows, n x K.
  ///
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  func logits(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float>
}

/// A head that the Python original scores otherwise than we do, where it makes the same fit.
protocol OriginallyScoredHead: ClassificationHead {
  /// What the original logs under `acc`, `nll` and `ece`; what it does not log stays.
  ///
  /// - Parameters:
  ///   - split: labelled rows.
  ///   - own: our scores of them.
  ///   - method: how the head was fitted.
  ///   - execution: the threads to work with.
  /// - Returns: the scores under our names.
  /// - Throws: `NumericsError` when the head's state is numerically unusable.
  func originalScores(
    _ split: FeatureSplit, own: SplitScores, _ method: Method, _ execution: Execution
  ) throws(NumericsError) -> SplitScores
}

/// For callers who have plain arrays.
extension ClassificationHead {
  /// The class probabilities of rows.
  ///
  /// - Parameter rows: rows of as many finite numbers as the head was fitted to.
  /// - Returns: K probabilities a row.
  /// - Throws: `DataError` that names row and column of what cannot be used.
  public func probabilities(_ rows: [[Float]]) throws -> [[Float]] {
    guard !rows.isEmpty else { return [] }
    let features = try FeatureMatrix(rows: rows)
    guard features.columnCount == featureCount else {
      throw DataError(
        .wrongShape, found: "a row has \(features.columnCount) features",
        expected: "\(featureCount), as the head was fitted to")
    }
    let probabilities = try logProbabilities(features).exponentials()
    return (0..<rows.count).map { probabilities.row($0) }
  }
}

extension FeatureDataset {
  /// Checks training rows.
  ///
  /// - Throws: `DataError` that names row and column of what cannot be used.
  init(rows: [[Float]], labels: [Int], classCount: Int?) throws(DataError) {
    if let row = labels.firstIndex(where: { Int32(exactly: $0) == nil }) {
      throw DataError(
        .invalidLabel, key: "labels", row: row, found: "the label is \(labels[row])",
        expected: "a class index, from 0 on", advice: "number the classes from 0 without gaps")
    }
    let split = try FeatureSplit(
      features: try FeatureMatrix(rows: rows), labels: labels.map(Int32.init(clamping:)))
    try self.init(name: "rows", splits: [(name: "train", split: split)], classCount: classCount)
  }
}

extension FeatureMatrix {
  /// Copies rows of equally many finite numbers.
  init(rows: [[Float]]) throws(DataError) {
    let width = rows.first?.count ?? 0
    let range = FeatureRange(predicting: width)
    for (index, row) in rows.enumerated() {
      guard row.count == width else {
        throw DataError(
          .wrongShape, key: "features", row: index, found: "the row has \(row.count) values",
          expected: "\(width), as row 0 has")
      }
      if let column = row.firstIndex(where: { !(Double($0).magnitude <= range.bound) }) {
        throw range.fault(
          Double(row[column]), file: nil, key: "features", row: index, column: column)
      }
    }
    self.init(
      Matrix<Float>(rows: rows.count, columns: width, elements: rows.flatMap { $0 }))
  }
}
