import BllarseNumerics
import Glibc

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

/// Every constant of the default fit, and where it comes from.
///
/// Sizes decide how precisely a number is computed, never what is fitted.
enum RecipeConstants {
  /// Folds that the rows are divided into.
  ///
  /// Ten is where the bias of cross-validation is small beside its variance (Kohavi, "A study of
  /// cross-validation and bootstrap for accuracy estimation and model selection", IJCAI 1995).
  static let foldCount = 10

  /// Rows that suffice to compare fits on: of the ten folds as many are left out in turn as give this
  /// many, and at least one.
  ///
  /// Differences between neighbouring precisions have a standard error of some 1e-3 nats then.
  static let leftOutRowCount = 2500

  /// Rows that suffice to choose the scaling on, a random part where there are more.
  static let scalingRowCount = 10_000
  /// Of that part a third is left out, once: more rows than ``leftOutRowCount``.
  static let scalingFoldCount = 3
  /// Classes that suffice for that: with more, the part is of rows of some classes, that each keep more of their rows.
  ///
  /// With ten rows a class where there are a hundred, the best precision of a part is decades below that of all rows.
  static let scalingClassCount = 100

  /// Standard errors by which another scaling than `columns` has to be better.
  ///
  /// The rule of one standard error of Breiman, Friedman, Olshen and Stone, "Classification and Regression Trees", 1984:
  /// differences that are smaller are noise, and standardised columns are what is expected.
  static let scalingErrors = 1.0

  /// The powers of ten between which the prior precision is searched, for features of variance 1.
  ///
  /// Below, a prior of that many standard deviations says nothing; above, a million rows say nothing.
  static let precisionExponents = -4.0...6.0
  /// The search goes half a power of ten, then whole ones, and then half a step from the best to its better neighbour.
  static let precisionStep = 1.0
  /// The search ends after so many steps without a better score.
  static let patience = 2
  /// The search ends with a score that is worse than the best by this part of it: left-out scores have one minimum along
  /// λ up to ripples of some thousandths.
  static let plainLoss = 0.01
  /// A step that improves the score by less than this part of it counts for nothing towards ``patience``: it is within
  /// the ripples.
  static let plainGain = 0.001
  /// The search begins at the power of ten where the prior outweighs what the rows say about a feature: predictions
  /// are close to the classes' frequencies there, for every scaling.
  ///
  /// - Parameters:
  ///   - classWeights: the rows of each class, or the sums of their weights.
  ///   - directionCount: J, the directions in which logits have a meaning.
  /// - Returns: `log10` of `N·(1 - Σ_k f_k²)/J`, the curvature of the log-likelihood between the logits at the
  ///   frequencies f, rounded up.
  static func firstExponent(classWeights: [Double], directionCount: Int) -> Double {
    let total = classWeights.reduce(0, +)
    let doubt = total > 0 ? classWeights.reduce(0) { $0 + $1 * (1 - $1 / total) } : 0
    let exponent = log10(max(doubt / Double(max(directionCount, 1)), 1))
    // Powers of ten are themselves, whatever rounding makes of their logarithms.
    return min((exponent - 1e-9).rounded(.up), precisionExponents.upperBound)
  }

  /// The precision of the biases, log-odds at the mean of the features: a standard deviation of 10.
  ///
  /// Gelman et al., "A weakly informative default prior distribution for logistic and other regression
  /// models", Annals of Applied Statistics 2008, give intercepts that scale.
  static let biasPrecision = 0.01

  /// The distance to an optimum, in nats a row, at which a fit of the search ends.
  ///
  /// Scores ask for an optimum, too: fits that end early are fits under a stronger prior than the one that is scored.
  static let searchTolerance = 1e-5
  /// What that distance need not be below, in nats.
  static let searchFloor = 1e-3
  /// The distance at which the final fit ends, in nats for each direction of the weights that rows can tell of.
  ///
  /// A distance of ½·t² nats a direction is t standard deviations of the posterior: a thousandth.
  static let finalTolerance = 5e-7

  /// π/4, with which a logit of variance v, a difference of two of 2v, is divided by √(1 + π/4·v).
  ///
  /// MacKay, "The evidence framework applied to classification networks", Neural Computation 1992: the
  /// logistic function of a Gaussian of variance s is close to that of its mean over √(1 + π/8·s).
  static let moderation = Double.pi / 4

  /// Numbers that left-out logits of a candidate may hold to be kept until the choice among all is made.
  static let keptLogitCount = 1 << 20
}
