public import BllarseNumerics

/// What a fit that takes all rows at once is given.
public struct FitRequest: Sendable {
  /// The head and the values of its options.
  public let method: Method
  /// The training rows, N x D.
  public let features: FeatureMatrix
  /// A class in `0..<classCount` for each row.
  public let labels: [Int32]
  /// How often each row counts; equally when `nil`.
  public let weights: [Double]?
  /// Which rows are left out together, where folds are formed; each by itself when `nil`.
  public let groups: [Int]?
  /// K.
  public let classCount: Int
  /// The seed of everything random.
  public let seed: UInt64
  /// Whether predictions for left-out rows are to calibrate the head.
  public let calibratesOnFolds: Bool
  /// The threads to work with, and what tells it to stop.
  public let parallelism: Parallelism
}

/// How classes of different sizes count.
public enum ClassWeight: String, Sendable, CaseIterable {
  /// Every class as much as any other.
  case balanced
}

extension FitRequest {
  /// How often each row counts, with ``FitOptions/classWeight``; equally when `nil`.
  ///
  /// Balanced classes have equal sums of weights, and all rows together the sum that they had.
  public var rowWeights: [Double]? {
    guard method[FitOptions.classWeight] == .balanced else { return weights }
    let own = weights ?? [Double](repeating: 1, count: labels.count)
    var totals = [Double](repeating: 0, count: classCount)
    for (label, weight) in zip(labels, own) { totals[Int(label)] += weight }
    let share = totals.reduce(0, +) / Double(totals.count { $0 > 0 })
    return zip(labels, own).map { label, weight in
      weight > 0 ? weight * share / totals[Int(label)] : 0
    }
  }
}

/// What a fit says of itself.
struct FitInfo: Sendable {
  /// Iterations over all rows.
  var iterations = 0
  /// The evidence, or a lower bound of it, in nats, where the head has one.
  var evidence: Double?
  /// Bounds on the distance to the maximum, in nats.
  var certificate: GapCertificate?
  /// What was chosen and why, for heads that choose.
  var report: EvidenceReport?
  /// The L2 strength, where it was chosen by the evidence.
  var chosenPenalty: Double?
  /// What the user should know about the fit, in one line.
  var note: String?
}

/// Fits a head to all rows in one call: everything happens in the first epoch.
struct OnePassTrainer: HeadTrainer {
  private let configuration: RunConfiguration
  private let data: TrainingData
  private let parallelism: Parallelism
  private let fit: @Sendable (FitRequest) throws(NumericsError) -> (any Head, FitInfo)
  private var fitted: (any Head)?
  private(set) var info = FitInfo()

  var head: any Head {
    guard let fitted else { preconditionFailure("the head was asked for before the first epoch") }
    return fitted
  }

  init(
    _ configuration: RunConfiguration, _ data: TrainingData, _ parallelism: Parallelism,
    fit: @escaping @Sendable (FitRequest) throws(NumericsError) -> (any Head, FitInfo)
  ) {
    (self.configuration, self.data, self.parallelism) = (configuration, data, parallelism)
    self.fit = fit
  }

  mutating func runStep(
    _ step: Int, epoch: Int, on split: FeatureSplit
  ) throws(NumericsError) {
    let request = FitRequest(
      method: configuration.method, features: split.features, labels: split.labels,
      weights: split.weights, groups: split.groups, classCount: data.classCount,
      seed: configuration.seed, calibratesOnFolds: configuration.calibrationOrDefault != .none,
      parallelism: parallelism)
    let (head, info) = try fit(request)
    (fitted, self.info) = (head, info)
  }

  func encode(into writer: inout SafetensorsWriter) {
    // A run that was told to stop during its fit has nothing to store.
    writer.encode(iterations: info.iterations, info.evidence)
    guard let fitted else { return }
    writer.metadata["feature_count"] = String(fitted.featureCount)
    writer.metadata["class_count"] = String(fitted.classCount)
    writer.metadata["head_kind"] = type(of: fitted).kind
    fitted.encode(into: &writer)
  }

  mutating func restore(from file: SafetensorsFile) throws(DataError) {
    (info.iterations, info.evidence) = try file.progress()
    guard file.metadata["feature_count"] != nil else {
      guard info.iterations == 0 else {
        throw DataError(
          .malformedFile, file: file.path, found: "the state of a fit by an older version",
          expected: "one of this version", advice: "remove the checkpoint and start the run again")
      }
      return
    }
    // Older runs had one kind of head that is fitted so.
    let name = file.metadata["head_kind"] ?? HeadMethod.softmax.kinds[0].kind
    guard let kind = HeadRegistry.kind(named: name) else {
      throw DataError(
        .malformedFile, file: file.path, key: "metadata head_kind",
        found: "there is no head \(name.quoted())", expected: oneOf(HeadRegistry.names))
    }
    let head = try kind.init(decoding: file)
    if let reporting = head as? any ReportingHead { info = reporting.fitInfo }
    fitted = head
  }
}
