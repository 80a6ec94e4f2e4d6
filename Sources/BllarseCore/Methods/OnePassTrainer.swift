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
  /// What was chosen and why.
  var report: EvidenceReport?
}

/// Fits a head to all rows in one call: everything happens in the first epoch.
struct OnePassTrainer: HeadTrainer {
  private let configuration: RunConfiguration
  private let data: TrainingData
  private let parallelism: Parallelism
  private let fit: @Sendable (FitRequest) throws(NumericsError) -> any Head
  private var fitted: (any Head)?
  private var info = FitInfo()

  var head: any Head {
    guard let fitted else { preconditionFailure("the head was asked for before the first epoch") }
    return fitted
  }
  var iterations: Int { info.iterations }
  var evidenceLowerBound: Double? { info.evidence }
  var certificate: GapCertificate? { info.certificate }
  var report: EvidenceReport? { info.report }

  init(
    _ configuration: RunConfiguration, _ data: TrainingData, _ parallelism: Parallelism,
    fit: @escaping @Sendable (FitRequest) throws(NumericsError) -> any Head
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
    var head = try fit(request)
    head.parallelism = parallelism.cancelled(by: nil)
    info = (head as? any ReportingHead)?.fitInfo ?? FitInfo()
    fitted = head
  }

  func encode(into writer: inout SafetensorsWriter) {
    // A run that was told to stop during its fit has nothing to store.
    writer.encode(iterations: iterations, evidenceLowerBound)
    guard let fitted else { return }
    writer.metadata["feature_count"] = String(fitted.featureCount)
    writer.metadata["class_count"] = String(fitted.classCount)
    writer.metadata["head_kind"] = type(of: fitted).kind
    fitted.encode(into: &writer)
  }

  mutating func restore(from file: SafetensorsFile) throws(DataError) {
    guard file.metadata["feature_count"] != nil else { return }
    // Older runs had one kind of head that is fitted so.
    let name = file.metadata["head_kind"] ?? HeadMethod.softmax.kinds[0].kind
    guard let kind = HeadRegistry.kind(named: name) else {
      throw DataError(
        .malformedFile, file: file.path, key: "metadata head_kind",
        found: "there is no head \(name.quoted())", expected: oneOf(HeadRegistry.names))
    }
    var head = try kind.init(decoding: file)
    head.parallelism = parallelism.cancelled(by: nil)
    (info.iterations, info.evidence) = try file.progress()
    if let reporting = head as? any ReportingHead { info = reporting.fitInfo }
    fitted = head
  }
}
