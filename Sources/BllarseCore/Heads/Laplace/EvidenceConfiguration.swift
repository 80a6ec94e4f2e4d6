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

extension EvidencePrior {
  /// Whether the precision is given.
  var isFixed: Bool { if case .fixed = self { true } else { false } }
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

/// What an evidence head is to be fitted with; `nil` leaves the choice to the rules and to the data.
public struct EvidenceConfiguration: Sendable, Equatable {
  /// The number of classes, at least 2; some may have no rows.
  public var classCount: Int
  /// The likelihood: by default softmax, and for two classes probit, with logistic beside it where rows
  /// are not too many.
  public var likelihood: EvidenceLikelihood?
  /// The covariance: by default by cost, see ``PosteriorKind/automatic(rowCount:columnCount:classCount:)``.
  public var posterior: PosteriorKind?
  /// Where the prior precision comes from.
  public var prior = EvidencePrior.evidence
  /// The scaling of the features: by default all are tried.
  public var scaling: FeatureScaling?
  /// Whether a temperature and a lapse are fitted to the leave-one-out predictions.
  public var calibratesOnLeaveOneOut = true
  /// The seed of the choice of rows and of the bootstrap.
  public var seed: UInt64 = 137

  /// The defaults.
  public init(classCount: Int) {
    precondition(classCount >= 2, "a head with \(classCount) classes")
    self.classCount = classCount
  }
}
