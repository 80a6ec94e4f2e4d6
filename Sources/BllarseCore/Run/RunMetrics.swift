import BllarseNumerics

/// More scores of a run, whose names carry the number of bins.
///
/// Calibration in several forms, selective risk, intervals, conformal sets, and the detection of foreign
/// rows.
public struct RunMetrics: Sendable, Equatable, Encodable {
  /// An interval around a score.
  public struct Interval: Sendable, Equatable, Encodable {
    /// The score on all rows.
    public var value: Double
    /// The lower end.
    public var lower: Double
    /// The upper end.
    public var upper: Double

    init(_ interval: BootstrapInterval) {
      value = interval.value
      lower = interval.lower
      upper = interval.upper
    }
  }

  /// Bootstrap intervals of the main scores.
  public struct Bootstrap: Sendable, Equatable, Encodable {
    /// The coverage aimed at.
    public var level: Double
    /// How often the rows were resampled.
    public var replicates: Int
    /// Of the accuracy.
    public var acc: Interval
    /// Of the negative log-likelihood.
    public var nll: Interval
    /// Of the Brier score.
    public var brier: Interval
    /// Of the calibration error, 20 bins of equal width.
    public var ece: Interval
  }

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
    /// The largest score of a class in a set; nothing where too few rows set no bound, and sets hold every
    /// class.
    public var threshold: Double?
    /// The share of test rows whose set holds the label.
    public var coverage: Double
    /// The mean number of classes in a set.
    public var meanSize: Double
    /// The share of test rows whose set is empty.
    public var emptyShare: Double

    enum CodingKeys: String, CodingKey {
      case method, level, coverage, guarantee, threshold
      case calibrationRows = "calibration_rows"
      case calibratedOn = "calibrated_on"
      case meanSize = "mean_size"
      case emptyShare = "empty_share"
    }
  }

  /// How well one score tells foreign rows from those of the test split.
  public struct Detection: Sendable, Equatable, Encodable {
    /// The area under the receiver operating characteristic.
    public var auroc: Double
    /// The share of test rows taken for foreign when 95 % of the foreign rows are found.
    public var fpr95: Double
    /// The average precision with foreign rows as the positive class.
    public var auprOut: Double

    enum CodingKeys: String, CodingKey {
      case auroc, fpr95
      case auprOut = "aupr_out"
    }
  }

  /// A bin of the reliability diagram of the test split.
  public struct ReliabilityBin: Sendable, Equatable, Encodable {
    /// The confidence from which on rows belong to it.
    public var from: Double
    /// The confidence up to which they do; that itself belongs to the next bin, but for the last.
    public var to: Double
    /// The number of rows.
    public var count: Int
    /// Their mean confidence; nothing in an empty bin.
    public var confidence: Double?
    /// Their accuracy; nothing in an empty bin.
    public var accuracy: Double?
  }

  /// Scores of the test split that are one number each.
  public var test: [String: Double]
  /// The reliability diagram of the test split, 20 bins of equal width.
  public var reliability: [ReliabilityBin]
  /// Rows of labels, columns of predictions, for at most 100 classes.
  public var confusion: [[Int]]?
  /// Intervals.
  public var bootstrap: Bootstrap
  /// Conformal sets, where there are rows to calibrate them on.
  public var conformal: [Conformal]
  /// Detection of the rows of `--ood`, by score.
  public var outOfDistribution: [String: Detection]?

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
    let logs = try head.logProbabilities(split.features)
    let probabilities = logs.exponentials()
    let summary = try PredictionSummary(
      logProbabilities: logs, labels: split.labels, parallelism: parallelism)

    // 1. Numbers.
    var scores = ["mean_confidence": Metrics.mean(summary.confidence)]
    for bins in [15, 20] {
      let error = Metrics.calibrationError(summary, binCount: bins)
      scores[error.name] = error.expected
      scores["mce_equal_width_\(bins)"] = error.maximum
      scores["rmsce_equal_width_\(bins)"] = error.rootMeanSquare
    }
    let equalMass = Metrics.equalMassCalibrationError(summary, binCount: 20)
    scores[equalMass.name] = equalMass.expected
    let classwise = try Metrics.classwiseCalibrationError(
      probabilities: probabilities, labels: split.labels, binCount: 20)
    scores[classwise.name] = classwise.expected
    scores["ks_calibration_error"] = Metrics.kolmogorovSmirnovCalibrationError(summary)
    let risk = Metrics.selectiveRisk(summary)
    scores["aurc"] = risk.areaUnderRiskCoverage
    scores["e_aurc"] = risk.excess
    for k in [2, 3, 5] where k < head.classCount {
      scores["top_\(k)_acc"] = Metrics.topKAccuracy(summary, k: k)
    }
    let confusion = try ConfusionMatrix(scores: logs, labels: split.labels)
    scores["balanced_acc"] = confusion.balancedAccuracy
    test = scores
    reliability = Self.reliability(summary)
    self.confusion =
      head.classCount <= 100
      ? (0..<head.classCount).map { label in
        (0..<head.classCount).map { confusion[label: label, predicted: $0] }
      } : nil

    // 2. Intervals.
    let intervals = Metrics.bootstrapIntervals(
      summary,
      replicateCount: min(1000, max(100, Self.bootstrapLimit / max(summary.count, 1))),
      seed: configuration.seed, parallelism: parallelism)
    bootstrap = Bootstrap(
      level: intervals.level, replicates: intervals.replicateCount,
      acc: Interval(intervals.accuracy), nll: Interval(intervals.nll),
      brier: Interval(intervals.brier), ece: Interval(intervals.ece))

    // 3. Conformal sets, on rows that the head was not fitted to.
    conformal = []
    var calibration: (source: ConformalSets.Source, probabilities: Matrix<Float>, labels: [Int32])?
    if !roles.isShared, let validation = roles.validation.flatMap({ data[$0] }),
      !configuration.calibrationOrDefault.needsValidation
    {
      calibration = (
        .validation, try head.logProbabilities(validation.features).exponentials(),
        validation.labels
      )
    } else if let left = (head.uncalibrated as? EvidenceHead)?.leftOut {
      let map = (head as? CalibratedHead)?.calibration ?? .none
      calibration = (
        .folds, Matrix<Float>(map.apply(to: left.logProbabilities).exponentials()),
        left.labels
      )
    }
    // A diverged head has no sets; its result says why elsewhere.
    if let calibration, calibration.probabilities.firstNonFinite == nil {
      for (name, method) in [
        ("lac", ConformalSets.Method.lac), ("aps", .aps(seed: configuration.seed)),
      ] {
        for level in Self.conformalLevels {
          let sets = try ConformalSets(
            method, level: level, probabilities: calibration.probabilities,
            labels: calibration.labels)
          let report = try sets.evaluate(probabilities: probabilities, labels: split.labels)
          conformal.append(
            Conformal(
              method: name, level: level, calibratedOn: calibration.source.rawValue,
              calibrationRows: calibration.labels.count,
              guarantee: calibration.source.guarantee(
                level: level, rowCount: calibration.labels.count),
              threshold: sets.threshold.isFinite ? sets.threshold : nil,
              coverage: report.coverage, meanSize: report.meanSize,
              emptyShare: report.emptyShare))
        }
      }
    }
  }

  /// Scores the detection of foreign rows.
  ///
  /// - Parameters:
  ///   - foreign: the rows, as many features each as the head has.
  ///   - head: fitted.
  ///   - test: the known rows.
  /// - Throws: `NumericsError` for an unusable head.
  mutating func detect(
    _ foreign: FeatureMatrix, _ head: any Head, among test: FeatureSplit
  ) throws(NumericsError) {
    let known = try Uncertainty(head, test.features)
    let unknown = try Uncertainty(head, foreign)
    var detections: [String: Detection] = [:]
    for (name, scores) in unknown.scores {
      guard let other = known.scores[name] else { continue }
      let detection = Metrics.outOfDistributionDetection(
        inDistribution: other, outOfDistribution: scores)
      detections[name] = Detection(
        auroc: detection.auroc, fpr95: detection.falsePositiveRateAt95,
        auprOut: detection.auprOut)
    }
    outOfDistribution = detections
  }
}

extension RunMetrics {
  /// The bins of the calibration error that is reported.
  private static func reliability(_ summary: PredictionSummary) -> [ReliabilityBin] {
    let bins = Metrics.calibrationError(summary, binCount: 20).bins
    let width = 1 / Double(bins.count)
    return bins.enumerated().map { place, bin in
      ReliabilityBin(
        from: Double(place) * width, to: Double(place + 1) * width, count: bin.count,
        confidence: bin.count > 0 ? bin.confidence : nil,
        accuracy: bin.count > 0 ? bin.accuracy : nil)
    }
  }
}

/// Rows without labels, from a feature file.
enum ForeignRows {
  /// The rows that a run is asked to tell from its own, read and checked; `nil` where it is not.
  ///
  /// - Parameters:
  ///   - configuration: of the run.
  ///   - featureCount: how many features a row must have.
  /// - Returns: n x featureCount.
  /// - Throws: `DataError`.
  static func features(
    of configuration: RunConfiguration, featureCount: Int
  ) throws(DataError) -> FeatureMatrix? {
    guard let path = configuration.outOfDistributionPath else { return nil }
    return try features(path: path, featureCount: featureCount)
  }

  /// The features of a split of a file: the test split where there is one, else the only one.
  ///
  /// - Parameters:
  ///   - path: the file.
  ///   - split: the split's name; the test split, or the first there is, by default.
  ///   - featureCount: how many features a row must have.
  /// - Returns: n x featureCount.
  /// - Throws: `DataError`.
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
  ///
  /// - Parameters:
  ///   - shape: rows and columns.
  ///   - split: the split, where it is named.
  ///   - featureCount: how many features a row must have.
  ///   - path: the file.
  /// - Throws: `DataError`.
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
