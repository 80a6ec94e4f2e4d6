import BllarseNumerics

/// Fits an evidence head: everything happens in the first epoch.
struct EvidenceTrainer: HeadTrainer {
  let configuration: RunConfiguration
  let data: TrainingData
  let parallelism: Parallelism
  private(set) var fitted: EvidenceHead?
  private(set) var iterations = 0

  var head: any Head {
    guard let fitted else { preconditionFailure("the head was asked for before the first epoch") }
    return fitted
  }

  /// The logarithm of the evidence by Laplace's method.
  var evidenceLowerBound: Double? { fitted?.report?.logEvidence }
  var certificate: GapCertificate? {
    (fitted?.report).map { GapCertificate(lower: 0, upper: $0.gapBound) }
  }
  var report: EvidenceReport? { fitted?.report }

  init(_ configuration: RunConfiguration, data: TrainingData, parallelism: Parallelism) {
    self.configuration = configuration
    self.data = data
    self.parallelism = parallelism
  }

  mutating func runStep(
    _ step: Int, epoch: Int, on split: FeatureSplit
  ) throws(NumericsError) {
    let options = configuration.evidence
    var evidence = EvidenceConfiguration(classCount: data.classCount)
    evidence.likelihood = configuration.evidenceLikelihood ?? .softmax
    evidence.posterior = options.posterior
    evidence.prior = options.prior
    evidence.scaling = options.scaling
    evidence.calibratesOnLeftOut = options.calibration != .none
    evidence.seed = configuration.seed
    var head = try EvidenceHead(
      fitting: split.features, labels: split.labels, weights: split.weights, groups: split.groups,
      evidence, parallelism: parallelism)
    head.parallelism = parallelism.cancelled(by: nil)
    iterations = head.report?.iterationCount ?? 0
    fitted = head
  }

  func encode(into writer: inout SafetensorsWriter) {
    // A run that was told to stop during its fit has nothing to store.
    writer.encode(iterations: iterations, nil)
    guard let fitted else { return }
    writer.metadata["feature_count"] = String(fitted.featureCount)
    writer.metadata["class_count"] = String(fitted.classCount)
    fitted.encode(into: &writer)
  }

  mutating func restore(from file: SafetensorsFile) throws(DataError) {
    guard file.metadata["feature_count"] != nil else { return }
    fitted = try EvidenceHead(decoding: file)
    fitted?.parallelism = parallelism.cancelled(by: nil)
    iterations = try file.progress().iterations
  }
}

extension HeadTrainer {
  /// What was chosen; heads that choose nothing have no report.
  var report: EvidenceReport? { nil }
}
