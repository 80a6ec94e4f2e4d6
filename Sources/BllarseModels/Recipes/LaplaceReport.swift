package import BllarseNumerics
import Glibc

/// What a fit chose, and what it based the choice on.
public struct EvidenceReport: Sendable, Equatable, Codable {
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
  public var likelihood: EvidenceLikelihood
  /// The covariance.
  public var posterior: PosteriorKind
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
  /// The logarithm of the evidence by Laplace's method, in nats; of a Kronecker covariance only.
  public var logEvidence: Double?
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
    case likelihood, posterior, prior, scaling, candidates, reasons
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

extension EvidenceReport {
  /// Puts what a recipe found into words.
  init<Pass: LaplacePass>(
    _ configuration: EvidenceConfiguration, _ outcome: LaplaceRecipe<Pass>.Outcome,
    _ solution: ConcaveSolver<Pass>.Solution, _ covariance: PosteriorCovariance<Pass.Scalar>,
    logEvidence: Double?
  ) {
    likelihood = Pass.likelihood
    posterior = covariance.kind
    prior = configuration.prior.description
    scaling = outcome.scaled.scaling
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
  ///   - parallelism: the threads to work with.
  /// - Returns: `nil` where no row can be left out.
  func estimate(calibrates: Bool, parallelism: Parallelism) -> LeftOutEstimate? {
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
            parallelism: parallelism
          ).optimum(from: beta, tolerance: 1e-4).inverseTemperature
      }
      let predicted = TemperedLogits(source.gatheringRows(inside), beta).logProbabilities
      for (place, row) in inside.enumerated() {
        logs.replaceBlock(row: row, column: 0, with: predicted.rows(place..<place + 1))
      }
    }
    let losses = labels.indices.map { -logs[$0, Int(labels[$0])] }
    let total = labels.indices.reduce(0) { $0 + weight($1) }
    let nll = labels.indices.reduce(0) { $0 + weight($1) * losses[$1] } / total
    // Copies of a row are no observations of their own.
    let error = leftOut.groupedStandardError(Array(labels.indices)) { losses[$0] - nll }
    return LeftOutEstimate(
      logProbabilities: logs, labels: labels, weights: weights, nll: nll,
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
