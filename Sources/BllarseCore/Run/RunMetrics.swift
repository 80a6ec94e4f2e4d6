import BllarseNumerics
import Glibc

// MARK: - After every epoch

/// The scores of a head on every split of a data set.
struct SplitEvaluations {
  let roles: SplitRoles
  /// In the data set's order.
  private(set) var scores: [NamedScores] = []
  /// What the Python original would log of a split, for the splits that it logs.
  private var original: [String: SplitScores] = [:]

  /// The Python original's names of splits, and of the metrics that it logs of each.
  static let originalNames = ["val_m": "val_matched", "val_mm": "val_mismatched"]
  static let loggedNames: Set = ["acc", "nll", "ece", "rmse", "crps", "hamming_loss"]

  /// Scores a fitted head on all splits; the training rows, which may be many, can be left out.
  init(
    _ head: any Head, on data: FeatureDataset, _ roles: SplitRoles,
    _ configuration: RunConfiguration, skipsTraining: Bool = false, execution: Execution
  ) throws {
    self.roles = roles
    let logged = Set(roles.required.dropFirst()).union(Self.originalNames.keys)
    for name in data.splitNames where !(skipsTraining && name == SplitRoles.training) {
      let split = try data.split(name)
      let own = try head.scores(of: split, execution: execution)
      scores.append(NamedScores(split: name, scores: own))
      guard logged.contains(name) else { continue }
      // A fit that the original makes, too, when it is asked in these words: batches that are merged, or steps.
      // It knows no class probabilities.
      if configuration.method.has(.takesFreshRows), split.targets.softDistributions == nil,
        let head = head as? any OriginallyScoredHead
      {
        original[name] = try head.originalScores(split, own: own, configuration.method, execution)
      } else {
        original[name] = own
      }
    }
  }

  /// The scores of a split, which must have been scored.
  subscript(name: String) -> SplitScores {
    guard let found = scores.first(where: { $0.split == name }) else {
      preconditionFailure("no scores of the split \(name)")
    }
    return found.scores
  }

  var train: SplitScores { self[SplitRoles.training] }
  var test: SplitScores { self[roles.test] }

  /// What chooses the best epoch, where there is a validation split.
  var validation: SplitScores? { roles.validation.flatMap { original[$0] } }

  /// What is logged as `acc`, `nll` and `ece`.
  var logged: [String: Double] { loggedScores(roles.test) }

  private func loggedScores(_ split: String) -> [String: Double] {
    (original[split]?.values ?? [:]).filter { Self.loggedNames.contains($0.key) }
  }

  /// The scores by the names under which they are logged.
  ///
  /// `SPLIT_acc` and so on, with "val" for "validation"; the matched and mismatched validation rows of
  /// the Python original's text caches also have the names that it logs.
  var metrics: [String: Double] {
    let named =
      scores.map { ($0.split == "validation" ? "val" : $0.split, $0.scores.values) }
      + Self.originalNames.map { split, prefix in (prefix, loggedScores(split)) }
    var metrics: [String: Double] = [:]
    for (prefix, values) in named {
      for (name, value) in values { metrics["\(prefix)_\(name)"] = value }
    }
    return metrics
  }
}

// MARK: - At the end

/// Further scores of a run, on the test split: calibration in several forms, selective risk, intervals,
/// conformal sets, and the detection of out-of-distribution rows.
public struct RunMetrics: Sendable, Equatable, Encodable {
  /// Conformal sets of one kind at one level.
  public struct Conformal: Sendable, Equatable, Encodable {
    /// "lac" or "aps"; what the sets promise, in words; the rows that the threshold comes from, "validation", or
    /// "folds" for predictions of training rows that were left out.
    public let method, guarantee, calibratedOn: String
    /// The number of these rows.
    public let calibrationRows: Int
    /// The coverage aimed at.
    public let level: Double
    /// By metric: what the sets are worth on the test rows, and `threshold`, the largest score of a class
    /// in a set, where there were rows enough to set one.
    public let scores: [String: Double]

    /// Writes one object, the scores beside the rest.
    public func encode(to encoder: any Encoder) throws {
      let rest: [String: any Encodable] = [
        "method": method, "level": level, "calibrated_on": calibratedOn,
        "calibration_rows": calibrationRows, "guarantee": guarantee,
      ]
      try JSONMembers(rest.merging(scores) { own, _ in own }).encode(to: encoder)
    }
  }

  /// Intervals for target values at one level.
  public struct Interval: Sendable, Equatable, Encodable {
    /// "predictive", the central intervals of the predictive distributions, or "conformal", those that were widened
    /// to what left-out or validation rows show; what they promise, in words, and the rows that they come from.
    public let method: String
    /// See ``method``; `nil` for predictive ones.
    public let guarantee, calibratedOn: String?
    /// The coverage aimed at.
    public let level: Double
    /// By metric: `coverage`, `mean_width` and `interval_score` of the test rows.
    public let scores: [String: Double]

    /// Writes one object, the scores beside the rest.
    public func encode(to encoder: any Encoder) throws {
      var rest: [String: any Encodable] = ["method": method, "level": level]
      rest["calibrated_on"] = calibratedOn
      rest["guarantee"] = guarantee
      try JSONMembers(rest.merging(scores) { own, _ in own }).encode(to: encoder)
    }
  }

  /// Metrics that are one number each, by name.
  public let test: [String: Double]
  /// The reliability diagram of class probabilities, 20 bins of equal width.
  public private(set) var reliability: [ReliabilityBin]?
  /// Rows of labels, columns of predictions, for at most 100 classes.
  public private(set) var confusion: [[Int]]?
  /// Confidence intervals of the main scores.
  public let bootstrap: BootstrapIntervals
  /// Conformal sets of classes, where there are rows to calibrate them on.
  public private(set) var conformal: [Conformal]?
  /// Intervals for target values.
  public private(set) var intervals: [Interval]?
  /// The shares of test rows whose values lie in each twentieth of what was predicted of them, by target: the histogram of
  /// the probability integral transform.
  public private(set) var pit: [String: [Double]]?
  /// The scores of each of several targets, by name.
  public private(set) var targets: [String: [String: Double]]?
  /// The scores of each label of sets, by name.
  public private(set) var labels: [String: [String: Double]]?
  /// The metrics of the detection of the rows of `--ood`, by score and name.
  public private(set) var outOfDistribution: [String: [String: Double]]?

  enum CodingKeys: String, CodingKey {
    case test, reliability, confusion, bootstrap, conformal, intervals, pit, targets, labels
    case outOfDistribution = "ood"
  }

  /// The coverages of conformal sets.
  static let conformalLevels = [0.9, 0.95, 0.99]
  /// Rows times replicates of a bootstrap: some tenths of a second.
  private static let bootstrapLimit = 20_000_000

  /// Scores a head on the test split.
  ///
  /// - Throws: `NumericsError` for an unusable head.
  init(
    _ head: any Head, on data: FeatureDataset, _ roles: SplitRoles,
    _ configuration: RunConfiguration, execution: Execution
  ) throws {
    if let regressor = head as? any RegressionHead {
      try self.init(regressor, on: data, roles, configuration, execution)
    } else if let head = head as? any MultiLabelHead {
      try self.init(head, on: data, roles, configuration, execution)
    } else {
      try self.init(try head.classifier(), on: data, roles, configuration, execution)
    }
  }

  private init(
    _ head: any ClassificationHead, on data: FeatureDataset, _ roles: SplitRoles,
    _ configuration: RunConfiguration, _ execution: Execution
  ) throws {
    let split = try data.split(roles.test)
    let predictions = try Predictions(
      logProbabilities: head.logProbabilities(split.features, execution: execution),
      labels: split.labels, distributions: split.targets.softDistributions,
      execution: execution)
    test = Metric.values(of: predictions, everySplit: false)
    confusion = head.classCount <= 100 ? ConfusionMatrix(predictions).counts : nil
    reliability = Metrics.reliability(predictions)
    bootstrap = Metrics.bootstrapIntervals(
      predictions,
      replicateCount: min(1000, max(100, Self.bootstrapLimit / max(predictions.count, 1))),
      seed: configuration.seed, execution: execution)
    conformal = try Self.conformal(
      predictions.probabilities, split.labels, head, data, roles, configuration, execution)
  }

  /// Adds what a fit says of each label to the label's scores.
  mutating func add(_ fits: [[String: Double]], names: [String]) {
    for (name, values) in zip(names, fits) {
      labels?[name]?.merge(values) { own, _ in own }
    }
  }

  /// Scores the detection of out-of-distribution rows, if there are some, as wide as the head, among test rows.
  mutating func detect(
    _ rows: FeatureMatrix?, _ head: any Head, among test: FeatureSplit, execution: Execution
  ) throws(NumericsError) {
    guard let rows else { return }
    func uncertainties(_ features: FeatureMatrix) throws(NumericsError) -> [String: [Double]] {
      if let regressor = head as? any RegressionHead {
        return ["scale": try regressor.predict(features, execution: execution).scales.logVolumes]
      }
      if let head = head as? any MultiLabelHead {
        return ["entropy": try head.logOdds(features, execution: execution).sumsOfEntropies]
      }
      guard let classifier = head as? any ClassificationHead else { return [:] }
      return try Uncertainty(classifier, features, execution: execution).scores
    }
    let inside = try uncertainties(test.features)
    var detections: [String: [String: Double]] = [:]
    for (name, scores) in try uncertainties(rows) {
      guard let inside = inside[name] else { continue }
      detections[name] = Metric.values(
        of: Metrics.outOfDistributionDetection(inDistribution: inside, outOfDistribution: scores))
    }
    outOfDistribution = detections
  }

  /// Conformal sets of test rows, calibrated on rows that the head was not fitted to.
  private static func conformal(
    _ probabilities: Matrix<Float>, _ labels: [Int32], _ head: any ClassificationHead,
    _ data: FeatureDataset, _ roles: SplitRoles, _ configuration: RunConfiguration,
    _ execution: Execution
  ) throws -> [Conformal] {
    let source: ConformalSets.Source
    let calibration: (probabilities: Matrix<Float>, labels: [Int32])
    if !roles.isShared, let validation = roles.validation.flatMap({ data[$0] }),
      !configuration.calibrationOrDefault.needsValidation
    {
      source = .validation
      let logs = try head.logProbabilities(validation.features, execution: execution)
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
          method, level: level, probabilities: calibration.probabilities, labels: calibration.labels
        )
        var scores = Metric.values(
          of: try sets.evaluate(probabilities: probabilities, labels: labels))
        scores["threshold"] = sets.threshold.isFinite ? sets.threshold : nil
        let rows = calibration.labels.count
        return Conformal(
          method: name, guarantee: source.guarantee(level: level, rowCount: rows),
          calibratedOn: source.rawValue, calibrationRows: rows, level: level, scores: scores)
      }
    }
  }
}

extension RunMetrics {
  private init(
    _ head: any MultiLabelHead, on data: FeatureDataset, _ roles: SplitRoles,
    _ configuration: RunConfiguration, _ execution: Execution
  ) throws {
    let split = try data.split(roles.test)
    let predictions = try LabelPredictions(
      logOdds: try head.logOdds(split.features, execution: execution), split.labelSets)
    test = Metric.values(of: predictions, everySplit: false)
    reliability = Metrics.reliability(predictions.binSums())
    bootstrap = predictions.bootstrapIntervals(seed: configuration.seed, execution: execution)
    labels = Dictionary(
      uniqueKeysWithValues: zip(data.outputs.names, predictions.labelScores.map(\.values)))
  }

  private init(
    _ head: any RegressionHead, on data: FeatureDataset, _ roles: SplitRoles,
    _ configuration: RunConfiguration, _ execution: Execution
  ) throws {
    let split = try data.split(roles.test)
    let predictions = try TargetPredictions(
      try head.predict(split.features, execution: execution), targets: split.values)
    test = Metric.values(of: predictions, everySplit: false)
    bootstrap = try RegressionMetrics.bootstrapIntervals(
      predictions.distributions, targets: predictions.targets, seed: configuration.seed,
      execution: execution)
    let named = zip(data.outputs.names, predictions.metrics.targets)
    pit = Dictionary(uniqueKeysWithValues: named.map { ($0, $1.pitHistogram) })
    if data.outputs.count > 1 {
      targets = Dictionary(uniqueKeysWithValues: named.map { ($0, $1.values) })
    }
    intervals = try Self.intervals(predictions, head, data, roles, execution)
  }

  /// Central intervals of the predictive distributions, and conformal ones, calibrated on rows that the head was not
  /// fitted to.
  private static func intervals(
    _ predictions: TargetPredictions, _ head: any RegressionHead, _ data: FeatureDataset,
    _ roles: SplitRoles, _ execution: Execution
  ) throws -> [Interval] {
    // Residuals of rows that the head was not fitted to, in units of the predicted scales.
    var calibration: (source: ConformalIntervals.Source, residuals: Matrix<Double>)?
    if !roles.isShared, let validation = roles.validation.flatMap({ data[$0] }) {
      let predicted = try head.predict(validation.features, execution: execution)
      let residuals = validation.values.combined(with: predicted.locations) { $0 - $1 }
        .combined(with: predicted.scales) { $0 / $1 }
      calibration = (.validation, residuals)
    } else if let residuals = try (head as? any LeftOutRegressingHead)?.leftOut?
      .normalizedResiduals()
    {
      calibration = (.leftOut, residuals)
    }
    func scores(_ intervals: IntervalScores) -> [String: Double] {
      // Of too few calibration rows intervals are infinite, and have no scores.
      [
        "coverage": intervals.coverage, "mean_width": intervals.width,
        "interval_score": intervals.score,
      ].filter { intervals.width.isFinite && $0.value.isFinite }
    }
    let predictive = predictions.metrics.average.intervals.map { intervals in
      Interval(
        method: "predictive", guarantee: nil, calibratedOn: nil, level: intervals.level,
        scores: scores(intervals))
    }
    guard let (source, residuals) = calibration else { return predictive }
    let conformal = try RegressionMetrics.levels.map { level in
      let intervals = try ConformalIntervals(level: level, normalizedResiduals: residuals)
      let each = try intervals.evaluate(predictions.distributions, targets: predictions.targets)
      return Interval(
        method: "conformal",
        guarantee: source.guarantee(level: level, rowCount: residuals.rowCount),
        calibratedOn: source.rawValue, level: level, scores: scores(.average(each)))
    }
    return predictive + conformal
  }
}

extension Matrix<Double> {
  /// The sums of the logarithms of each row.
  fileprivate var logVolumes: [Double] {
    (0..<rowCount).map { row in self.row(row).reduce(0) { $0 + log($1) } }
  }
}

extension Matrix<Float> {
  /// The sum of the entropies of each row's answers, in nats, of the log-odds of labels.
  var sumsOfEntropies: [Double] {
    (0..<rowCount).map { row in
      self.row(row).reduce(0) { sum, odds in
        // log(1 + exp(-f)) + (1 - p) f for f not negative; the entropy is even in f.
        let f = Double(odds.magnitude)
        return sum + (f < .infinity ? log1p(exp(-f)) + f / (1 + exp(f)) : 0)
      }
    }
  }
}

extension RunConfiguration {
  /// The rows that a run is asked to tell from its own, n x featureCount; `nil` where it is not.
  func outOfDistributionRows(featureCount: Int) throws(DataError) -> FeatureMatrix? {
    guard let path = outOfDistributionPath else { return nil }
    return try OutOfDistributionRows.features(path: path, featureCount: featureCount)
  }
}

/// Rows without labels, from a feature file.
enum OutOfDistributionRows {
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
    try DataError.require(
      shape[0] > 0, .insufficientData, file: path, key: key, found: "there are no rows",
      expected: "at least one row")
    try DataError.require(
      shape[1] == featureCount, .wrongShape, file: path, key: key,
      found: "rows have \(shape[1]) features", expected: "\(featureCount), as the head has",
      advice: "use features of the same backbone")
  }
}

// MARK: - Are they numbers?

/// A run whose scores are not all numbers, for a reason that lies in the fit: it did not succeed, whatever
/// it wrote.
public struct ScoresNotFinite: Error, Equatable, Sendable, CustomStringConvertible {
  /// The first such score, "train.nll".
  public let score: String
  /// What it is: "NaN", "Infinity".
  public let value: String

  /// What happened, and what to do.
  public var description: String {
    "the score \(score) is \(value): the fit diverged; lower the learning rate, or raise the prior precision"
  }
}

/// The gate that scores and predictions pass before a command ends well: none is NaN or infinite,
/// whichever way it came about.
enum FiniteScores {
  /// Checks everything that a run reports.
  ///
  /// - Throws: `DataError.Code.notFinite` with the row whose predictions are not numbers, where those of
  ///   the training rows are; ``ScoresNotFinite`` otherwise.
  static func check(
    _ result: RunResult, _ head: any Head, on data: FeatureDataset, execution: Execution
  ) throws {
    guard let fault = firstNonFinite(in: result) else { return }
    if let train = data[SplitRoles.training], place(head, train, execution) == nil {
      for name in data.splitNames where name != SplitRoles.training {
        guard let split = data[name], let row = place(head, split, execution)
        else { continue }
        throw overflow(split.features, row: row, file: data.file, key: "\(name) split features")
      }
    }
    throw fault
  }

  /// Checks the scores of a stored head, whose own numbers were checked when it was read.
  ///
  /// - Throws: `DataError.Code.notFinite` with the row.
  static func check(
    _ scores: SplitScores, _ head: any Head, on split: FeatureSplit, file: String?, key: String,
    execution: Execution
  ) throws {
    guard !scores.values.values.allSatisfy(\.isFinite) else { return }
    guard let row = place(head, split, execution) else {
      throw ScoresNotFinite(score: "nll", value: "\(scores.nll)")
    }
    throw overflow(split.features, row: row, file: file, key: key)
  }

  /// What a stored head predicts of the targets of rows.
  ///
  /// - Throws: `DataError.Code.notFinite` with the row; `NumericsError` as the head.
  static func predictions(
    _ head: any RegressionHead, _ features: FeatureMatrix, file: String?, key: String,
    execution: Execution
  ) throws -> TargetDistributions {
    do throws(NumericsError) {
      return try head.predict(features, execution: execution)
    } catch {
      guard case .notFinite(let row, _) = error else { throw error }
      throw overflow(features, row: row, file: file, key: key)
    }
  }

  /// The log-odds that a stored head gives labels of rows.
  ///
  /// - Throws: `DataError.Code.notFinite` with the row; `NumericsError` as the head.
  static func logOdds(
    _ head: any MultiLabelHead, _ features: FeatureMatrix, file: String?, key: String,
    execution: Execution
  ) throws -> Matrix<Float> {
    let odds = try head.logOdds(features, execution: execution)
    guard let row = odds.firstNonFinite?.row else { return odds }
    throw overflow(features, row: row, file: file, key: key)
  }

  /// Checks predictions of a stored head.
  ///
  /// - Throws: `DataError.Code.notFinite` with the row.
  static func check(
    _ predictions: Uncertainty, of features: FeatureMatrix, file: String?, key: String
  ) throws(DataError) {
    let rows = [
      predictions.logProbabilities.firstNonFinite?.row,
      predictions.columns.compactMap { $0.values.firstIndex { !$0.isFinite } }.min(),
    ]
    guard let row = rows.compactMap({ $0 }).min() else { return }
    throw overflow(features, row: row, file: file, key: key)
  }

  /// The first number of a result that is none.
  ///
  /// The result is looked through as it is written, so that a score that is added tomorrow passes here too.
  static func firstNonFinite(in result: RunResult) -> ScoresNotFinite? {
    // Options are the user's, and the bounds of a certificate are no scores.
    let others: Set = ["arguments", "notes", "data", "versions", "certificate", "seconds"]
    let faults = result.numbers.filter { !$0.value.isFinite && !others.contains($0.path[0]) }
    // The scores of splits first: the others follow from them.
    let first = ["train", "test", "splits"]
    func rank(_ fault: RunResult.Number) -> Int {
      first.firstIndex(of: fault.path[0]) ?? first.count
    }
    return faults.min { rank($0) < rank($1) }.map { path, value in
      ScoresNotFinite(
        score: path.joined(separator: "."),
        value: value.isNaN ? "NaN" : value > 0 ? "Infinity" : "-Infinity")
    }
  }

  /// The first row whose predictions are not numbers, or give its label no probability.
  private static func place(
    _ head: any Head, _ split: FeatureSplit, _ execution: Execution
  ) -> Int? {
    if let regressor = head as? any RegressionHead {
      do throws(NumericsError) {
        _ = try regressor.predict(split.features, execution: execution)
        return nil
      } catch {
        if case .notFinite(let row, _) = error { return row }
        return 0
      }
    }
    if let head = head as? any MultiLabelHead {
      guard let odds = try? head.logOdds(split.features, execution: execution),
        let predictions = try? LabelPredictions(logOdds: odds, split.labelSets)
      else { return 0 }
      return predictions.rowScores.firstIndex { !$0.nll.isFinite }
    }
    guard let classifier = head as? any ClassificationHead,
      let logs = try? classifier.logProbabilities(split.features, execution: execution)
    else { return 0 }
    let labels = split.labels
    return labels.indices.first { row in
      logs.withRow(row) { values in
        values.indices.contains { values[$0].isNaN || values[$0] == .infinity }
          || !values[Int(labels[row])].isFinite
      }
    }
  }

  /// What is wrong with a row: its largest feature is most likely the reason.
  private static func overflow(
    _ features: FeatureMatrix, row: Int, file: String?, key: String
  ) -> DataError {
    let column =
      (0..<features.columnCount).max {
        features.value(row, $0).magnitude < features.value(row, $1).magnitude
      } ?? 0
    return DataError(
      .notFinite, file: file, key: key, row: row, column: column,
      found: "the row's predictions overflow; \(features.value(row, column)) is its largest value",
      expected: "features of the size that the head was fitted to",
      advice: "remove the row or correct the value")
  }
}
