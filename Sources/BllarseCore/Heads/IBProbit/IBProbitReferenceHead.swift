public import BllarseNumerics

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
    _ features: FeatureMatrix, parallelism: Parallelism
  ) throws(NumericsError) -> Matrix<Float> {
    try probit.mixture(features, parallelism).logProbabilities(probit.inverseTemperature)
      .conditional
  }

  /// Scores: the likelihood is that of the mixture, the rest belongs to CBC.
  ///
  /// A map takes both of them; an inverse temperature then multiplies their logits, as in the original.
  public func evaluation(
    features: FeatureMatrix, labels: [Int32], calibration: HeldOutCalibration,
    parallelism: Parallelism
  ) throws(NumericsError) -> SplitScores {
    try TrainingRows.matchLabels(labels, rowCount: features.rowCount, classCount: classCount)
    let answers = try probit.mixture(features, parallelism)
    var (marginal, conditional) = answers.logProbabilities(probit.inverseTemperature)
    marginal = calibration.apply(to: marginal, parallelism: parallelism)
    conditional = calibration.apply(to: conditional, parallelism: parallelism)
    let losses = BinaryMixture.mixtureLosses(marginal, conditional, labels)
    var scores = SplitScores(
      try Predictions(logProbabilities: conditional, labels: labels, parallelism: parallelism))
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
    _ split: FeatureSplit, own: SplitScores, _ method: Method, _ parallelism: Parallelism
  ) throws(NumericsError) -> SplitScores {
    let theirs = try IBProbitReferenceHead(self).evaluation(
      features: split.features, labels: split.labels, parallelism: parallelism)
    var scores = own
    for name in SplitEvaluations.loggedNames { scores[name] = theirs[name] }
    return scores
  }
}
