import BllarseNumerics

/// Further scores of a run, on the test split: calibration in several forms, selective risk, intervals,
/// conformal sets, and the detection of out-of-distribution rows.
public struct RunMetrics: Sendable, Equatable, Encodable {
  /// Conformal sets of one kind at one level.
  public struct Conformal: Sendable, Equatable, Encodable {
    /// "lac" or "aps".
    public var method: String
    /// The coverage aimed at.
    public var level: Double
    /// The rows that the threshold comes from: "validation", or "folds" for predictions of training rows
    /// that were left out.
    public var calibratedOn: String
    /// The number of these rows.
    public var calibrationRows: Int
    /// What the sets promise, in words.
    public var guarantee: String
    /// By metric: what the sets are worth on the test rows, and `threshold`, the largest score of a class
    /// in a set, where there were rows enough to set one.
    public var scores: [String: Double]

    /// Writes one object, the scores beside the rest.
    public func encode(to encoder: any Encoder) throws {
      let rest: [String: any Encodable] = [
        "method": method, "level": level, "calibrated_on": calibratedOn,
        "calibration_rows": calibrationRows, "guarantee": guarantee,
      ]
      try JSONMembers(rest.merging(scores) { own, _ in own }).encode(to: encoder)
    }
  }

  /// Metrics that are one number each, by name.
  public var test: [String: Double]
  /// The reliability diagram, 20 bins of equal width.
  public var reliability: [ReliabilityBin]
  /// Rows of labels, columns of predictions, for at most 100 classes.
  public var confusion: [[Int]]?
  /// Confidence intervals of the main scores.
  public var bootstrap: BootstrapIntervals
  /// Conformal sets, where there are rows to calibrate them on.
  public var conformal: [Conformal]
  /// The metrics of the detection of the rows of `--ood`, by score and name.
  public var outOfDistribution: [String: [String: Double]]?

  enum CodingKeys: String, CodingKey {
    case test, reliability, confusion, bootstrap, conformal
    case outOfDistribution = "ood"
  }

  /// The coverages of conformal sets.
  static let conformalLevels = [0.9, 0.95, 0.99]
  /// Rows times replicates of a bootstrap: some tenths of a second.
  private static let bootstrapLimit = 20_000_000

  /// Scores a head.
  ///
  /// - Parameters:
  ///   - head: fitted.
  ///   - data: the splits.
  ///   - roles: which of them is which.
  ///   - configuration: the seed, and whether the validation rows were used up.
  ///   - parallelism: the threads to work with.
  /// - Throws: `NumericsError` for an unusable head.
  init(
    _ head: any Head, on data: FeatureDataset, _ roles: SplitRoles,
    _ configuration: RunConfiguration, parallelism: Parallelism
  ) throws {
    let split = try data.split(roles.test)
    let predictions = try Predictions(
      logProbabilities: head.logProbabilities(split.features, parallelism: parallelism),
      labels: split.labels,
      parallelism: parallelism)
    test = Metric.values(of: predictions, everySplit: false)
    confusion = head.classCount <= 100 ? ConfusionMatrix(predictions).counts : nil
    reliability = Metrics.reliability(predictions)
    bootstrap = Metrics.bootstrapIntervals(
      predictions,
      replicateCount: min(1000, max(100, Self.bootstrapLimit / max(predictions.count, 1))),
      seed: configuration.seed, parallelism: parallelism)
    conformal = try Self.conformal(
      predictions.probabilities, split.labels, head, data, roles, configuration, parallelism)
  }

  /// Scores the detection of out-of-distribution rows, as wide as the head, among test rows.
  mutating func detect(
    _ rows: FeatureMatrix, _ head: any Head, among test: FeatureSplit, parallelism: Parallelism
  ) throws(NumericsError) {
    let inside = try Uncertainty(head, test.features, parallelism: parallelism).scores
    var detections: [String: [String: Double]] = [:]
    for (name, scores) in try Uncertainty(head, rows, parallelism: parallelism).scores {
      guard let inside = inside[name] else { continue }
      detections[name] = Metric.values(
        of: Metrics.outOfDistributionDetection(inDistribution: inside, outOfDistribution: scores))
    }
    outOfDistribution = detections
  }

  /// Conformal sets of test rows, calibrated on rows that the head was not fitted to.
  private static func conformal(
    _ probabilities: Matrix<Float>, _ labels: [Int32], _ head: any Head, _ data: FeatureDataset,
    _ roles: SplitRoles, _ configuration: RunConfiguration, _ parallelism: Parallelism
  ) throws -> [Conformal] {
    let source: ConformalSets.Source
    let calibration: (probabilities: Matrix<Float>, labels: [Int32])
    if !roles.isShared, let validation = roles.validation.flatMap({ data[$0] }),
      !configuration.calibrationOrDefault.needsValidation
    {
      source = .validation
      let logs = try head.logProbabilities(validation.features, parallelism: parallelism)
      calibration = (logs.exponentials(), validation.labels)
    } else if let left = (head.uncalibrated as? any LeftOutPredictingHead)?.leftOut {
      source = .folds
      let map = (head as? CalibratedHead)?.calibration ?? .none
      calibration = (
        Matrix<Float>(map.apply(to: left.logProbabilities).exponentials()), left.labels
      )
    } else {
      return []
    }
    // A diverged head has no sets; its result says why elsewhere.
    guard calibration.probabilities.firstNonFinite == nil else { return [] }
    let methods = [("lac", ConformalSets.Method.lac), ("aps", .aps(seed: configuration.seed))]
    return try methods.flatMap { name, method in
      try conformalLevels.map { level in
        let sets = try ConformalSets(
          method, level: level, probabilities: calibration.probabilities,
          labels: calibration.labels)
        var scores = Metric.values(
          of: try sets.evaluate(probabilities: probabilities, labels: labels))
        scores["threshold"] = sets.threshold.isFinite ? sets.threshold : nil
        return Conformal(
          method: name, level: level, calibratedOn: source.rawValue,
          calibrationRows: calibration.labels.count,
          guarantee: source.guarantee(level: level, rowCount: calibration.labels.count),
          scores: scores)
      }
    }
  }
}

/// Rows without labels, from a feature file.
enum OutOfDistributionRows {
  /// The rows that a run is asked to tell from its own, n x featureCount; `nil` where it is not.
  static func features(
    of configuration: RunConfiguration, featureCount: Int
  ) throws(DataError) -> FeatureMatrix? {
    guard let path = configuration.outOfDistributionPath else { return nil }
    return try features(path: path, featureCount: featureCount)
  }

  /// The features of a split of a file, n x featureCount: of the test split, or the first there is, where
  /// none is named.
  static func features(
    path: String, split: String? = nil, featureCount: Int
  ) throws(DataError) -> FeatureMatrix {
    let file = try FeatureFile(path: path)
    let name = split ?? self.split(of: file)
    let header = try file.header(of: name)
    try require(header.shape, split: name, featureCount: featureCount, of: path)
    return try file.features(name)
  }

  /// The split whose rows are taken: the test split where there is one, else the first.
  static func split(of file: FeatureFile) -> String {
    SplitRoles.defaultTest(of: file.splitNames) ?? file.splitNames.first ?? "test"
  }

  /// Refuses rows that do not fit the head, and none.
  static func require(
    _ shape: [Int], split: String? = nil, featureCount: Int, of path: String
  ) throws(DataError) {
    let key = split.map { "\($0) split" }
    guard shape[0] > 0 else {
      throw DataError(
        .insufficientData, file: path, key: key, found: "there are no rows",
        expected: "at least one row")
    }
    guard shape[1] == featureCount else {
      throw DataError(
        .wrongShape, file: path, key: key,
        found: "rows have \(shape[1]) features", expected: "\(featureCount), as the head has",
        advice: "use features of the same backbone")
    }
  }
}
