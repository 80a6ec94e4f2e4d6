import BllarseNumerics

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The choices behind an evidence head: scalings, predictive distributions, their calibration and their
/// weights.
struct EvidenceRecipe<Scalar: BLASScalar> {
  let features: FeatureMatrix
  let labels: [Int32]
  let configuration: EvidenceConfiguration
  let parallelism: Parallelism

  /// A predictive distribution of a fit, with its leave-one-out score.
  struct Candidate: Sendable {
    let member: Int
    let kind: PredictiveKind
    let calibration: LapsedTemperature
    /// Nats; less is better.
    let score: Double
    /// Leave-one-out log-probabilities before calibration, n x K.
    let logits: Matrix<Double>
    /// Calibrated leave-one-out log densities of the rows whose class has another row, given that it has.
    let logDensities: [Double]
    /// What the weight is multiplied by beforehand, as a logarithm.
    var logPrior = 0.0
    var weight = 0.0
  }

  /// What a round of fits found.
  struct Outcome: Sendable {
    var members: [ScalingFit<Scalar>]
    var candidates: [Candidate]
    /// The rows under the scaling of the best candidate, as long as they may be needed again.
    var bestDesign: ScaledDesign<Scalar>?
    var screeningRowCount: Int?
    var fitCount: Int
    var iterationCount: Int

    /// The candidate with the best score.
    var best: Candidate? { candidates.min { $0.score < $1.score } }
  }

  /// What an option less preferred must be better by, in nats, to be preferred.
  static var handicap: Double { 2 }

  var classCount: Int { configuration.classCount }
  var likelihood: EvidenceLikelihood {
    configuration.likelihood ?? .automatic(classCount: classCount)
  }

  /// How often each class occurs.
  var counts: [Int] {
    var counts = [Int](repeating: 0, count: classCount)
    for label in labels { counts[Int(label)] += 1 }
    return counts
  }

  /// The classes' frequencies, with half a row added to each.
  var frequencies: [Double] {
    let total = Double(labels.count) + 0.5 * Double(classCount)
    return counts.map { (Double($0) + 0.5) / total }
  }

  /// The number of rows that the scaling is chosen on when there are many more.
  private var screeningRowCount: Int { max(2000, 6 * features.columnCount) }

  /// The scalings that are tried.
  ///
  /// A precision for each feature where features outnumber rows is found through scalings of columns only.
  private var defaultScalings: [FeatureScaling] {
    let all = FeatureScaling.candidates(featureCount: features.columnCount)
    return configuration.prior == .automaticRelevance && features.columnCount > features.rowCount
      ? all.filter { $0 != .rows } : all
  }

  /// Goes through all choices.
  ///
  /// With many rows the scaling is chosen on some of them, and one predictive distribution is taken; with
  /// few, all scalings are fitted to all rows, the best of them in other ways as well, and the
  /// distributions are averaged.
  func run() throws(NumericsError) -> Outcome {
    let scalings = configuration.scaling.map { [$0] } ?? defaultScalings
    guard Double(labels.count) > 1.25 * Double(screeningRowCount) else {
      var outcome = try round(scalings)
      try addAlternatives(to: &outcome)
      let weights = weights(outcome.candidates)
      for (index, weight) in weights.enumerated() { outcome.candidates[index].weight = weight }
      return outcome
    }
    var (chosen, start, warm) = (scalings[0], 1.0, Matrix<Double>?.none)
    var (fits, iterations, screened) = (0, 0, Int?.none)
    if scalings.count > 1 {
      var generator = Philox(seed: configuration.seed, purpose: .permutation, index: 0)
      let rows = Array(generator.permutation(count: labels.count).prefix(screeningRowCount))
      let some = EvidenceRecipe(
        features: features.gatheringRows(rows), labels: rows.map { labels[$0] },
        configuration: configuration, parallelism: parallelism)
      let outcome = try some.round(scalings)
      fits = outcome.fitCount
      iterations = outcome.iterationCount
      screened = rows.count
      if let best = outcome.best {
        let member = outcome.members[best.member]
        chosen = member.scaling
        start = log10(member.priorPrecision)
        warm = member.rotation == nil ? member.weights : nil
      }
    }
    var outcome = try round([chosen], from: start, warmWeights: warm)
    outcome.screeningRowCount = screened
    outcome.fitCount += fits
    outcome.iterationCount += iterations
    if let best = outcome.candidates.indices.min(by: {
      outcome.candidates[$0].score < outcome.candidates[$1].score
    }) {
      outcome.candidates[best].weight = 1
    }
    return outcome
  }

  // MARK: - A round

  /// Fits to all rows under each scaling, and scores the predictive distributions.
  func round(
    _ scalings: [FeatureScaling], from start: Double = 1, warmWeights: Matrix<Double>? = nil
  ) throws(NumericsError) -> Outcome {
    var outcome = Outcome(members: [], candidates: [], fitCount: 0, iterationCount: 0)
    var exponent = start
    for scaling in scalings {
      let (fit, design) = try fit(scaling, from: exponent, warmWeights: warmWeights)
      exponent = log10(fit.priorPrecision)
      add(fit, to: &outcome)
      if outcome.best?.member == outcome.members.count - 1 { outcome.bestDesign = design }
    }
    return outcome
  }

  /// The weights of candidates in an average.
  func weights(_ candidates: [Candidate]) -> [Double] {
    PredictivePool.weights(
      candidates.map(\.logDensities), logPriors: candidates.map(\.logPrior),
      seed: configuration.seed)
  }

  /// Adds a fit and its predictive distributions.
  func add(_ fit: ScalingFit<Scalar>, logPrior: Double = 0, to outcome: inout Outcome) {
    outcome.candidates += score(fit, member: outcome.members.count).map { candidate in
      var candidate = candidate
      candidate.logPrior = logPrior
      return candidate
    }
    outcome.members.append(fit)
    outcome.fitCount += fit.fitCount
    outcome.iterationCount += fit.iterationCount
  }

  private func fit(
    _ scaling: FeatureScaling, from start: Double, warmWeights: Matrix<Double>?
  ) throws(NumericsError) -> (ScalingFit<Scalar>, ScaledDesign<Scalar>?) {
    let tellsFeaturesApart = configuration.prior == .automaticRelevance
    if tellsFeaturesApart && features.columnCount > features.rowCount && scaling != .rows {
      return (try fitRelevances(scaling, from: start), nil)
    }
    let scaled = try ScaledDesign<Scalar>(
      features, scaling, allowsRotation: !tellsFeaturesApart, parallelism: parallelism)
    let fit = try fit(scaled, likelihood, configuration, from: start, warmWeights: warmWeights)
    return (fit, scaled)
  }

  /// Fits the likelihood to scaled rows.
  func fit(
    _ scaled: ScaledDesign<Scalar>, _ likelihood: EvidenceLikelihood,
    _ configuration: EvidenceConfiguration, from start: Double, warmWeights: Matrix<Double>?
  ) throws(NumericsError) -> ScalingFit<Scalar> {
    switch likelihood {
    case .softmax:
      let pass = SoftmaxPass(
        design: scaled.design, labels: labels, classCount: classCount, parallelism: parallelism)
      return try ScalingFitter(
        pass: pass, scaled: scaled, configuration: configuration, parallelism: parallelism
      ).fit(from: start, warmWeights: warmWeights)
    case .probit:
      // Two classes are one column, whose sign is that of class 1.
      let isBinary = classCount == 2
      let pass = ProbitPass(
        design: scaled.design, labels: isBinary ? labels.map { $0 == 1 ? 0 : -1 } : labels,
        classCount: isBinary ? 1 : classCount, parallelism: parallelism)
      return try ScalingFitter(
        pass: pass, scaled: scaled, configuration: configuration, parallelism: parallelism
      ).fit(from: start, warmWeights: warmWeights)
    }
  }

  /// Calibrates and scores the predictive distributions of a fit.
  private func score(_ fit: ScalingFit<Scalar>, member: Int) -> [Candidate] {
    let likelihood = fit.likelihood
    let looLabels = fit.looRows.map { $0.map { labels[$0] } } ?? labels
    let known = KnownClasses(looLabels, counts: counts)
    return PredictiveKind.candidates(likelihood, classCount: classCount).map { kind in
      let logits = kind.logProbabilities(
        likelihood, means: fit.leaveOneOut.means, variances: fit.leaveOneOut.variances)
      let rows = known.restricted(logits)
      let frequencies = known.restricted(frequencies)
      var (calibration, objective) = (LapsedTemperature.identity, Double?.none)
      if configuration.calibratesOnLeaveOneOut, known.tellApart {
        let fitted = LapsedTemperatureFit(
          logits: rows, labels: known.labels, frequencies: frequencies, parallelism: parallelism)
        (calibration, objective) = (fitted.calibration, fitted.objective)
      }
      let logs = calibration.apply(to: rows, frequencies: frequencies)
      let densities = known.labels.indices.map { logs[$0, Int(known.labels[$0])] }
      return Candidate(
        member: member, kind: kind, calibration: calibration,
        score: (objective ?? -densities.reduce(0, +)) + (kind.isPlugIn ? Self.handicap : 0)
          + (fit.scaling == .columns ? 0 : Self.handicap),
        logits: logits, logDensities: densities)
    }
  }
}
