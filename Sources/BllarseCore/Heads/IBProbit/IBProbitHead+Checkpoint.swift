public import BllarseNumerics

extension IBProbitHead: Head, LatentHead where Scalar == Float {
  /// "IBProbit".
  public static var kind: String { "IBProbit" }
  /// The number of features of a row.
  public var featureCount: Int { configuration.featureCount }
  /// The number of classes.
  public var classCount: Int { configuration.classCount }

  /// Adds the natural parameters, the mean, and what describes the design and the predictive.
  public func encode(into writer: inout SafetensorsWriter) {
    writer.add("precision", posterior.precision)
    writer.add("natural_mean", posterior.naturalMean)
    // Solving for it again could round otherwise on another machine.
    if let mean = try? mean() { writer.add("mean", mean) }
    configuration.encode(into: &writer)
    writer.metadata["cdf"] = cdfForm.rawValue
    writer.metadata["inverse_temperature"] = String(inverseTemperature)
  }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    let configuration = try HeadShape(decoding: file)
    let (size, classes) = (configuration.designColumnCount, configuration.classCount)
    let posterior = GaussianPosterior(
      precision: try file.matrix("precision", rows: size, columns: size),
      naturalMean: try file.matrix("natural_mean", rows: size, columns: classes))
    self.init(configuration, posterior: posterior, cdfForm: try file.choice("cdf"))
    solvedMean = try file.matrix("mean", rows: size, columns: classes)
    inverseTemperature = try file.number("inverse_temperature", above: 0)
  }
}

extension IBProbitSiteRefinement where Scalar == Float {
  /// Adds what every row contributes to a checkpoint.
  func encode(into writer: inout SafetensorsWriter) {
    writer.add("sites.latent_means", latentMeans)
    writer.add("sites.reference_logits", referenceLogits)
    writer.add("sites.natural_mean", naturalMean)
  }

  /// Whether a checkpoint holds a refinement.
  static func isStored(in file: SafetensorsFile) -> Bool { file.contains("sites.latent_means") }

  /// Takes up a refinement of the same rows.
  ///
  /// - Throws: `DataError` for tensors that are not of these rows.
  mutating func restore(from file: SafetensorsFile) throws(DataError) {
    let (rows, classes) = (latentMeans.rowCount, latentMeans.columnCount)
    naturalMean = try file.matrix(
      "sites.natural_mean", rows: naturalMean.rowCount, columns: classes)
    latentMeans = try file.matrix("sites.latent_means", rows: rows, columns: classes)
    referenceLogits = try file.matrix("sites.reference_logits", rows: rows, columns: classes)
  }
}

/// For callers who have plain arrays.
extension IBProbitHead where Scalar == Float {
  /// Fits a head to rows of features, to the optimum.
  ///
  /// - Parameters:
  ///   - rows: N rows of equally many finite numbers.
  ///   - labels: a class, counted from 0, for each row.
  ///   - classCount: K; one more than the largest label when `nil`.
  ///   - priorPrecision: the prior precision of every weight.
  /// - Throws: `DataError` that names row and column of what cannot be used, `NumericsError` when the
  ///   precision is numerically indefinite.
  public init(
    fitting rows: [[Float]], labels: [Int], classCount: Int? = nil, priorPrecision: Double = 1
  ) throws {
    guard priorPrecision > 0, priorPrecision.isFinite else {
      throw NumericsError.invalidParameter(
        "the prior precision", value: priorPrecision, expected: "a finite number above 0")
    }
    let data = try FeatureDataset(rows: rows, labels: labels, classCount: classCount)
    let split = try data.split("train")
    self.init(
      HeadShape(
        featureCount: data.featureCount, classCount: data.classCount,
        transform: .standardLayerNorm, priorPrecision: priorPrecision))
    try fit(features: split.features, labels: split.labels)
  }
}

/// The probit head with the scores of the Python original: likelihoods of the equal mixture of CBM and
/// CBC, accuracy and calibration of CBC alone, all from the posterior mean.
public struct IBProbitReferenceHead: Head {
  /// "IBProbitReference".
  public static var kind: String { "IBProbitReference" }

  /// The head.
  public var probit: IBProbitHead<Float>

  /// Wraps a head.
  public init(_ probit: IBProbitHead<Float>) { self.probit = probit }

  /// The number of features of a row.
  public var featureCount: Int { probit.featureCount }
  /// The number of classes.
  public var classCount: Int { probit.classCount }

  /// The log-probabilities of CBC, from which the original takes classes and confidences.
  public func logProbabilities(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> Matrix<Float> {
    try probit.mixture(features, execution).logProbabilities(probit.inverseTemperature)
      .conditional
  }

  /// Scores: the likelihood is that of the mixture, the rest belongs to CBC.
  ///
  /// A map takes both of them; an inverse temperature then multiplies their logits, as in the original.
  public func evaluation(
    features: FeatureMatrix, labels: [Int32], calibration: HeldOutCalibration,
    execution: Execution
  ) throws(NumericsError) -> SplitScores {
    try TrainingRows.matchLabels(labels, rowCount: features.rowCount, classCount: classCount)
    let answers = try probit.mixture(features, execution)
    var (marginal, conditional) = answers.logProbabilities(probit.inverseTemperature)
    marginal = calibration.apply(to: marginal, execution: execution)
    conditional = calibration.apply(to: conditional, execution: execution)
    let losses = BinaryMixture.mixtureLosses(marginal, conditional, labels)
    var scores = SplitScores(
      try Predictions(logProbabilities: conditional, labels: labels, execution: execution))
    scores["nll"] = losses.reduce(0, +) / Double(max(losses.count, 1))
    return scores
  }

  /// Adds what the head itself stores.
  public func encode(into writer: inout SafetensorsWriter) { probit.encode(into: &writer) }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    probit = try IBProbitHead<Float>(decoding: file)
  }
}

extension IBProbitHead: OriginallyScoredHead where Scalar == Float {
  /// Confidences of its `ece` are those of the binary conditionals alone (CBC), ours those of the equal mixture
  /// with the binary marginals, from which its `nll` comes, too.
  func originalScores(
    _ split: FeatureSplit, own: SplitScores, _ method: Method, _ execution: Execution
  ) throws(NumericsError) -> SplitScores {
    let theirs = try IBProbitReferenceHead(self).evaluation(
      features: split.features, labels: split.labels, execution: execution)
    var scores = own
    for name in SplitEvaluations.loggedNames { scores[name] = theirs[name] }
    return scores
  }
}
