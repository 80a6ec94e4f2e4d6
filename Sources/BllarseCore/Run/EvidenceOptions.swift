/// What a run leaves to the data when it fits an evidence head, and what it gives.
///
/// ``calibration`` to the validation split is for every head.
public struct EvidenceOptions: Sendable, Equatable {
  /// Which rows calibrate the predictions.
  public enum Calibration: String, Sendable, Equatable, CaseIterable {
    /// None.
    case none
    /// The training rows, each left out in turn: a temperature and a lapse. Evidence heads only; other
    /// heads have none.
    case leaveOneOut = "loo"
    /// The validation split: a temperature. (An evidence head has `loo` before.)
    case validation
    /// The validation split: a factor and a shift for each class's log-probability.
    case validationVector = "validation-vector"
    /// The validation split: an isotonic regression for each class.
    case validationIsotonic = "validation-isotonic"

    /// The map that is fitted to the validation split, if any.
    public var method: HeldOutCalibration.Method? {
      switch self {
      case .none, .leaveOneOut: nil
      case .validation: .temperature
      case .validationVector: .vector
      case .validationIsotonic: .isotonic
      }
    }

    /// Whether there must be a validation split.
    public var needsValidation: Bool { method != nil }
  }

  /// Where the prior precision comes from.
  public var prior = EvidencePrior.evidence
  /// The covariance; chosen by cost when `nil`.
  public var posterior: PosteriorKind?
  /// The likelihood; probit for two classes and softmax for more when `nil`.
  public var likelihood: EvidenceLikelihood?
  /// The scaling of the features; chosen by leave-one-out score when `nil`.
  public var scaling: FeatureScaling?
  /// Which rows calibrate the predictions.
  public var calibration = Calibration.leaveOneOut
  /// Whether the run behaves as the Python original in every respect.
  public var matchesReference = false
  /// A feature file with rows that belong to none of the classes.
  public var outOfDistributionPath: String?

  /// The defaults.
  public init() {}
}

extension RunConfiguration {
  /// Whether the run fits an ``EvidenceHead``: the probit head to its optimum, without `--parity`.
  public var fitsEvidenceHead: Bool {
    lossFunction == "IBProbit" && update == .converged && !evidence.matchesReference
  }
}
