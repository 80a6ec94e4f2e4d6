import BllarseNumerics

/// Fits an evidence head: everything happens in the first epoch.
struct EvidenceTrainer: HeadTrainer {
  let configuration: RunConfiguration
  let classCount: Int
  let parallelism: Parallelism
  private(set) var fitted: EvidenceHead?
  private(set) var iterations = 0

  var head: any Head {
    guard let fitted else { preconditionFailure("the head was asked for before the first epoch") }
    return fitted
  }

  /// The logarithm of the evidence by Laplace's method, of the member with the largest weight.
  var evidenceLowerBound: Double? { leadingMember?.logEvidence }
  var certificate: GapCertificate? {
    leadingMember.map { GapCertificate(lower: 0, upper: $0.gapBound) }
  }
  var report: EvidenceReport? { fitted?.report }

  private var leadingMember: EvidenceReport.Member? {
    guard let report = fitted?.report else { return nil }
    let leader = report.candidates.max { $0.weight < $1.weight }
    return report.members.first { $0.scaling == leader?.scaling }
  }

  init(_ configuration: RunConfiguration, classCount: Int, parallelism: Parallelism) {
    self.configuration = configuration
    self.classCount = classCount
    self.parallelism = parallelism
  }

  mutating func runEpoch(_ epoch: Int, on split: FeatureSplit) throws(NumericsError) {
    guard epoch == 1 || fitted == nil else { return }
    let options = configuration.evidence
    var evidence = EvidenceConfiguration(classCount: classCount)
    evidence.likelihood = options.likelihood
    evidence.posterior = options.posterior
    evidence.prior = options.prior
    evidence.scaling = options.scaling
    evidence.calibratesOnLeaveOneOut = options.calibration != .none
    evidence.seed = configuration.seed
    let head = try EvidenceHead(
      fitting: split.features, labels: split.labels, evidence, parallelism: parallelism)
    iterations = head.report?.iterationCount ?? 0
    fitted = head
  }

  mutating func calibrate(on split: FeatureSplit) throws(NumericsError) {
    let method: HeldOutCalibration.Method
    switch configuration.evidence.calibration {
    case .none, .leaveOneOut: return
    case .validation: method = .temperature
    case .validationVector: method = .vector
    case .validationIsotonic: method = .isotonic
    }
    fitted?.calibrate(features: split.features, labels: split.labels, method)
  }
}

extension HeadTrainer {
  /// What was chosen; heads that choose nothing have no report.
  var report: EvidenceReport? { nil }

  /// Calibrates the head on held-out rows, where that was asked for.
  mutating func calibrate(on split: FeatureSplit) throws(NumericsError) {}
}

/// The trainer of a configuration.
func makeTrainer(
  _ configuration: RunConfiguration, featureCount: Int, classCount: Int, parallelism: Parallelism
) -> any HeadTrainer {
  if configuration.fitsEvidenceHead {
    return EvidenceTrainer(configuration, classCount: classCount, parallelism: parallelism)
  }
  let trainer = IBProbitTrainer(
    configuration, featureCount: featureCount, classCount: classCount, parallelism: parallelism)
  return configuration.evidence.matchesReference ? ReferenceTrainer(trainer) : trainer
}
