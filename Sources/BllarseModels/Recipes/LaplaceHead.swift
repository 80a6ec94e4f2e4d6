public import BllarseNumerics

/// A last layer with a Gaussian around its optimum: softmax regression, or probit, on scaled features.
///
/// The scaling of the features, the precision of the prior and a temperature are chosen by what predicts
/// training rows that are left out, see ``LaplaceRecipe``; what was chosen is in ``report``.
///
/// ```swift
/// let head = try LaplaceHead(
///   fitting: features, labels: labels, LaplaceConfiguration(classCount: 10))
/// let logProbabilities = try head.logProbabilities(newFeatures)
/// ```
public struct LaplaceHead: Sendable {
  /// How features become inputs of the weights.
  package let transform: InputTransform<Float>
  /// The likelihood.
  public let likelihood: LaplaceLikelihood
  /// The Gaussian over the weights.
  package let posterior: LaplacePosterior
  /// The calibration: β, by which the logits of the predictive distribution are multiplied.
  public let inverseTemperature: Double
  /// How the softmax of random logits is integrated.
  public let link: Link
  /// What was chosen and why; `nil` after reading a checkpoint.
  public package(set) var report: LaplaceReport?
  /// Predictions for training rows that were left out; `nil` after reading a checkpoint, and where no row could
  /// be left out.
  public package(set) var leftOut: LeftOutPredictions?

  /// Puts a head together from what was fitted or stored.
  package init(
    transform: InputTransform<Float>, likelihood: LaplaceLikelihood, posterior: LaplacePosterior,
    inverseTemperature: Double, link: Link = Link()
  ) {
    (self.transform, self.likelihood, self.posterior) = (transform, likelihood, posterior)
    (self.inverseTemperature, self.link) = (inverseTemperature, link)
  }

  /// The number of features of a row.
  public var featureCount: Int { transform.featureCount }
  /// The number of classes, K.
  public var classCount: Int { max(posterior.mean.columnCount, 2) }
  /// The scaling of the features.
  public var scaling: FeatureScaling { transform.scaling }
  /// λ, of the prior of the weights; a geometric mean if there are many.
  public var priorPrecision: Double { posterior.priorPrecision }
  /// How logits become probabilities.
  package var predictive: Predictive {
    Predictive(likelihood: likelihood, inverseTemperature: inverseTemperature)
  }
}

/// Predictions for training rows that were left out of the fit, by the choices that all of them led to.
public struct LeftOutPredictions: Sendable {
  /// The rows, by their index in the training split.
  public let rows: [Int]
  /// Their labels.
  public let labels: [Int32]
  /// n x K; the exponentials of a row sum to 1.
  public let logProbabilities: Matrix<Double>

  /// The same predictions with other labels.
  ///
  /// - Parameter all: a label for each row of the training split.
  /// - Returns: the predictions with those of their rows.
  package func labelled(_ all: [Int32]) -> LeftOutPredictions {
    LeftOutPredictions(
      rows: rows, labels: rows.map { all[$0] }, logProbabilities: logProbabilities)
  }
}

extension LaplaceHead {
  /// Fits a head to rows that were checked.
  ///
  /// - Parameters: as the public initialiser takes them.
  /// - Returns: the head, its report without scores to expect, and what these are to be computed from.
  package static func fit(
    _ features: FeatureMatrix, labels: [Int32], weights: [Double]?, groups: [Int]?,
    distributions: ClassDistributions? = nil,
    _ configuration: LaplaceConfiguration, execution: Execution
  ) throws(NumericsError) -> (head: LaplaceHead, estimate: LeftOutEstimate?) {
    if configuration.likelihood == .softmax, configuration.covarianceStructure == .full {
      // Before anything is searched for; in the space of the rows where there are fewer of them.
      try FullCovariance.checkMemory(
        rows: features.rowCount, features: features.columnCount,
        classes: configuration.classCount)
    }
    return switch configuration.likelihood {
    case .softmax:
      try fit(
        SoftmaxPass<Float>.self, features, labels, weights, groups, distributions, configuration,
        execution)
    case .probit:
      if let distributions {
        try fitCopies(features, distributions, weights, groups, configuration, execution)
      } else {
        try fit(
          ProbitPass<Float>.self, features, labels, weights, groups, nil, configuration, execution)
      }
    }
  }

  /// Fits class probabilities by a likelihood in which they are more than a linear term.
  ///
  /// - Returns: predictions and scores of left-out rows, one for each row, not for each copy.
  private static func fitCopies(
    _ features: FeatureMatrix, _ targets: ClassDistributions, _ weights: [Double]?,
    _ groups: [Int]?, _ configuration: LaplaceConfiguration, _ execution: Execution
  ) throws(NumericsError) -> (LaplaceHead, LeftOutEstimate?) {
    let copies = RowCopies(targets, weights: weights, groups: groups)
    var (head, estimate) = try fit(
      ProbitPass<Float>.self, features.gatheringRows(copies.rows), copies.labels, copies.weights,
      copies.groups, nil, configuration, execution)
    guard let leftOut = head.leftOut else { return (head, estimate) }
    // Copies of a row are predicted alike: that of the most probable class stands for them.
    let kept = leftOut.rows.indices.filter { place in
      let copy = leftOut.rows[place]
      return copies.labels[copy] == targets.labels[copies.rows[copy]]
    }
    let rows = kept.map { copies.rows[leftOut.rows[$0]] }
    let labels = rows.map { targets.labels[$0] }
    head.leftOut = LeftOutPredictions(
      rows: rows, labels: labels,
      logProbabilities: leftOut.logProbabilities.gatheringRows(kept))
    estimate = estimate.map { estimate in
      LeftOutEstimate(
        logProbabilities: estimate.logProbabilities.gatheringRows(kept), labels: labels,
        weights: weights.map { weights in rows.map { weights[$0] } },
        distributions: targets.gatheringRows(rows), nll: estimate.nll, nllError: estimate.nllError)
    }
    return (head, estimate)
  }

  private static func fit<Pass: LaplacePass>(
    _ type: Pass.Type, _ features: FeatureMatrix, _ labels: [Int32], _ weights: [Double]?,
    _ groups: [Int]?, _ distributions: ClassDistributions?,
    _ configuration: LaplaceConfiguration, _ execution: Execution
  ) throws(NumericsError) -> (LaplaceHead, LeftOutEstimate?) where Pass.Scalar == Float {
    let recipe = LaplaceRecipe<Pass>(
      features: features, labels: labels, weights: weights, distributions: distributions,
      division: RowFolds(features, groups: groups, seed: configuration.seed),
      configuration: configuration, execution: execution)
    let outcome = try recipe.run()

    // The fit to all rows.
    let problem = recipe.problem(outcome.scaled)
    let start =
      outcome.weights ?? .zeros(problem.columnCount, problem.pass.classCount)
    let solution = try problem.solve(outcome.prior, from: start, isFinal: true)
    let covariance = try problem.covariance(
      configuration.covarianceStructure, solution.logits, outcome.prior)
    let best = outcome.best.map { outcome.candidates[$0] }
    let beta = best?.inverseTemperature ?? 1
    var head = LaplaceHead(
      transform: outcome.scaled.transform, likelihood: Pass.likelihood,
      posterior: LaplacePosterior(
        mean: solution.weights, covariance: covariance,
        priorPrecision: problem.geometricMean(outcome.prior)),
      inverseTemperature: beta,
      link: Pass.likelihood == .softmax ? configuration.link : Link())
    head.report = LaplaceReport(
      configuration, outcome, solution, covariance,
      logEvidence: problem.logEvidence(solution, covariance))
    if outcome.best != nil {
      head.leftOut = LeftOutPredictions(
        rows: outcome.leftOut.scored.map { outcome.leftOut.rows[$0] },
        labels: outcome.leftOut.labels,
        logProbabilities: TemperedLogits(outcome.logits, beta).logProbabilities)
    }
    return (
      head,
      outcome.estimate(calibrates: configuration.calibratesOnLeftOut, execution: execution)
    )
  }
}

/// Rows that are predicted together, which bounds the memory and divides the work among threads.
private let predictionBlockSize = 512

extension LaplaceHead {
  /// The logarithms of the predictive class probabilities of some rows.
  ///
  /// - Parameters:
  ///   - features: n x D.
  ///   - moments: of their logits, where they are known.
  /// - Returns: n x K.
  private func predicted(_ features: FeatureMatrix, _ moments: LatentMoments? = nil) -> Matrix<
    Float
  > {
    guard link.approximation != .meanProbit else {
      let moments = moments ?? self.moments(features)
      return Matrix<Float>(
        predictive.logProbabilities(means: moments.means, variances: moments.variances))
    }
    let (inputs, outside) = transform.inputs(features)
    // Weights that were given have features as they are, and one prior that holds their biases, too; those of the recipe
    // have a weak one, and what it says of all logits of a row together says nothing of their classes.
    let isGiven = transform.features == .identity
    var result = Matrix<Float>.zeros(features.rowCount, classCount)
    // A C x C matrix for each row, or the draws of one.
    let step = max(1, min(predictionBlockSize, (1 << 21) / (classCount * classCount)))
    let hashes = link.approximation == .monteCarlo ? features.rowHashes() : []
    for start in stride(from: 0, to: features.rowCount, by: step) {
      let range = start..<min(start + step, features.rowCount)
      let (means, covariance) = posterior.covariances(
        inputs.rows(range).compact(), squaredNormsOutside: outside.map { Array($0[range]) },
        isCentred: link.approximation == .probit && !isGiven)
      let logs = link.logProbabilities(
        means: means, covariance, hashes: hashes.isEmpty ? [] : Array(hashes[range]))
      result.replaceBlock(
        row: start, column: 0,
        with: Matrix<Float>(TemperedLogits(logs, inverseTemperature).logProbabilities))
    }
    return result
  }

  /// Means and variances of the logits of some rows.
  private func moments(_ features: FeatureMatrix) -> LatentMoments {
    let (inputs, outside) = transform.inputs(features)
    return posterior.moments(inputs, squaredNormsOutside: outside)
  }

  /// Means and variances of the logits of rows.
  ///
  /// - Parameters:
  ///   - features: n x featureCount, finite.
  ///   - execution: the threads to work with; they do not change the result.
  /// - Returns: n x C: C is the number of classes, and 1 for two classes of probit.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  public func latent(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> LatentMoments {
    try TrainingRows.checkFeatureCount(features, featureCount)
    let columns = posterior.mean.columnCount
    // Means in the first columns, variances in the others.
    let both = Matrix<Double>(
      rows: features.rowCount, columns: 2 * columns, blockSize: predictionBlockSize,
      execution: execution
    ) { range in
      let moments = moments(features.rows(range))
      var both = Matrix<Double>.zeros(range.count, 2 * columns)
      both.replaceBlock(row: 0, column: 0, with: moments.means)
      both.replaceBlock(row: 0, column: columns, with: moments.variances)
      return both
    }
    return LatentMoments(
      means: both.columns(0..<columns), variances: both.columns(columns..<2 * columns))
  }

  /// The logarithms of the predictive class probabilities: the logits' uncertainty integrated out by ``link``, at
  /// the fitted temperature.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - execution: the threads to work with; they do not change the result.
  /// - Returns: N x K; the exponentials of a row sum to 1.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  /// - Complexity: N·D² (N·D²·K with one covariance a class) and 2·N·D·K.
  public func logProbabilities(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float> {
    try TrainingRows.checkFeatureCount(features, featureCount)
    return Matrix(
      rows: features.rowCount, columns: classCount, blockSize: predictionBlockSize,
      execution: execution
    ) { range in predicted(features.rows(range)) }
  }
}

extension LaplaceHead {
  /// Predicts rows, with the scores of their uncertainty, in one pass over the features.
  ///
  /// - Parameters:
  ///   - features: n x D, finite.
  ///   - map: a calibration on held-out rows that predictions go through.
  ///   - splitsEntropy: whether to compute mutual informations.
  ///   - execution: the threads to work with; they do not change the result.
  /// - Returns: predictions, the same bits as `logProbabilities` gives, and scores.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  package func uncertaintyParts(
    _ features: FeatureMatrix, map: HeldOutCalibration, splitsEntropy: Bool,
    execution: Execution
  ) throws(NumericsError) -> UncertaintyParts {
    try TrainingRows.checkFeatureCount(features, featureCount)
    return LogitUncertainty(
      classCount: classCount, predictive: predictive, splitsEntropy: splitsEntropy
    ).parts(
      rowCount: features.rowCount, blockSize: predictionBlockSize, map: map, execution: execution
    ) { range in
      let moments = moments(features.rows(range))
      return (predicted(features.rows(range), moments), moments)
    }
  }
}
