public import BllarseNumerics

/// A last layer with a Gaussian around its optimum: softmax regression, or probit, on scaled features.
///
/// The scaling of the features, the precision of the prior and a temperature are chosen by what predicts
/// training rows that are left out, see ``LaplaceRecipe``; what was chosen is in ``report``.
///
/// ```swift
/// let head = try EvidenceHead(
///   fitting: features, labels: labels, EvidenceConfiguration(classCount: 10))
/// let logProbabilities = try head.logProbabilities(newFeatures)
/// ```
public struct EvidenceHead: Sendable {
  /// The number of features of a row.
  public let featureCount: Int
  /// The number of classes, K.
  public let classCount: Int
  /// The likelihood.
  public let likelihood: EvidenceLikelihood
  /// The scaling of the features.
  public let scaling: FeatureScaling
  /// λ, the precision of the prior of the scaled features' weights; a geometric mean if there are many.
  public let priorPrecision: Double
  /// β, by which the logits of the predictive distribution are multiplied.
  public let inverseTemperature: Double
  package let transform: FeatureTransform
  /// The basis of the space of the training rows, D x R, where features outnumber them.
  package let rotation: Matrix<Float>?
  /// (D + 1) x C, or (R + 1) x C; the bias is the last row.
  package let weights: Matrix<Double>
  package let covariance: PosteriorCovariance<Float>
  /// What was chosen and why; `nil` after reading a checkpoint.
  public package(set) var report: EvidenceReport?
  /// Predictions for training rows that were left out; `nil` after reading a checkpoint, and where no row could
  /// be left out.
  public package(set) var leftOut: LeftOutPredictions?

  /// Puts a head together from what was fitted or stored.
  package init(
    featureCount: Int, classCount: Int, likelihood: EvidenceLikelihood, scaling: FeatureScaling,
    priorPrecision: Double, inverseTemperature: Double, transform: FeatureTransform,
    rotation: Matrix<Float>?, weights: Matrix<Double>, covariance: PosteriorCovariance<Float>
  ) {
    self.featureCount = featureCount
    self.classCount = classCount
    self.likelihood = likelihood
    self.scaling = scaling
    self.priorPrecision = priorPrecision
    self.inverseTemperature = inverseTemperature
    self.transform = transform
    self.rotation = rotation
    self.weights = weights
    self.covariance = covariance
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
}

extension EvidenceHead {
  /// Fits a head to rows that were checked.
  ///
  /// - Parameters: as the public initialiser takes them.
  /// - Returns: the head, its report without scores to expect, and what these are to be computed from.
  package static func fit(
    _ features: FeatureMatrix, labels: [Int32], weights: [Double]?, groups: [Int]?,
    _ configuration: EvidenceConfiguration, parallelism: Parallelism
  ) throws(NumericsError) -> (head: EvidenceHead, estimate: LeftOutEstimate?) {
    switch configuration.likelihood {
    case .softmax:
      try fit(
        SoftmaxPass<Float>.self, features, labels, weights, groups, configuration, parallelism)
    case .probit:
      try fit(
        ProbitPass<Float>.self, features, labels, weights, groups, configuration, parallelism)
    }
  }

  private static func fit<Pass: LaplacePass>(
    _ type: Pass.Type, _ features: FeatureMatrix, _ labels: [Int32], _ weights: [Double]?,
    _ groups: [Int]?, _ configuration: EvidenceConfiguration, _ parallelism: Parallelism
  ) throws(NumericsError) -> (EvidenceHead, LeftOutEstimate?) where Pass.Scalar == Float {
    let recipe = LaplaceRecipe<Pass>(
      features: features, labels: labels, weights: weights,
      division: RowFolds(features, groups: groups, seed: configuration.seed),
      configuration: configuration, parallelism: parallelism)
    let outcome = try recipe.run()

    // The fit to all rows.
    let problem = recipe.problem(outcome.scaled)
    let start =
      outcome.weights ?? .zeros(problem.columnCount, problem.pass.classCount)
    let solution = try problem.solve(outcome.prior, from: start, isFinal: true)
    let covariance = try problem.covariance(
      configuration.posteriorKind, solution.logits, outcome.prior)
    let best = outcome.best.map { outcome.candidates[$0] }
    let beta = best?.inverseTemperature ?? 1
    var head = EvidenceHead(
      featureCount: features.columnCount, classCount: configuration.classCount,
      likelihood: Pass.likelihood, scaling: outcome.scaled.scaling,
      priorPrecision: problem.geometricMean(outcome.prior), inverseTemperature: beta,
      transform: outcome.scaled.transform, rotation: outcome.scaled.rotation,
      weights: solution.weights, covariance: covariance)
    head.report = EvidenceReport(
      configuration, outcome, solution, covariance,
      logEvidence: covariance.kronecker.map { problem.logEvidence(solution, $0) })
    if outcome.best != nil {
      head.leftOut = LeftOutPredictions(
        rows: outcome.leftOut.scored.map { outcome.leftOut.rows[$0] },
        labels: outcome.leftOut.labels,
        logProbabilities: TemperedLogits(outcome.logits, beta).logProbabilities)
    }
    return (
      head,
      outcome.estimate(calibrates: configuration.calibratesOnLeftOut, parallelism: parallelism)
    )
  }
}

/// Rows that are predicted together, which bounds the memory and divides the work among threads.
private let predictionBlockSize = 512

extension EvidenceHead {
  /// Means and variances of the logits of rows under one member.
  struct LogitMoments: Sendable {
    /// m, n x C.
    var means: Matrix<Double>
    /// v, n x C.
    var variances: Matrix<Double>
  }

  /// Means and variances of the logits.
  func moments(_ features: FeatureMatrix, _ weights: Matrix<Float>) -> LogitMoments {
    let rows: Matrix<Float>
    var outside: [Float]?
    if let rotation {
      let scaled = DesignMatrix<Float>(features, transform: transform, hasBias: false)
        .matrix(rows: 0..<features.rowCount)
      let inside = scaled.multiplied(by: rotation)  // (n, R)
      rows = DesignMatrix<Float>(FeatureMatrix(inside), transform: .identity, hasBias: true)
        .matrix(rows: 0..<features.rowCount)
      // What lies outside the space of the training rows has the prior's variance.
      outside = (0..<scaled.rowCount).map { row in
        let rest = scaled.rows(row..<row + 1).squaredNorm - inside.rows(row..<row + 1).squaredNorm
        return Float(max(0, rest) / priorPrecision)
      }
    } else {
      rows = DesignMatrix<Float>(features, transform: transform, hasBias: true)
        .matrix(rows: 0..<features.rowCount)
    }
    var variances = Matrix<Double>(covariance.leverages(rows))
    if let outside {
      for row in 0..<variances.rowCount {
        variances.withMutableRow(row) { for k in $0.indices { $0[k] += Double(outside[row]) } }
      }
    }
    return LogitMoments(means: Matrix<Double>(rows.multiplied(by: weights)), variances: variances)
  }

  /// Calls `body` with blocks of rows and the moments there, on all threads.
  func forEachBlock(
    _ features: FeatureMatrix, _ parallelism: Parallelism,
    _ body: @Sendable (Range<Int>, LogitMoments) -> Void
  ) {
    let weights = Matrix<Float>(weights)
    parallelism.forEachBlock(of: features.rowCount, blockSize: predictionBlockSize) { _, range in
      body(range, moments(features.rows(range), weights))
    }
  }

  /// Log-probabilities of one block.
  func logProbabilities(_ moments: LogitMoments) -> Matrix<Double> {
    TemperedLogits(
      Predictive(likelihood: likelihood).logits(
        means: moments.means, variances: moments.variances),
      inverseTemperature
    ).logProbabilities
  }

  /// The logarithms of the predictive class probabilities: the logits' uncertainty integrated out, at the
  /// fitted temperature.
  ///
  /// - Parameters:
  ///   - features: N x featureCount, finite.
  ///   - parallelism: the threads to work with; they do not change the result.
  /// - Returns: N x K; the exponentials of a row sum to 1.
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  /// - Complexity: N·D² (N·D²·K with one covariance a class) and 2·N·D·K.
  public func logProbabilities(
    _ features: FeatureMatrix, parallelism: Parallelism
  ) throws(NumericsError) -> Matrix<Float> {
    try TrainingRows.checkFeatureCount(features, featureCount)
    let classes = classCount
    return Matrix<Float>(rows: features.rowCount, columns: classes) { target in
      guard let base = target.baseAddress else { return }
      let address = SharedAddress(base)
      forEachBlock(features, parallelism) { range, moments in
        let rounded = Matrix<Float>(logProbabilities(moments))
        rounded.withUnsafePointer { source, _ in
          (address.pointer + range.lowerBound * classes).update(
            from: source, count: range.count * classes)
        }
      }
    }
  }
}
