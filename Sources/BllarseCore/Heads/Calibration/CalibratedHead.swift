public import BllarseNumerics

/// A head whose predictions go through a map that was fitted to held-out rows.
///
/// Whatever the head is, the map takes its log-probabilities, and everything that is predicted, scored or
/// stored afterwards is the mapped distribution's.
///
/// ```swift
/// let calibrated = try CalibratedHead(calibrating: head, on: validation, .temperature)
/// let logProbabilities = try calibrated.logProbabilities(newFeatures)
/// ```
public struct CalibratedHead: ClassificationHead {
  /// "Calibrated".
  public static var kind: String { "Calibrated" }

  /// The head.
  public var base: any ClassificationHead
  /// The map.
  public let calibration: HeldOutCalibration

  /// Joins a head and a map; a map that the head had is replaced.
  public init(_ head: any ClassificationHead, _ calibration: HeldOutCalibration) {
    base = head.uncalibrated
    self.calibration = calibration
  }

  /// Fits a map to held-out rows; a map that the head had is replaced.
  ///
  /// A map class by class gives way to a temperature where that predicts left-out rows as well, see
  /// ``CalibrationChoice``.
  ///
  /// - Parameters:
  ///   - head: fitted.
  ///   - split: at least one row that the head was not fitted to.
  ///   - method: the kind of map.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError` for rows or labels that cannot be and when the head's state is unusable,
  ///   `DataError.Code.notFinite` when its predictions are not numbers.
  public init(
    calibrating head: any ClassificationHead, on split: FeatureSplit,
    _ method: HeldOutCalibration.Method,
    execution: Execution = .available
  ) throws {
    let choice = try CalibrationChoice(method, for: head, on: split, execution: execution)
    self.init(head, choice.calibration)
  }

  /// The number of features of a row.
  public var featureCount: Int { base.featureCount }
  /// The number of classes.
  public var classCount: Int { base.classCount }

  /// The head's log-probabilities, mapped.
  public func logProbabilities(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float> {
    calibration.apply(
      to: try base.logProbabilities(features, execution: execution), execution: execution)
  }

  /// The scores of the mapped predictions, as the head defines scores; a map that is given replaces its own.
  public func evaluation(
    features: FeatureMatrix, labels: [Int32], calibration: HeldOutCalibration,
    execution: Execution
  ) throws(NumericsError) -> SplitScores {
    try base.evaluation(
      features: features, labels: labels,
      calibration: calibration == .none ? self.calibration : calibration, execution: execution)
  }

  /// Adds the head, its kind as `calibrated_head`, and the map.
  public func encode(into writer: inout SafetensorsWriter) {
    writer.metadata["calibrated_head"] = type(of: base).kind
    base.encode(into: &writer)
    calibration.encode(into: &writer)
  }

  /// Reads a head and its map.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    let name = try file.metadata("calibrated_head")
    guard let kind = HeadRegistry.kind(named: name), kind != CalibratedHead.self else {
      throw DataError(
        .wrongType, file: file.path, key: "calibrated_head", found: "the kind of head is '\(name)'",
        expected: "one of " + HeadRegistry.names.filter { $0 != Self.kind }.joined(separator: ", "),
        advice: "update bllarse to read it")
    }
    let head = try kind.init(decoding: file).classifier()
    self.init(head, try HeldOutCalibration(decoding: file, classCount: head.classCount))
  }
}

extension HeldOutCalibration {
  /// The mapped predictions of a head.
  ///
  /// - Parameters:
  ///   - logProbabilities: N x K.
  ///   - execution: the threads to work with; they do not change the result.
  /// - Returns: N x K; the exponentials of a row sum to 1.
  func apply(to logProbabilities: Matrix<Float>, execution: Execution) -> Matrix<Float> {
    if self == .none { return logProbabilities }
    // In blocks: the maps work in double precision.
    return Matrix(
      rows: logProbabilities.rowCount, columns: logProbabilities.columnCount, blockSize: 1024,
      execution: execution
    ) { Matrix<Float>(apply(to: Self.arguments(logProbabilities.rows($0)))) }
  }
}

extension CalibrationChoice {
  /// Fits to the predictions of a head, without a map that it has, and chooses.
  ///
  /// Rows whose features are equal, or whose groups are, are left out together.
  ///
  /// - Parameters:
  ///   - requested: the kind of map.
  ///   - head: fitted.
  ///   - split: at least one row that the head was not fitted to.
  ///   - execution: the threads to work with.
  /// - Throws: as ``CalibratedHead/init(calibrating:on:_:execution:)``.
  public init(
    _ requested: HeldOutCalibration.Method, for head: any ClassificationHead,
    on split: FeatureSplit,
    execution: Execution = .available
  ) throws {
    let head = head.uncalibrated
    try TrainingRows.checkLabels(
      split.labels, rowCount: split.features.rowCount, classCount: head.classCount,
      rows: "rows to calibrate on")
    let logs = HeldOutCalibration.arguments(
      try head.logProbabilities(split.features, execution: execution))
    if let row = logs.firstNonFinite?.row {
      throw DataError(
        .notFinite, key: "predictions", row: row,
        found: "the head's log-probabilities of a validation row are not numbers",
        expected: "finite predictions to calibrate",
        advice: "lower the learning rate, or do without calibration")
    }
    try self.init(
      requested, logProbabilities: logs, labels: split.labels,
      groups: EqualRows.merge(split.groups, with: EqualRows.firsts(split.features)),
      execution: execution)
  }
}
