package import BllarseNumerics
import Glibc

/// Where the precision of the prior over the weights comes from.
public enum LaplacePrior: Sendable, Equatable {
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

extension LaplacePrior: CustomStringConvertible {
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
public struct LaplaceConfiguration: Sendable, Equatable {
  /// The number of classes, at least 2; some may have no rows.
  public var classCount: Int
  /// The likelihood.
  public var likelihood = LaplaceLikelihood.softmax
  /// The covariance; `nil` for a Kronecker product, with `evidence-per-class` for one a class.
  public var posterior: CovarianceStructure?
  /// How the softmax of random logits is integrated; the default with a probit likelihood.
  public var link = Link()
  /// Where the prior precision comes from.
  public var prior = LaplacePrior.folds
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
  var covarianceStructure: CovarianceStructure {
    // Probit columns are independent: their whole Hessian is one block a class.
    if posterior == .full, likelihood == .probit { return .block }
    return posterior ?? (prior == .evidencePerClass ? .block : .kronecker)
  }

  /// What predictions for left-out rows integrate over.
  var predictivePosterior: CovarianceStructure? { integrates ? covarianceStructure : nil }

  /// Whether a search scores with the very predictive that is kept: with others it takes the default link and the
  /// Kronecker covariance, which cost a fraction, and what it chose is scored with them at the end.
  var searchesAsItPredicts: Bool {
    link.approximation == .meanProbit && covarianceStructure != .full
  }
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

/// What a fit chose, and what it based the choice on.
public struct LaplaceReport: Sendable, Equatable, Codable {
  /// A scaling and a precision that were tried.
  public struct Candidate: Sendable, Equatable, Codable {
    /// The scaling of the features.
    public var scaling: FeatureScaling
    /// λ.
    public var priorPrecision: Double
    /// β, of the temperature that suits it.
    public var inverseTemperature: Double
    /// The negative log-likelihood of left-out rows and the temperature's penalty, in nats; less is better.
    public var score: Double

    enum CodingKeys: String, CodingKey {
      case scaling, score
      case priorPrecision = "prior_precision"
      case inverseTemperature = "inverse_temperature"
    }
  }

  /// The likelihood.
  public var likelihood: LaplaceLikelihood
  /// The covariance.
  public var posterior: CovarianceStructure
  /// How the softmax is integrated.
  public var link: LinkApproximation
  /// Where the prior precision comes from.
  public var prior: String
  /// The scaling of the features.
  public var scaling: FeatureScaling
  /// λ, for the scaled features; a geometric mean if there are many.
  public var priorPrecision: Double
  /// Whether λ is at an end of the range that was searched.
  public var priorPrecisionAtBound: Bool
  /// β.
  public var inverseTemperature: Double
  /// The logarithm of the evidence by Laplace's method, in nats, with the covariance that is kept.
  public var logEvidence: Double?
  /// How far the weights are from the optimum, where they were given; `nil` where they were fitted.
  public var distance: DistanceToOptimum?
  /// How far the optimum is at most, in nats.
  public var gapBound: Double
  /// The rows that the scaling was chosen on, where these were not all.
  public var scalingRowCount: Int?
  /// Folds that were left out in turn.
  public var foldCount: Int
  /// What was tried.
  public var candidates: [Candidate]
  /// The scores to expect on new rows; `nil` where no row could be left out.
  ///
  /// A result has them at its top.
  public var estimate: EstimatedScores?
  /// Why it was chosen, in sentences.
  public var reasons: [String]
  /// Optimisations.
  public var fitCount: Int
  /// Conjugate-gradient iterations over all of them; each reads the features twice.
  public var iterationCount: Int

  enum CodingKeys: String, CodingKey {
    case likelihood, posterior, link, prior, scaling, candidates, reasons, distance
    case priorPrecision = "prior_precision"
    case priorPrecisionAtBound = "prior_precision_at_bound"
    case inverseTemperature = "inverse_temperature"
    case logEvidence = "log_evidence"
    case gapBound = "gap_bound"
    case scalingRowCount = "scaling_rows"
    case foldCount = "folds"
    case fitCount = "fits"
    case iterationCount = "iterations"
  }
}

/// How far given weights are from the optimum under the prior: Laplace's method assumes that they are at it.
public struct DistanceToOptimum: Sendable, Equatable, Codable {
  /// The Euclidean norm of the gradient of the log posterior.
  public var gradientNorm: Double
  /// `½·gᵀΛ⁻¹g`, in nats: what a Newton step would gain.
  public var newtonDecrement: Double
  /// `√(gᵀΛ⁻¹g / γ)`: the length of that step in standard deviations of the posterior, for each parameter that the rows
  /// determine.
  public var deviations: Double
  /// γ, the number of parameters that the rows determine: `Σ e / (e + λ)` over the eigenvalues of the Hessian.
  public var effectiveParameterCount: Double

  enum CodingKeys: String, CodingKey {
    case gradientNorm = "gradient_norm"
    case newtonDecrement = "newton_decrement"
    case deviations
    case effectiveParameterCount = "effective_parameters"
  }
}

extension LaplaceReport {
  /// Puts what a recipe found into words.
  init<Pass: LaplacePass>(
    _ configuration: LaplaceConfiguration, _ outcome: LaplaceRecipe<Pass>.Outcome,
    _ solution: ConcaveSolver<Pass>.Solution, _ covariance: PosteriorCovariance<Pass.Scalar>,
    logEvidence: Double?
  ) {
    likelihood = Pass.likelihood
    posterior = covariance.structure
    link = configuration.link.approximation
    distance = nil
    prior = configuration.prior.description
    scaling = outcome.scaled.transform.scaling
    let best = outcome.best.map { outcome.candidates[$0] }
    priorPrecision = best?.precision ?? outcome.prior[0, 0]
    priorPrecisionAtBound = outcome.isAtBound
    inverseTemperature = best?.inverseTemperature ?? 1
    self.logEvidence = logEvidence
    gapBound = solution.gapBound
    scalingRowCount = outcome.scalingRowCount
    foldCount = outcome.leftOut.folds.count
    candidates = outcome.candidates.map {
      Candidate(
        scaling: $0.scaling, priorPrecision: $0.precision,
        inverseTemperature: $0.inverseTemperature, score: $0.score)
    }
    fitCount = outcome.fitCount + 1
    iterationCount = outcome.iterationCount + solution.iterations
    reasons = []
    let folds = "\(foldCount) of \(RecipeConstants.foldCount) folds"
    if outcome.best == nil {
      reasons.append(
        "no row can be left out and predicted: the prior precision is 1, and there is no temperature"
      )
      return
    }
    reasons.append(
      configuration.scaling != nil
        ? "scaling \(scaling.rawValue), as asked for"
        : "scaling \(scaling.rawValue): "
          + (scaling == .standard
            ? "no other predicts left-out rows plainly better"
            : "predicts left-out rows plainly better than \(FeatureScaling.standard.rawValue)")
          + (scalingRowCount.map { ", of a part of \($0) rows" } ?? ""))
    switch configuration.prior {
    case .folds:
      reasons.append("prior precision: best log score of the rows of \(folds), left out in turn")
    case .fixed: reasons.append("prior precision \(configuration.prior), as asked for")
    default: reasons.append("prior precision: the most probable by the evidence")
    }
    if configuration.prior == .evidencePerClass, covariance.structure == .kronecker {
      reasons.append(
        "the covariance has the geometric mean of the classes' precisions: a Kronecker product has one"
      )
    }
    if !configuration.searchesAsItPredicts, configuration.prior == .folds {
      let structure = configuration.covarianceStructure
      let searched = structure == .full ? .kronecker : structure
      reasons.append(
        "scaling and precision were chosen with the link \(LinkApproximation.meanProbit.rawValue) and the "
          + "posterior \(searched.rawValue), the temperature with what predicts"
      )
    }
    if configuration.prior == .automaticRelevance {
      reasons.append(
        "the estimate is too good: all rows chose the precisions of the features")
    }
    if outcome.isAtBound {
      let range = RecipeConstants.precisionExponents
      reasons.append(
        "the prior precision is at an end of the range that is searched, 1e\(Int(range.lowerBound)) to "
          + "1e\(Int(range.upperBound)) for features of variance 1")
    }
    let lone = outcome.leftOut.rows.count - outcome.leftOut.scored.count
    if lone > 0 {
      reasons.append(
        "\(lone) \(lone == 1 ? "row" : "rows") cannot be predicted when left out: there are no others of "
          + "the class")
    }
  }
}

/// The scores to expect on new rows, from training rows that were left out of the fit.
public struct EstimatedScores: Sendable, Equatable, Codable {
  /// The number of left-out rows.
  public var rows: Int
  /// The mean negative log-likelihood, in nats.
  public var nll: Double
  /// The standard error of ``nll``: rows of one group count as one observation; `nil` for one alone.
  public var nllError: Double?
  /// The accuracy.
  public var acc: Double
  /// The expected calibration error, 20 bins of equal width.
  public var ece: Double
  /// The Brier score, in 0...2.
  public var brier: Double

  package init(
    rows: Int, nll: Double, nllError: Double?, acc: Double, ece: Double, brier: Double
  ) {
    self.rows = rows
    self.nll = nll
    self.nllError = nllError
    self.acc = acc
    self.ece = ece
    self.brier = brier
  }

  enum CodingKeys: String, CodingKey {
    case rows, nll, acc, ece, brier
    case nllError = "nll_se"
  }
}

/// Predictions of left-out rows that no fit, choice or temperature has seen.
package struct LeftOutEstimate: Sendable {
  /// N x K.
  package let logProbabilities: Matrix<Double>
  package let labels: [Int32]
  /// How often each row counts; `nil` for once.
  package let weights: [Double]?
  /// Class probabilities in place of the labels.
  package var distributions: ClassDistributions?
  /// The weighted mean of the negative log-likelihoods, in nats.
  package let nll: Double
  /// Its standard error.
  package let nllError: Double?
}

extension LaplaceRecipe.Outcome {
  /// The scores to expect, with the choices made anew without the rows that are scored.
  ///
  /// The left-out rows are divided into ten parts, groups as a whole. For each part the candidate with the least
  /// loss on the other parts is taken, with the temperature that suits these, and scored on the part. So
  /// neither a fit, nor a choice, nor a temperature has seen a row that it is scored on. Two things are not
  /// counted: where the scaling was chosen on a part of the rows, that choice; and where the logits of all candidates
  /// take too much memory, the choice of the precision.
  ///
  /// - Parameters:
  ///   - calibrates: whether a temperature is fitted.
  ///   - execution: the threads to work with.
  /// - Returns: `nil` where no row can be left out.
  func estimate(calibrates: Bool, execution: Execution) -> LeftOutEstimate? {
    guard let best, !leftOut.isEmpty else { return nil }
    let labels = leftOut.labels
    let weights = leftOut.weights
    func weight(_ row: Int) -> Double { weights?[row] ?? 1 }
    let parts = RowFolds(groups: leftOut.groups, seed: 1, count: RecipeConstants.foldCount)
    var logs = Matrix<Double>.zeros(labels.count, logits.columnCount)
    for part in 0..<parts.count {
      let inside = labels.indices.filter { parts.folds[$0] == part }
      let outside = labels.indices.filter { parts.folds[$0] != part }
      let chosen = parts.count == 1 ? best : choice(by: outside, otherwise: best)
      let source =
        chosen == best ? logits : candidates[chosen].logits.map { Matrix<Double>($0) } ?? logits
      var beta = candidates[chosen].inverseTemperature
      if calibrates, parts.count > 1 {
        beta =
          CalibrationRows(
            logits: source.gatheringRows(outside), labels: outside.map { labels[$0] },
            weights: weights.map { weights in outside.map { weights[$0] } },
            distributions: leftOut.distributions?.gatheringRows(outside),
            execution: execution
          ).optimum(from: beta, tolerance: 1e-4).inverseTemperature
      }
      let predicted = TemperedLogits(source.gatheringRows(inside), beta).logProbabilities
      for (place, row) in inside.enumerated() {
        logs.replaceBlock(row: row, column: 0, with: predicted.rows(place..<place + 1))
      }
    }
    let losses =
      leftOut.distributions?.losses(logs) ?? labels.indices.map { -logs[$0, Int(labels[$0])] }
    let total = labels.indices.reduce(0) { $0 + weight($1) }
    let nll = labels.indices.reduce(0) { $0 + weight($1) * losses[$1] } / total
    // Copies of a row are no observations of their own.
    let error = leftOut.groupedStandardError(Array(labels.indices)) { losses[$0] - nll }
    return LeftOutEstimate(
      logProbabilities: logs, labels: labels, weights: weights,
      distributions: leftOut.distributions, nll: nll,
      nllError: error.isFinite ? error / total : nil)
  }

  /// The candidate that some of the left-out rows would have chosen.
  private func choice(by places: [Int], otherwise best: Int) -> Int {
    func loss(_ index: Int) -> Double {
      places.reduce(0) { $0 + (leftOut.weights?[$1] ?? 1) * candidates[index].losses[$1] }
    }
    let eligible = candidates.indices.filter { candidates[$0].logits != nil || $0 == best }
    var leaders: [(index: Int, loss: Double)] = []  // of each scaling
    for index in eligible {
      let own = loss(index)
      if let place = leaders.firstIndex(where: {
        candidates[$0.index].scaling == candidates[index].scaling
      }) {
        if own < leaders[place].loss { leaders[place] = (index, own) }
      } else {
        leaders.append((index, own))
      }
    }
    guard var chosen = leaders.first else { return best }
    let reference = candidates[chosen.index].losses
    for leader in leaders.dropFirst() where leader.loss < chosen.loss {
      let gain = leftOut.gain(
        of: candidates[leader.index].losses, over: reference, places: places)
      if gain.isPlain { chosen = leader }
    }
    return chosen.index
  }
}
