import BllarseNumerics
import Glibc

/// The choices of a fit by what predicts left-out rows best: the scaling of the features, the precision
/// of the prior, and one temperature.
///
/// A candidate is a scaling and a precision; its score is the negative log-likelihood of rows that were left out
/// of its fits, after the temperature that suits them. The best is taken, the first of equals; of another scaling than
/// `columns` only if it is better by a standard error of the difference.
struct LaplaceRecipe<Pass: LaplacePass> {
  typealias Scalar = Pass.Scalar
  let features: FeatureMatrix
  let labels: [Int32]
  let weights: [Double]?
  /// Class probabilities in place of the labels, which are their most probable classes; softmax only.
  var distributions: ClassDistributions?
  /// The division of the rows.
  let division: RowFolds
  let configuration: LaplaceConfiguration
  let execution: Execution

  /// A scaling and a prior, with what they predict for left-out rows.
  struct Candidate: Sendable {
    let scaling: FeatureScaling
    let precision: Double
    /// β, of the temperature.
    let inverseTemperature: Double
    /// Nats, with those of the temperature's prior; less is better.
    var score: Double
    /// The negative log-likelihood of each row.
    let losses: [Double]
    /// Log-probabilities up to a constant, n x K; `nil` where they take too much memory.
    var logits: Matrix<Float>?

    /// `log10 λ`, of the half steps that a search goes in.
    var exponent: Double { 0.5 * (2 * log10(precision)).rounded() }
  }

  /// What was found.
  struct Outcome {
    var scaled: ScaledDesign<Scalar>
    var prior: Matrix<Double>
    /// Where the fit to all rows may begin.
    var weights: Matrix<Double>?
    var candidates: [Candidate]
    /// The best of them; `nil` where no row can be left out.
    var best: Int?
    var leftOut: LeftOutRows
    /// Log-probabilities of the best for left-out rows, up to a constant; none until it is scored to the end.
    var logits: Matrix<Double>
    /// The rows that the scaling was chosen on, where these were not all.
    var scalingRowCount: Int?
    var isAtBound = false
    var fitCount = 0
    var iterationCount = 0
    /// The fits of the search, from which further ones start.
    fileprivate var folds: FoldedFits<Pass>?

    /// The candidates of a candidate's scaling with the next smaller and the next larger precision; one where there are
    /// none on the other side.
    fileprivate func neighbours(of candidate: Candidate) -> [Candidate] {
      let others = candidates.filter { $0.scaling == candidate.scaling }
      let below = others.filter { $0.exponent < candidate.exponent }
        .max { $0.exponent < $1.exponent }
      let above = others.filter { $0.exponent > candidate.exponent }
        .min { $0.exponent < $1.exponent }
      return [below, above].compactMap(\.self)
    }
  }

  private var classCount: Int { configuration.classCount }

  /// Goes through all choices: the scaling and a rough precision, then the precision more closely.
  func run() throws(NumericsError) -> Outcome {
    var outcome = try chooseScaling()
    if outcome.folds != nil { try refine(&outcome) }
    return outcome
  }

  private func chooseScaling() throws(NumericsError) -> Outcome {
    let scalings = configuration.scalings
    guard scalings.count > 1 else { return try search(scalings[0]) }
    let sample = scalingRows
    guard sample.count < labels.count else {
      return try best(of: scalings)
    }
    let screened = try part(sample).best(of: scalings)
    // From the top: with many classes the best precision of a part is decades below that of all rows.
    var outcome = try search(screened.scaled.transform.scaling)
    outcome.scalingRowCount = sample.count
    outcome.fitCount += screened.fitCount
    outcome.iterationCount += screened.iterationCount
    return outcome
  }

  /// Rows that suffice to choose the scaling on: whole groups of some classes.
  private var scalingRows: [Int] {
    let count = RecipeConstants.scalingRowCount
    var sizes = [Int](repeating: 0, count: classCount)
    for label in labels { sizes[Int(label)] += 1 }
    // Rows of class probabilities may be of any class.
    guard labels.count >= 2 * count, classCount > RecipeConstants.scalingClassCount,
      distributions == nil
    else {
      return division.sample(count, seed: configuration.seed)
    }
    // As many classes as suffice, and as hold the rows.
    var generator = Philox(seed: configuration.seed, purpose: .permutation, index: 1)
    var isKept = [Bool](repeating: false, count: classCount)
    var (classes, rows) = (0, 0)
    for label in generator.permutation(count: classCount) where sizes[label] > 0 {
      guard classes < RecipeConstants.scalingClassCount || rows < count else { break }
      isKept[label] = true
      classes += 1
      rows += sizes[label]
    }
    let kept = labels.indices.filter { isKept[Int(labels[$0])] }
    let some = RowFolds(
      groups: kept.map { division.groups[$0] }, seed: configuration.seed,
      count: RecipeConstants.foldCount)
    return some.sample(count, seed: configuration.seed).map { kept[$0] }
  }

  /// The problem of some rows and the classes that they have.
  private func part(_ rows: [Int]) -> LaplaceRecipe {
    let distributions = distributions?.gatheringRows(rows)
    let totals = distributions?.classTotals(weights: nil)
    let classes =
      totals.map { totals in totals.indices.filter { totals[$0] > 0 }.map { Int32($0) } }
      ?? Set(rows.map { labels[$0] }).sorted()
    let places = Dictionary(uniqueKeysWithValues: classes.enumerated().map { ($1, Int32($0)) })
    var configuration = configuration
    configuration.classCount = max(classes.count, 2)
    return LaplaceRecipe(
      features: features.gatheringRows(rows), labels: rows.map { places[labels[$0]] ?? 0 },
      weights: weights.map { weights in rows.map { weights[$0] } },
      distributions: distributions?.classes(classes.map { Int($0) }),
      division: RowFolds(
        groups: rows.map { division.groups[$0] }, seed: configuration.seed,
        count: RecipeConstants.scalingFoldCount),
      configuration: configuration, execution: execution)
  }

  /// The best under the first scaling, unless one under another is plainly better, by its standard error.
  private func best(of scalings: [FeatureScaling]) throws(NumericsError) -> Outcome {
    var result = try search(scalings[0])
    let reference = result.best.map { result.candidates[$0] }
    for scaling in scalings.dropFirst() {
      // Scaled features have variance 1 on average, so the best precisions are neighbours.
      var found = try search(
        scaling, from: result.best.map { result.candidates[$0].exponent })
      let candidates = result.candidates + found.candidates
      let (fitCount, iterationCount) = (
        result.fitCount + found.fitCount, result.iterationCount + found.iterationCount
      )
      if let reference, let known = result.best, let new = found.best,
        found.candidates[new].score < result.candidates[known].score,
        found.leftOut.gain(of: found.candidates[new].losses, over: reference.losses).isPlain
      {
        found.best = result.candidates.count + new
        result = found
      }
      result.candidates = candidates
      (result.fitCount, result.iterationCount) = (fitCount, iterationCount)
    }
    return result
  }

  // MARK: - One scaling

  /// The problem with all rows under a scaling.
  func problem(_ scaled: ScaledDesign<Scalar>) -> LaplaceProblem<Pass> {
    let pass = Pass.make(
      scaled.design, labels: labels, classCount: classCount, weights: weights,
      execution: execution)
    return LaplaceProblem(
      pass: pass, gram: scaled.gram, linearTerm: distributions.map { pass.linearTerm($0) })
  }

  /// Chooses the prior under a scaling.
  ///
  /// - Parameters:
  ///   - scaling: of the features.
  ///   - start: `log10 λ` where a search of the precision begins; where prior and rows weigh the same when `nil`.
  /// - Returns: the prior, and what it predicts for left-out rows.
  /// - Throws: `NumericsError` when rounding makes a precision indefinite, or when told to stop.
  private func search(
    _ scaling: FeatureScaling, from start: Double? = nil
  ) throws(NumericsError) -> Outcome {
    let leftOut = LeftOutRows(
      division, labels: labels, weights: weights, classCount: classCount,
      distributions: distributions)
    switch configuration.prior {
    case .folds:
      let scaled = try scaled(scaling)
      return try searchPath(scaled, leftOut, from: start)
    case .fixed(let precision):
      let scaled = try scaled(scaling)
      return try score(scaled, problem(scaled).prior(precision), nil, leftOut)
    case .evidence:
      let scaled = try scaled(scaling)
      let found = try EvidenceChoice(
        problem: problem(scaled), structure: configuration.covarianceStructure
      ).precision()
      return try score(
        scaled, problem(scaled).prior(found.precision), found.weights, leftOut,
        isAtBound: found.end != nil)
    case .evidencePerClass:
      let scaled = try scaled(scaling)
      let found = try EvidenceChoice(problem: problem(scaled)).precisionsOfClasses()
      return try score(scaled, found.prior, found.weights, leftOut)
    case .automaticRelevance:
      let found = try RelevanceChoice(recipe: self).choose(scaling)
      return try score(
        found.scaled, problem(found.scaled).prior(found.precision), nil, leftOut)
    }
  }

  /// The rows under a scaling.
  func scaled(
    _ scaling: FeatureScaling, relevances: [Double]? = nil
  ) throws(NumericsError) -> ScaledDesign<Scalar> {
    try ScaledDesign(
      features, scaling, weights: weights, relevances: relevances, execution: execution)
  }

  private func folds(
    _ scaled: ScaledDesign<Scalar>, _ leftOut: LeftOutRows
  ) throws(NumericsError) -> FoldedFits<Pass> {
    try FoldedFits(
      problem(scaled), leftOut: leftOut.folds, posterior: configuration.predictivePosterior,
      link: configuration.link, classCount: classCount, distributions: distributions
    ) { design, order, held, inner in
      var kept = order.map { weights?[$0] ?? 1 }
      for place in held { kept[place] = 0 }
      return Pass.make(
        design, labels: order.map { labels[$0] }, classCount: classCount, weights: kept,
        execution: inner)
    }
  }

  /// What one prior predicts for left-out rows.
  private func score(
    _ scaled: ScaledDesign<Scalar>, _ prior: Matrix<Double>, _ weights: Matrix<Double>?,
    _ leftOut: LeftOutRows, isAtBound: Bool = false
  ) throws(NumericsError) -> Outcome {
    var outcome = Outcome(
      scaled: scaled, prior: prior, weights: weights, candidates: [], best: nil, leftOut: leftOut,
      logits: .zeros(0, classCount), isAtBound: isAtBound)
    guard !leftOut.isEmpty else { return outcome }
    let folds = try folds(scaled, leftOut)
    outcome.logits = leftOut.restricted(try folds.logits(prior, isExact: true))
    outcome.candidates = [
      candidate(
        scaled.transform.scaling, problem(scaled).geometricMean(prior), outcome.logits, leftOut,
        keepsLogits: false)
    ]
    outcome.best = 0
    outcome.weights = weights ?? folds.firstWeights
    outcome.fitCount = folds.fitCount
    outcome.iterationCount = folds.iterationCount
    return outcome
  }

  /// The precision with the best score: down from the first as long as that helps, or up where that does not.
  private func searchPath(
    _ scaled: ScaledDesign<Scalar>, _ leftOut: LeftOutRows, from start: Double?
  ) throws(NumericsError) -> Outcome {
    let problem = problem(scaled)
    guard !leftOut.isEmpty else {
      // Nothing can be left out: a prior of the features' own scale.
      return try score(scaled, problem.prior(1), nil, leftOut)
    }
    let folds = try folds(scaled, leftOut)
    // They have copies of the rows in the order of the folds.
    features.dropPages()
    var candidates: [Candidate] = []
    var best = 0
    // The last to gain plainly on what was best before.
    var lastGain = 0
    func visit(_ exponent: Double) throws(NumericsError) {
      let precision = exponentToPrecision(exponent)
      let logits = leftOut.restricted(try folds.logits(problem.prior(precision)))
      candidates.append(
        candidate(
          scaled.transform.scaling, precision, logits, leftOut,
          keepsLogits: keepsLogits(logits)))
      let last = candidates.count - 1
      let (score, least) = (candidates[last].score, candidates[best].score)
      if score < (1 - RecipeConstants.plainGain) * least { lastGain = last }
      if score < least { best = last }
      folds.keepWeights(of: exponent)
      folds.forgetWeights(
        furtherThan: RecipeConstants.precisionStep, from: candidates[best].exponent)
    }
    let range = RecipeConstants.precisionExponents
    // Half a step first: the best is often close to where the search begins.
    let (halfStep, step) = (0.5 * RecipeConstants.precisionStep, RecipeConstants.precisionStep)
    let first = start ?? firstExponent
    let patience = start == nil ? RecipeConstants.patience : 1
    // A score that is plainly worse ends a search at once: fits under weak priors take longest.
    func isPlainlyWorse() -> Bool {
      candidates[candidates.count - 1].score
        > (1 + RecipeConstants.plainLoss) * candidates[best].score
    }
    var exponent = first
    while exponent >= range.lowerBound, candidates.count - lastGain <= patience,
      candidates.isEmpty || !isPlainlyWorse()
    {
      try visit(exponent)
      exponent -= exponent == first ? halfStep : step
    }
    if best == 0 {
      folds.restoreWeights(of: first)
      var exponent = first + halfStep
      while exponent <= range.upperBound {
        try visit(exponent)
        guard best == candidates.count - 1 else { break }
        exponent += step
      }
    }
    var outcome = Outcome(
      scaled: scaled, prior: problem.prior(candidates[best].precision), candidates: candidates,
      best: best, leftOut: leftOut, logits: .zeros(0, classCount))
    outcome.folds = folds
    outcome.fitCount = folds.fitCount
    outcome.iterationCount = folds.iterationCount
    return outcome
  }

  /// Tries half a step from the best precision to its better neighbour, where that is a whole step away, and scores the
  /// better of the two with the very predictor that is kept.
  private func refine(_ outcome: inout Outcome) throws(NumericsError) {
    guard let folds = outcome.folds, let coarse = outcome.best else { return }
    let problem = problem(outcome.scaled)
    let (fitCount, iterationCount) = (folds.fitCount, folds.iterationCount)
    let center = outcome.candidates[coarse].exponent
    var best = coarse
    let neighbours = outcome.neighbours(of: outcome.candidates[coarse])
    if let neighbour = neighbours.min(by: { $0.score < $1.score })?.exponent,
      abs(neighbour - center) >= RecipeConstants.precisionStep
    {
      folds.restoreWeights(of: center, halfWayTo: neighbour)
      let precision = exponentToPrecision(0.5 * (center + neighbour))
      let logits = outcome.leftOut.restricted(try folds.logits(problem.prior(precision)))
      outcome.candidates.append(
        candidate(
          outcome.scaled.transform.scaling, precision, logits, outcome.leftOut,
          keepsLogits: keepsLogits(logits)))
      if outcome.candidates[outcome.candidates.count - 1].score < outcome.candidates[best].score {
        best = outcome.candidates.count - 1
      }
    }
    let chosen = outcome.candidates[best]
    outcome.best = best
    outcome.prior = problem.prior(chosen.precision)
    if best == coarse { folds.restoreWeights(of: center) }
    outcome.logits = outcome.leftOut.restricted(try folds.logits(outcome.prior, isExact: true))
    outcome.candidates[best] = candidate(
      outcome.scaled.transform.scaling, chosen.precision, outcome.logits, outcome.leftOut,
      keepsLogits: chosen.logits != nil)
    // The score stays that by which it was chosen.
    outcome.candidates[best].score = chosen.score
    outcome.weights = folds.firstWeights
    outcome.isAtBound = neighbours.count < 2
    outcome.fitCount += folds.fitCount - fitCount
    outcome.iterationCount += folds.iterationCount - iterationCount
    outcome.folds = nil
  }

  private func keepsLogits(_ logits: Matrix<Double>) -> Bool {
    // What other candidates predict by another approximation is no alternative to what was chosen.
    configuration.searchesAsItPredicts
      && logits.rowCount * logits.columnCount <= RecipeConstants.keptLogitCount
  }

  /// Where the search of a precision begins.
  private var firstExponent: Double {
    var totals =
      distributions?.classTotals(weights: weights) ?? [Double](repeating: 0, count: classCount)
    if distributions == nil {
      for (row, label) in labels.enumerated() { totals[Int(label)] += weights?[row] ?? 1 }
    }
    return RecipeConstants.firstExponent(
      classWeights: totals,
      directionCount: Pass.directionCount(Pass.likelihood.columnCount(classCount: classCount)))
  }

  private func exponentToPrecision(_ exponent: Double) -> Double { pow(10, exponent) }

  private func candidate(
    _ scaling: FeatureScaling, _ precision: Double, _ logits: Matrix<Double>,
    _ leftOut: LeftOutRows, keepsLogits: Bool
  ) -> Candidate {
    var (beta, objective) = (1.0, Double?.none)
    if configuration.calibratesOnLeftOut {
      let optimum = CalibrationRows(
        logits: logits, labels: leftOut.labels, weights: leftOut.weights,
        distributions: leftOut.distributions, execution: execution
      ).optimum(tolerance: 1e-6)
      (beta, objective) = (optimum.inverseTemperature, optimum.objective)
    }
    let losses = TemperedLogits(logits, beta).losses(leftOut.labels, leftOut.distributions)
    let total =
      objective
      ?? losses.indices.reduce(0) { $0 + losses[$1] * (leftOut.weights?[$1] ?? 1) }
    return Candidate(
      scaling: scaling, precision: precision, inverseTemperature: beta, score: total,
      losses: losses, logits: keepsLogits ? Matrix<Float>(logits) : nil)
  }
}

/// Logits at a temperature.
struct TemperedLogits {
  /// n x K; the exponentials of a row sum to 1.
  let logProbabilities: Matrix<Double>

  init(_ logits: Matrix<Double>, _ inverseTemperature: Double) {
    var logs = logits.compact()
    logs.scale(by: inverseTemperature)
    logs.formLogSoftmaxRows()
    logProbabilities = logs
  }

  /// The negative log-likelihood of each row: of its label, or expected under class probabilities.
  func losses(_ labels: [Int32], _ distributions: ClassDistributions? = nil) -> [Double] {
    distributions?.losses(logProbabilities)
      ?? labels.indices.map { -logProbabilities[$0, Int(labels[$0])] }
  }
}

/// One prior precision for each feature, shared by the classes: automatic relevance determination.
///
/// A precision α_j for each feature is one precision λ for features that are multiplied by
/// `s_j = √(λ/α_j)`, which keeps one problem for every prior: where features outnumber rows the weights lie
/// in the space of the rows, so that an iteration costs N²·D and not D³. With R the basis of that space
/// (the identity where features are fewer) and V the variances of the Kronecker covariance in it, MacKay's fixed
/// point
///
///     α_j ← Σ_k (1 - α_j V_jk) / Σ_k m_jk²
///
/// is taken until the precisions stay.
///
/// - Note: Sources: MacKay (1992); Tipping, "Sparse Bayesian learning and the relevance vector machine",
///   JMLR 2001.
struct RelevanceChoice<Pass: LaplacePass> {
  typealias Scalar = Pass.Scalar
  let recipe: LaplaceRecipe<Pass>

  private static var iterationLimit: Int { 15 }
  /// The largest change of log α at which the iteration ends.
  private static var tolerance: Double { 0.02 }
  /// What part of a direction the data must determine: less than this is the rounding error of
  /// `1 - α_j V_j`.
  private static var determinedPart: Double { 1e-5 }
  /// The precisions that are allowed, in units of the scaled features.
  private static var range: ClosedRange<Double> { 1e-4...1e8 }

  /// Iterates from the best common precision.
  ///
  /// - Parameter scaling: of columns; of rows, which no factor of a feature survives, the common precision
  ///   stays.
  /// - Returns: the scaled rows, the factors s_j in them, and λ.
  /// - Throws: `NumericsError` when rounding makes a precision indefinite, or when told to stop.
  func choose(
    _ scaling: FeatureScaling
  ) throws(NumericsError) -> (scaled: ScaledDesign<Scalar>, precision: Double) {
    var factors = [Double](repeating: 1, count: recipe.features.columnCount)
    var scaled = try recipe.scaled(scaling)
    var precision = try EvidenceChoice(problem: recipe.problem(scaled)).precision().precision
    guard scaling != .rows else { return (scaled, precision) }
    for _ in 0..<Self.iterationLimit {
      try recipe.execution.checkCancellation()
      let problem = recipe.problem(scaled)
      let columns = problem.columnCount
      let solution = try problem.solve(
        problem.prior(precision), from: .zeros(columns, problem.pass.classCount), isFinal: false)
      // 1. Means and variances of the weights of the scaled features.
      var basis = scaled.transform.basis ?? .diagonal(1, size: columns - 1)  // (D, R)
      let means = basis.multiplied(
        by: Matrix<Scalar>(solution.weights.rows(0..<columns - 1).compact()))
      let lengths = (0..<basis.rowCount).map { basis.rows($0..<$0 + 1).squaredNorm }
      var padded = Matrix<Scalar>.zeros(basis.rowCount, columns)
      padded.replaceBlock(row: 0, column: 0, with: basis)
      basis = padded
      let variances = try problem.covariance(
        .block, solution.logits, problem.prior(precision)
      ).leverages(basis)
      // 2. The fixed point.
      var precisions: [Double] = []
      var change = 0.0
      for j in 0..<basis.rowCount {
        var (known, squares) = (0.0, 0.0)
        for k in 0..<means.columnCount {
          known += max(0, lengths[j] - precision * Double(variances[j, k]))
          squares += Double(means[j, k]) * Double(means[j, k])
        }
        let old = precision / (factors[j] * factors[j])
        let wanted = known / (squares * factors[j] * factors[j])
        // A feature of which the data determine nothing is off; the quotient of two rounding errors
        // could turn it fully on.
        let isDetermined = known > Self.determinedPart * lengths[j] * Double(means.columnCount)
        let bounded =
          isDetermined && !wanted.isNaN
          ? min(max(wanted, Self.range.lowerBound), Self.range.upperBound) : Self.range.upperBound
        change = max(change, abs(log(bounded / old)))
        precisions.append(bounded)
      }
      precision = exp(precisions.reduce(0) { $0 + log($1) } / Double(max(precisions.count, 1)))
      factors = precisions.map { (precision / $0).squareRoot() }
      scaled = try recipe.scaled(scaling, relevances: factors)
      if change < Self.tolerance { break }
    }
    return (scaled, precision)
  }
}
