/// What a run leaves to the data when it fits an evidence head, and what it gives.
///
/// ``calibration`` to the validation split is for every head.
public struct EvidenceOptions: Sendable, Equatable {
  /// Which rows calibrate the predictions.
  public enum Calibration: String, Sendable, Equatable, CaseIterable {
    /// None.
    case none
    /// The training rows, each predicted by a fit that leaves it out: a temperature. The default recipe
    /// only; other heads have none.
    case folds
    /// The validation split: a temperature. (The default recipe has `folds` before.)
    case validation
    /// The validation split: a factor and a shift for each class's log-probability.
    case validationVector = "validation-vector"
    /// The validation split: an isotonic regression for each class.
    case validationIsotonic = "validation-isotonic"

    /// The map that is fitted to the validation split, if any.
    public var method: HeldOutCalibration.Method? {
      switch self {
      case .none, .folds: nil
      case .validation: .temperature
      case .validationVector: .vector
      case .validationIsotonic: .isotonic
      }
    }

    /// Whether there must be a validation split.
    public var needsValidation: Bool { method != nil }
  }

  /// Where the prior precision comes from.
  public var prior = EvidencePrior.folds
  /// The covariance; a Kronecker product when `nil`.
  public var posterior: PosteriorKind?
  /// The scaling of the features; when `nil`, `columns`, unless another predicts left-out rows plainly better.
  public var scaling: FeatureScaling?
  /// Which rows calibrate the predictions.
  public var calibration = Calibration.folds
  /// Whether the run behaves as the Python original in every respect.
  public var matchesReference = false
  /// A feature file with rows that belong to none of the classes.
  public var outOfDistributionPath: String?

  /// The defaults.
  public init() {}
}

extension RunConfiguration {
  /// The likelihood of the ``EvidenceHead`` that the run fits, by the name of the head: softmax, or probit
  /// for `IBProbit` to its optimum without `--parity`; `nil` where another head is fitted.
  public var evidenceLikelihood: EvidenceLikelihood? {
    switch lossFunction {
    case HeadRegistry.softmax: .softmax
    case "IBProbit" where update == .converged && !evidence.matchesReference: .probit
    default: nil
    }
  }

  /// Whether the run fits an ``EvidenceHead``.
  public var fitsEvidenceHead: Bool { evidenceLikelihood != nil }
}
