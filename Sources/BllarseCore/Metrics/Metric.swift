import Synchronization

/// A number that runs report: its name, which values are better, its unit, what it means, and how it is
/// computed.
///
/// ``all`` lists every one. Results, `metrics.jsonl`, trackers, tables and `collect` take names, order and
/// directions from there, so a metric that is added to the list, or registered by a program that uses this
/// library, is reported like the others:
///
///     try Metric.register(
///       Metric(
///         name: "worst_class_acc", direction: .higher, unit: "share",
///         meaning: "the accuracy of the class that is predicted worst"
///       ) { ConfusionMatrix($0).recall.filter { !$0.isNaN }.min() })
public struct Metric: Sendable {
  /// Which values are better.
  public enum Direction: String, Sendable, Encodable {
    /// Large ones.
    case higher
    /// Small ones.
    case lower
  }

  /// What a metric is computed from.
  enum Source: Sendable {
    case split(@Sendable (Predictions) -> Double?)
    /// Of every split, where the classes have an order.
    case orderedSplit(@Sendable (Predictions) -> Double?)
    case test(@Sendable (Predictions) -> Double?)
    case splitTargets(@Sendable (TargetPredictions) -> Double?)
    case testTargets(@Sendable (TargetPredictions) -> Double?)
    case splitLabels(@Sendable (LabelPredictions) -> Double?)
    case testLabels(@Sendable (LabelPredictions) -> Double?)
    /// What is known by one name, of every split, whatever is predicted.
    case any(
      classes: @Sendable (Predictions) -> Double?,
      targets: (@Sendable (TargetPredictions) -> Double?)?,
      labels: @Sendable (LabelPredictions) -> Double?
    )
    case sets(@Sendable (ConformalSets.Report) -> Double)
    case detection(@Sendable (OutOfDistributionDetection) -> Double)
    /// It is computed by what it tells of: a fit, a calibration, a run.
    case fit
  }

  /// The last part of the name under which it is found: `acc` of `splits.test.acc` and of `test_acc`.
  public let name: String
  /// Which values are better; `nil` where neither large nor small ones are.
  public let direction: Direction?
  /// Its unit, in words.
  public let unit: String
  /// What it is, in a line.
  public let meaning: String
  let source: Source

  /// Describes a metric of predictions.
  ///
  /// - Parameters:
  ///   - name: letters, digits and `_`, as no other metric is called.
  ///   - direction: which values are better.
  ///   - unit: in words.
  ///   - meaning: what it is, in a line.
  ///   - everySplit: whether it is computed after every epoch for every split, beside the accuracy;
  ///     otherwise once, for the test split.
  ///   - compute: its value, or `nil` where it has none. A run whose value is not finite fails.
  public init(
    name: String, direction: Direction?, unit: String, meaning: String, everySplit: Bool = false,
    compute: @escaping @Sendable (Predictions) -> Double?
  ) {
    self.init(name, direction, unit, meaning, everySplit ? .split(compute) : .test(compute))
  }

  /// Describes a metric of predicted target values; see
  /// ``init(name:direction:unit:meaning:everySplit:compute:)``.
  public static func ofTargets(
    name: String, direction: Direction?, unit: String, meaning: String, everySplit: Bool = false,
    compute: @escaping @Sendable (TargetPredictions) -> Double?
  ) -> Metric {
    Metric(
      name, direction, unit, meaning, everySplit ? .splitTargets(compute) : .testTargets(compute))
  }

  /// Describes a metric of predicted sets of labels; see
  /// ``init(name:direction:unit:meaning:everySplit:compute:)``.
  public static func ofLabels(
    name: String, direction: Direction?, unit: String, meaning: String, everySplit: Bool = false,
    compute: @escaping @Sendable (LabelPredictions) -> Double?
  ) -> Metric {
    Metric(
      name, direction, unit, meaning, everySplit ? .splitLabels(compute) : .testLabels(compute))
  }

  private init(
    _ name: String, _ direction: Direction?, _ unit: String, _ meaning: String, _ source: Source
  ) {
    (self.name, self.direction, self.unit) = (name, direction, unit)
    (self.meaning, self.source) = (meaning, source)
  }

  /// Whether one value is better than another.
  func isBetter(_ value: Double, than other: Double) -> Bool {
    direction == .higher ? value > other : direction == .lower && value < other
  }
}

// MARK: - The list

extension Metric {
  private static let registered = Mutex<[Metric]>([])

  /// Every metric: those of this library, then those that were registered.
  public static var all: [Metric] { builtIn + registered.withLock { $0 } }

  /// Those of a task that are computed for every split, in the order of tables.
  ///
  /// - Parameters:
  ///   - task: what is predicted.
  ///   - ordered: whether those of ordered classes are among them.
  /// - Returns: a part of ``all``.
  public static func ofSplits(
    _ task: LearningTask = .classification, ordered: Bool = false
  ) -> [Metric] {
    all.filter { metric in
      switch metric.source {
      case .split: task == .classification
      case .orderedSplit: task == .classification && ordered
      case .splitTargets: task == .regression
      case .splitLabels: task == .multilabel
      case .any(_, let targets, _): task != .regression || targets != nil
      default: false
      }
    }
  }

  /// Adds a metric to ``all``, before the runs that are to report it.
  ///
  /// - Throws: `DataError.Code.outOfRange` for a name that is taken, or that trackers do not take.
  public static func register(_ metric: Metric) throws(DataError) {
    let name = metric.name
    let isPlain =
      !name.isEmpty && name.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
    let isTaken = registered.withLock { list in
      if !isPlain || (builtIn + list).contains(where: { $0.name == name }) { return true }
      list.append(metric)
      return false
    }
    guard isTaken else { return }
    throw DataError(
      .outOfRange, key: "the metric \(name.quoted())",
      found: isPlain ? "there is one of this name" : "its name has other characters",
      expected: "a new name of letters, digits and '_'")
  }

  /// The metrics of predictions by name; those of conformal sets, and of a detection, follow.
  static func values(of predictions: Predictions, everySplit: Bool) -> [String: Double] {
    values { source in
      switch source {
      case .split(let compute) where everySplit: compute(predictions)
      case .orderedSplit(let compute) where everySplit && predictions.areOrdered:
        compute(predictions)
      case .any(let compute, _, _) where everySplit: compute(predictions)
      case .test(let compute) where !everySplit: compute(predictions)
      default: nil
      }
    }
  }

  /// The metrics of predicted target values by name.
  static func values(of predictions: TargetPredictions, everySplit: Bool) -> [String: Double] {
    values { source in
      switch source {
      case .splitTargets(let compute) where everySplit: compute(predictions)
      case .any(_, let compute?, _) where everySplit: compute(predictions)
      case .testTargets(let compute) where !everySplit: compute(predictions)
      default: nil
      }
    }
  }

  /// The metrics of predicted sets of labels by name.
  static func values(of predictions: LabelPredictions, everySplit: Bool) -> [String: Double] {
    values { source in
      switch source {
      case .splitLabels(let compute) where everySplit: compute(predictions)
      case .any(_, _, let compute) where everySplit: compute(predictions)
      case .testLabels(let compute) where !everySplit: compute(predictions)
      default: nil
      }
    }
  }

  static func values(of report: ConformalSets.Report) -> [String: Double] {
    values { if case .sets(let compute) = $0 { compute(report) } else { nil } }
  }

  static func values(of detection: OutOfDistributionDetection) -> [String: Double] {
    values { if case .detection(let compute) = $0 { compute(detection) } else { nil } }
  }

  private static func values(_ compute: (Source) -> Double?) -> [String: Double] {
    Dictionary(
      uniqueKeysWithValues: all.compactMap { metric in
        compute(metric.source).map { (metric.name, $0) }
      })
  }

  private static let builtIn: [Metric] = {
    var list = [
      Metric(
        "acc", .higher, "share", "rows whose most probable class is the label",
        .split(Metrics.accuracy)),
      Metric(
        "nll", .lower, "nats",
        "mean negative log-likelihood of the labels, or of the target values",
        .any(
          classes: Metrics.negativeLogLikelihood, targets: { $0.metrics.average.nll },
          labels: { Metrics.mean($0.rowScores.map(\.nll)) })),
      Metric(
        "ece", .lower, "probability", "expected calibration error, 20 bins of equal width",
        .any(
          classes: { Metrics.calibrationError($0).expected }, targets: nil,
          labels: \.calibrationError)),
      Metric(
        "brier", .lower, "squared probability", "Brier score: the sum over classes, 0 to 2",
        .any(
          classes: Metrics.brierScore, targets: nil,
          labels: { Metrics.mean($0.rowScores.map(\.brier)) })),
      Metric(
        "hamming_loss", .lower, "share", "wrong answers, of all rows and labels",
        .splitLabels { Metrics.mean($0.rowScores.map(\.wrong)) }),
      Metric(
        "subset_acc", .higher, "share", "rows all of whose answers are right",
        .splitLabels { predictions in
          Metrics.mean(predictions.rowScores.map { $0.wrong == 0 ? 1 : 0 })
        }),
      Metric(
        "micro_f1", .higher, "share",
        "harmonic mean of precision and recall of all answers together",
        .testLabels(\.microF1)),
      Metric(
        "macro_f1", .higher, "share", "mean over labels of their `f1`",
        .testLabels { $0.macroAverage(\.f1) }),
      Metric(
        "map", .higher, "share", "mean over labels of their `average_precision`",
        .testLabels { $0.macroAverage(\.averagePrecision) }),
      Metric(
        "macro_auroc", .higher, "share", "mean over labels of their `auroc`",
        .testLabels { $0.macroAverage(\.auroc) }),
      Metric(
        "lrap", .higher, "share",
        "label ranking average precision: mean over rows of the precision at their labels",
        .testLabels(\.rankingPrecision)),
      Metric("positives", nil, "rows", "rows that have a label", .fit),
      Metric(
        "estimated_nll", .lower, "nats", "NLL of a label's answers of left-out training rows", .fit),
      Metric(
        "f1", .higher, "share", "harmonic mean of a label's precision and recall at 1/2", .fit),
      Metric(
        "average_precision", .higher, "share",
        "mean over rows with a label of the precision at their rank", .fit),
      Metric(
        "rps", .lower, "squared probability",
        "ranked probability score: the mean over thresholds of the squared error of P(y <= k), 0 to 1",
        .orderedSplit(Metrics.rankedProbabilityScore)),
      Metric(
        "class_mae", .lower, "classes",
        "mean distance of the predicted median class from the label",
        .orderedSplit(Metrics.medianClassError)),
      Metric(
        "mean_confidence", nil, "probability", "mean of the highest probability of a row",
        .test { Metrics.mean($0.rows.lazy.map { $0.confidence }) }),
      Metric(
        "balanced_acc", .higher, "share", "accuracy in which every class weighs the same",
        .test { ConfusionMatrix($0).balancedAccuracy }),
    ]
    list += [
      Metric(
        "crps", .lower, "target's",
        "continuous ranked probability score, the mean over target values",
        .splitTargets { $0.metrics.average.crps }),
      Metric(
        "rmse", .lower, "target's", "root of the mean squared error",
        .splitTargets { $0.metrics.average.rmse }),
      Metric(
        "mae", .lower, "target's", "mean absolute error", .splitTargets { $0.metrics.average.mae }),
      Metric(
        "r2", .higher, "share", "share of the targets' variance that is predicted",
        .splitTargets { $0.metrics.average.r2 }),
      Metric(
        "pit_error", .lower, "share",
        "mean deviation from uniform of 20 bins of the probability integral transform",
        .testTargets { $0.metrics.average.pitError }),
      Metric(
        "pit_distance", .lower, "probability",
        "largest distance of that transform's distribution from a uniform one (Kolmogorov-Smirnov)",
        .testTargets { $0.metrics.average.pitDistance }),
    ]
    list += [2, 3, 5].map { k in
      Metric(
        "top_\(k)_acc", .higher, "share",
        "rows whose label is among the \(k) most probable of more classes",
        .test { k < $0.classCount ? Metrics.topKAccuracy($0, k: k) : nil })
    }
    for bins in [15, 20] {
      list += [
        Metric(
          "ece_equal_width_\(bins)", .lower, "probability",
          "expected calibration error, \(bins) bins of equal width",
          .test { Metrics.calibrationError($0, binCount: bins).expected }),
        Metric(
          "mce_equal_width_\(bins)", .lower, "probability",
          "largest calibration error of \(bins) bins of equal width",
          .test { Metrics.calibrationError($0, binCount: bins).maximum }),
        Metric(
          "rmsce_equal_width_\(bins)", .lower, "probability",
          "root of the mean squared calibration error of \(bins) bins of equal width",
          .test { Metrics.calibrationError($0, binCount: bins).rootMeanSquare }),
      ]
    }
    return list + [
      Metric(
        "ece_equal_mass_20", .lower, "probability",
        "expected calibration error, 20 bins of equally many rows",
        .test { Metrics.equalMassCalibrationError($0, binCount: 20).expected }),
      Metric(
        "ece_classwise_20", .lower, "probability",
        "calibration error of each class's probability, 20 bins, the mean over classes",
        .test { predictions in
          // Labels were matched to their rows when the predictions were made.
          try? Metrics.classwiseCalibrationError(
            probabilities: predictions.probabilities, labels: predictions.rows.map(\.label)
          ).expected
        }),
      Metric(
        "ks_calibration_error", .lower, "probability",
        "calibration error without bins (Kolmogorov-Smirnov)",
        .test(Metrics.kolmogorovSmirnovCalibrationError)),
      Metric(
        "aurc", .lower, "share", "area under the risk-coverage curve",
        .test { Metrics.selectiveRisk($0).areaUnderRiskCoverage }),
      Metric(
        "e_aurc", .lower, "share", "that area in excess of the best order of these predictions",
        .test { Metrics.selectiveRisk($0).excess }),
      Metric(
        "coverage", nil, "share",
        "rows whose set holds the label, or whose interval holds the target value; aims at its level",
        .sets { $0.coverage }),
      Metric(
        "mean_size", .lower, "classes", "mean number of classes in a set", .sets { $0.meanSize }),
      Metric("empty_share", .lower, "share", "rows whose set is empty", .sets { $0.emptyShare }),
      Metric("mean_width", .lower, "target's", "mean width of intervals for target values", .fit),
      Metric(
        "interval_score", .lower, "target's",
        "mean width of intervals, and 2 / (1 - level) times how far target values lie outside", .fit
      ),
      Metric("threshold", nil, "probability", "largest score of a class in a set", .fit),
      Metric(
        "auroc", .higher, "share", "area under the receiver operating characteristic",
        .detection { $0.auroc }),
      Metric(
        "fpr95", .lower, "share",
        "in-distribution rows above the threshold that 95 % of the others reach",
        .detection { $0.falsePositiveRateAt95 }),
      Metric(
        "aupr_out", .higher, "share", "average precision, out-of-distribution rows positive",
        .detection { $0.auprOut }),
      Metric(
        "loss", .lower, "nats", "mean loss of the training rows, of what the fit minimises", .fit),
      Metric(
        "elbo", .higher, "nats", "evidence lower bound, or Laplace's log evidence, of all rows",
        .fit),
      Metric("log_evidence", .higher, "nats", "log evidence by Laplace's method", .fit),
      Metric("certificate", .lower, "nats", "bounds on the distance to the bound's maximum", .fit),
      Metric("gap_bound", .lower, "nats", "largest distance to the optimum", .fit),
      Metric("iterations", .lower, "iterations", "iterations of the fit over all epochs", .fit),
      Metric("nll_se", .lower, "nats", "standard error of the estimated NLL", .fit),
      Metric(
        "requested", .lower, "nats", "NLL of left-out rows under the calibration asked for", .fit),
      Metric("difference_se", .lower, "nats", "standard error of its difference", .fit),
      Metric("parameters", nil, "numbers", "how many numbers a calibration fitted", .fit),
      Metric("noise_precision", nil, "1 / target²", "precision of the noise of a target", .fit),
      Metric("prior_precision", nil, "1 / weight²", "prior precision of scaled features", .fit),
      Metric("l2", nil, "nats / weight²", "L2 strength with the best evidence", .fit),
      Metric("temperature", nil, "1", "temperature of the logits", .fit),
      Metric("inverse_temperature", nil, "1", "factor of the logits", .fit),
      Metric("seconds", .lower, "s", "time that a part of the run took", .fit),
      Metric("peak_bytes", .lower, "bytes", "the most memory that the run's process had", .fit),
    ]
  }()
}
