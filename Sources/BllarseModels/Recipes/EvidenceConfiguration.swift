import BllarseNumerics

/// Where the precision of the prior over the weights comes from.
public enum EvidencePrior: Sendable, Equatable {
  /// One precision for all weights, by the log score of rows that are left out in folds.
  case folds
  /// One precision for all weights, which maximises the evidence.
  case evidence
  /// One for each class's weights, by MacKay's fixed point.
  case evidencePerClass
  /// One for each feature, shared by the classes, by MacKay's fixed point (automatic relevance).
  case automaticRelevance
  /// A given precision, in units of the scaled features.
  case fixed(Double)

  /// The name that the command line knows it by, or its number.
  public init?(_ text: String) {
    switch text {
    case "folds": self = .folds
    case "evidence": self = .evidence
    case "evidence-per-class": self = .evidencePerClass
    case "ard": self = .automaticRelevance
    default:
      guard let value = Double(text), value > 0, value.isFinite else { return nil }
      self = .fixed(value)
    }
  }
}

extension EvidencePrior: CustomStringConvertible {
  /// The name or number.
  public var description: String {
    switch self {
    case .folds: "folds"
    case .evidence: "evidence"
    case .evidencePerClass: "evidence-per-class"
    case .automaticRelevance: "ard"
    case .fixed(let value): String(value)
    }
  }
}

/// What a Laplace head is to be fitted with; `nil` leaves the choice to the data.
public struct EvidenceConfiguration: Sendable, Equatable {
  /// The number of classes, at least 2; some may have no rows.
  public var classCount: Int
  /// The likelihood.
  public var likelihood = EvidenceLikelihood.softmax
  /// The covariance; `nil` for a Kronecker product, with `evidence-per-class` for one a class.
  public var posterior: PosteriorKind?
  /// Where the prior precision comes from.
  public var prior = EvidencePrior.folds
  /// The scaling of the features; `nil` for `columns`, unless another predicts left-out rows plainly better.
  public var scaling: FeatureScaling?
  /// Whether a temperature is fitted to the predictions for left-out rows.
  public var calibratesOnLeftOut = true
  /// Whether the logits' uncertainty is integrated out of the predictions that choices are made by.
  var integrates = true
  /// The seed of the folds.
  public var seed: UInt64 = 137

  /// The defaults.
  public init(classCount: Int) {
    precondition(classCount >= 2, "a head with \(classCount) classes")
    self.classCount = classCount
  }

  /// The scalings that are tried, the standard first.
  var scalings: [FeatureScaling] { scaling.map { [$0] } ?? FeatureScaling.allCases }

  /// The covariance.
  var posteriorKind: PosteriorKind {
    posterior ?? (prior == .evidencePerClass ? .laplace : .kronecker)
  }

  /// What predictions for left-out rows integrate over.
  var predictivePosterior: PosteriorKind? { integrates ? posteriorKind : nil }
}
