public import BllarseNumerics

/// How weights that were found elsewhere become a head.
public struct GivenWeightsConfiguration: Sendable, Equatable {
  /// The covariance.
  public var posterior = CovarianceStructure.kronecker
  /// How the softmax of random logits is integrated.
  public var link = Link()
  /// The prior precision of all weights and biases, in units of the features; `nil` for the one with the best evidence at
  /// the weights.
  public var priorPrecision: Double?

  /// The defaults.
  public init() {}
}

extension LaplaceHead {
  /// Puts a Gaussian around the weights of a softmax layer that was trained elsewhere, by Laplace's method.
  ///
  /// Neither the weights nor the features are changed. The prior has one precision for all weights and the biases, as weight
  /// decay on all parameters has; structures are the plain parts of the Hessian, so that covariance and evidence are
  /// those of laplace-torch. ``report`` says how far the weights are from the optimum, at which the method assumes them.
  ///
  /// - Parameters:
  ///   - weights: featureCount x K, finite.
  ///   - biases: K numbers.
  ///   - features: the rows that they were trained on, N x featureCount, finite, N at least 1.
  ///   - labels: a class in `0..<K` for each row.
  ///   - rowWeights: how often each row counts; `nil` for once.
  ///   - configuration: covariance, link and prior precision.
  ///   - execution: the threads to work with.
  /// - Throws: `NumericsError`: rows, labels or weights that cannot be; a covariance that is too large for the memory;
  ///   rounding made a precision indefinite; or it was told to stop.
  /// - Complexity: one pass over the features, and the factorisation of the structure: 9·D³ for `kronecker`, K·D³ for
  ///   `block`, (D·K)³ for `full`.
  /// - Note: Source: Daxberger et al., "Laplace redux: effortless Bayesian deep learning", NeurIPS 2021.
  public init(
    weights: Matrix<Double>, biases: [Double], features: FeatureMatrix, labels: [Int32],
    rowWeights: [Double]? = nil,
    _ configuration: GivenWeightsConfiguration = GivenWeightsConfiguration(),
    execution: Execution = .available
  ) throws(NumericsError) {
    let classes = weights.columnCount
    try TrainingRows.check(
      features, labels: labels, featureCount: weights.rowCount, classCount: classes,
      weights: rowWeights, execution: execution)
    guard biases.count == classes else {
      throw .sizeMismatch(
        of: "biases", found: biases.count, expected: classes, reason: "one for each class")
    }
    var all = Matrix<Double>.zeros(weights.rowCount + 1, classes)
    all.replaceBlock(row: 0, column: 0, with: weights)
    all.replaceBlock(
      row: weights.rowCount, column: 0,
      with: Matrix(rows: 1, columns: classes, elements: biases))
    if let (row, column) = all.firstNonFinite { throw .notFinite(row: row, column: column) }
    if let precision = configuration.priorPrecision {
      try NumericsError.require(
        precision > 0 && precision.isFinite, "the prior precision", precision, "a number above 0")
    }

    let given = try GivenWeights(
      all, features, labels: labels, rowWeights: rowWeights, configuration.posterior,
      execution: execution)
    let spectrum = try given.spectrum()
    let choice =
      configuration.priorPrecision.map {
        GivenWeights.Choice(precision: $0, isAtBound: false)
      } ?? given.bestPrecision(spectrum)
    let covariance = try given.covariance(choice.precision)
    self.init(
      transform: InputTransform(
        featureCount: features.columnCount, scaling: .unscaled, features: .identity, basis: nil),
      likelihood: .softmax,
      posterior: LaplacePosterior(
        mean: all, covariance: covariance.converted(), priorPrecision: choice.precision),
      inverseTemperature: 1, link: configuration.link)
    report = LaplaceReport(
      configuration, choice, logEvidence: given.logEvidence(choice.precision, spectrum),
      gapBound: given.gapBound(choice.precision),
      given.distance(choice.precision, covariance, spectrum))
  }
}

extension LaplaceReport {
  /// Puts what was found at given weights into words.
  fileprivate init(
    _ configuration: GivenWeightsConfiguration, _ choice: GivenWeights.Choice, logEvidence: Double,
    gapBound: Double, _ distance: DistanceToOptimum
  ) {
    likelihood = .softmax
    posterior = configuration.posterior
    link = configuration.link.approximation
    prior = configuration.priorPrecision.map { String($0) } ?? LaplacePrior.evidence.description
    scaling = .unscaled
    (priorPrecision, priorPrecisionAtBound) = (choice.precision, choice.isAtBound)
    inverseTemperature = 1
    self.logEvidence = logEvidence
    self.distance = distance
    self.gapBound = gapBound
    (foldCount, fitCount, iterationCount) = (0, 0, 0)
    candidates = []
    reasons = [
      "weights as given, and features as they are",
      configuration.priorPrecision == nil
        ? "prior precision: the most probable by the evidence at these weights"
        : "prior precision \(choice.precision), as asked for",
    ]
    if choice.isAtBound {
      reasons.append(
        "the prior precision is at an end of the range that is searched, "
          + "\(GivenWeights.range.lowerBound) to \(GivenWeights.range.upperBound)")
    }
    if !distance.isNear {
      reasons.append(
        "the weights are further from the optimum under this prior than the posterior is wide: Laplace's method "
          + "assumes that they are at it; train them further, or give the precision that they were trained with"
      )
    }
  }
}

extension DistanceToOptimum {
  /// Whether the weights are within the width of the posterior: less than a standard deviation, for each parameter that the
  /// rows determine.
  public var isNear: Bool { deviations < 1 }
}
