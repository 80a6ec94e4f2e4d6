/// What one epoch of a run measured.
public struct EpochRecord: Sendable, Equatable, Codable {
  /// The epoch, counted from 1.
  public var epoch: Int
  /// The step under which metrics are logged: the epoch.
  public var step: Int
  /// The mean loss of the training rows, in nats.
  public var loss: Double
  /// The accuracy on the test split.
  public var acc: Double
  /// The mean negative log-likelihood on the test split, in nats.
  public var nll: Double
  /// The expected calibration error on the test split, 20 bins of equal width.
  public var ece: Double
  /// The evidence lower bound of the training rows, in nats, where the head has one.
  public var elbo: Double?
  /// Further numbers, by the name under which they are logged: `SPLIT_acc`, `SPLIT_nll`, `SPLIT_ece` and
  /// `SPLIT_brier` of every split.
  public var metrics: [String: Double]
  /// Seconds since the run began.
  public var seconds: Double
}

extension EpochRecord {
  /// A key of the JSON object, in which the further numbers stand beside the others.
  private struct Key: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }
  private static let names: Set = [
    "epoch", "step", "loss", "acc", "nll", "ece", "elbo", "seconds",
  ]

  /// Reads a line of `metrics.jsonl`.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: Key.self)
    func number(_ name: String) throws -> Double {
      try container.decode(Double.self, forKey: Key(stringValue: name))
    }
    epoch = try container.decode(Int.self, forKey: Key(stringValue: "epoch"))
    step = try container.decode(Int.self, forKey: Key(stringValue: "step"))
    (loss, acc) = (try number("loss"), try number("acc"))
    (nll, ece) = (try number("nll"), try number("ece"))
    elbo = try container.decodeIfPresent(Double.self, forKey: Key(stringValue: "elbo"))
    seconds = try number("seconds")
    metrics = [:]
    for key in container.allKeys where !Self.names.contains(key.stringValue) {
      metrics[key.stringValue] = try container.decode(Double.self, forKey: key)
    }
  }

  /// Writes one object, all numbers beside one another.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: Key.self)
    for (name, value) in metrics {
      try container.encode(value, forKey: Key(stringValue: name))
    }
    try container.encode(epoch, forKey: Key(stringValue: "epoch"))
    try container.encode(step, forKey: Key(stringValue: "step"))
    for (name, value) in [
      ("loss", loss), ("acc", acc), ("nll", nll), ("ece", ece), ("seconds", seconds),
    ] {
      try container.encode(value, forKey: Key(stringValue: name))
    }
    try container.encodeIfPresent(elbo, forKey: Key(stringValue: "elbo"))
  }
}

/// The four figures of a split.
public struct SplitScores: Sendable, Equatable, Codable {
  /// Accuracy.
  public var acc: Double
  /// Mean negative log-likelihood, in nats.
  public var nll: Double
  /// Expected calibration error, 20 bins of equal width.
  public var ece: Double
  /// Brier score, the sum of squares over classes (0 to 2).
  public var brier: Double

  /// The scores of predicted log-probabilities (N x K) against labels.
  init(_ evaluation: Evaluation) {
    acc = evaluation.accuracy
    nll = evaluation.nll
    ece = evaluation.ece
    brier = evaluation.brier
  }
}

/// The figures of one split of several.
public struct NamedScores: Sendable, Equatable {
  /// The split's name.
  public var split: String
  /// Its figures.
  public var scores: SplitScores
}

extension [NamedScores] {
  /// The figures by the names of their splits.
  var byName: [String: SplitScores] {
    Dictionary(uniqueKeysWithValues: map { ($0.split, $0.scores) })
  }
}

/// What a run took, in seconds.
public struct RunSeconds: Sendable, Equatable, Codable {
  /// Reading and checking the data.
  public var load = 0.0
  /// The backbone.
  public var features = 0.0
  /// Fitting the head.
  public var fit = 0.0
  /// Predicting and scoring.
  public var evaluate = 0.0
  /// From the first to the last.
  public var total = 0.0
}

/// What `result.json` holds.
public struct RunResult: Sendable, Equatable, Encodable {
  /// The figures of the training split.
  public var train: SplitScores
  /// The figures of the test split.
  public var test: SplitScores
  /// The figures of every split, in the data set's order.
  public var splits: [NamedScores]
  /// Which split is which.
  public var roles: SplitRoles
  /// The figures of every split under the backbone's own classifier, before a head is fitted, where it
  /// has one of these classes.
  public var baseline: [NamedScores]?
  /// Whether a head was fitted; otherwise all figures are those of the backbone's own classifier.
  public var hasHead = true
  /// The figures of the splits before ``calibration``, by name, where there is one.
  public var uncalibrated: [String: SplitScores]?
  /// What `--calibration` fitted to the validation split, where it was asked to.
  public var calibration: CalibrationReport?
  /// Temperatures that were fitted to parts of the test split, where that was asked for.
  public var temperatureScaling: [TemperatureScaling.Row]?
  /// Why the run failed, where it did after its head was fitted: a score that is not a number.
  ///
  /// Head and result are written to be looked at.
  public var failure: String?
  /// Where the time went.
  public var seconds: RunSeconds
  /// The threads that it took them with.
  public var threads: Int
  /// The evidence lower bound of the training rows, in nats, where the head has one; for a head whose
  /// prior comes from the evidence, Laplace's approximation to the logarithm of the evidence itself.
  public var elbo: Double?
  /// The iterations of the fit, over all batches and epochs.
  public var iterations: Int
  /// Bounds on the distance of the bound to its maximum, in nats, after a converged fit.
  public var certificate: GapCertificate?
  /// The best epoch on the validation split, where there is one.
  public var best: BestEpoch?
  /// What was chosen and why, for heads that choose.
  public var recipe: EvidenceReport?
  /// The values that were chosen where options left them to the data.
  public var chosen: ChosenSettings?
  /// More scores, calibration and uncertainty.
  public var metrics: RunMetrics?
  /// The options of the run.
  public var arguments: [String: ArgumentValue]
  /// What the user was told of the data and of the fit, a line each.
  public var notes: [String] = []
  /// A short text that tells the training rows from others, for a run with an output directory.
  public var data: String?
  /// The versions of what took part.
  public var versions: [String: String]
}

extension RunResult {
  private enum CodingKeys: String, CodingKey {
    case estimate, train, test, splits, roles, baseline, uncalibrated, calibration, seconds, threads
    case elbo, iterations, certificate, best, recipe, chosen, metrics, arguments, notes, data
    case versions, failure
    case temperatureScaling = "temperature_scaling"
  }

  /// Writes every key but `failure`, which only a failed run has; what a head does not have is `null`.
  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(recipe?.estimate, forKey: .estimate)
    try container.encode(train, forKey: .train)
    try container.encode(test, forKey: .test)
    try container.encode(splits.byName, forKey: .splits)
    try container.encode(roles, forKey: .roles)
    try container.encode(baseline?.byName, forKey: .baseline)
    try container.encode(uncalibrated, forKey: .uncalibrated)
    try container.encode(calibration, forKey: .calibration)
    try container.encode(temperatureScaling, forKey: .temperatureScaling)
    try container.encode(seconds, forKey: .seconds)
    try container.encode(threads, forKey: .threads)
    try container.encode(elbo, forKey: .elbo)
    try container.encode(iterations, forKey: .iterations)
    try container.encode(certificate, forKey: .certificate)
    try container.encode(best, forKey: .best)
    try container.encode(recipe, forKey: .recipe)
    try container.encode(chosen, forKey: .chosen)
    try container.encode(metrics, forKey: .metrics)
    try container.encode(arguments, forKey: .arguments)
    try container.encode(notes, forKey: .notes)
    try container.encode(data, forKey: .data)
    try container.encode(versions, forKey: .versions)
    try container.encodeIfPresent(failure, forKey: .failure)
  }
}
