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
  /// How threads are used.
  public var parallelism: Parallelism {
    get { probit.parallelism }
    set { probit.parallelism = newValue }
  }

  /// The log-probabilities of CBC, from which the original takes classes and confidences.
  public func logProbabilities(_ features: FeatureMatrix) throws(NumericsError) -> Matrix<Float> {
    let form = probit.configuration.cdfForm
    var logits = form.logOdds(try probit.arguments(features))
    logits.scale(by: Float(probit.inverseTemperature))
    logits.formLogSoftmaxRows()
    return logits
  }

  /// Scores: the likelihood is that of the mixture, the rest belongs to CBC.
  ///
  /// A map takes both of them; an inverse temperature then multiplies their logits, as in the original.
  public func evaluation(
    features: FeatureMatrix, labels: [Int32], calibration: HeldOutCalibration
  ) throws(NumericsError) -> SplitScores {
    let conditional = calibration.apply(
      to: try logProbabilities(features), parallelism: parallelism)
    let losses =
      calibration == .none
      ? try probit.lossesAndLogits(features: features, labels: labels, loss: .mixture).losses
      : try mixtureLosses(features, labels, calibration, conditional)
    var scores = SplitScores(
      try Predictions(logProbabilities: conditional, labels: labels, parallelism: parallelism))
    scores["nll"] = losses.reduce(0, +) / Double(max(losses.count, 1))
    return scores
  }

  /// `-log((CBM + CBC) / 2)` of mapped predictions.
  private func mixtureLosses(
    _ features: FeatureMatrix, _ labels: [Int32], _ calibration: HeldOutCalibration,
    _ conditional: Matrix<Float>
  ) throws(NumericsError) -> [Double] {
    var marginal = probit.configuration.cdfForm.logMarginals(try probit.arguments(features))
    marginal.scale(by: Float(probit.inverseTemperature))
    marginal.formLogSoftmaxRows()
    marginal = calibration.apply(to: marginal, parallelism: parallelism)
    return labels.enumerated().map { row, label in
      let (m, c) = (-Double(marginal[row, Int(label)]), -Double(conditional[row, Int(label)]))
      return m - SpecialFunctions.softplus(m - c) + SpecialFunctions.softplus(0)
    }
  }

  /// Adds what the head itself stores.
  public func encode(into writer: inout SafetensorsWriter) { probit.encode(into: &writer) }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    probit = try IBProbitHead<Float>(decoding: file)
  }
}

/// The probit head's updates, scored as the Python original does.
struct ReferenceTrainer: HeadTrainer {
  private var trainer: IBProbitTrainer

  init(_ trainer: IBProbitTrainer) { self.trainer = trainer }

  var head: any Head { IBProbitReferenceHead(trainer.probit) }
  var iterations: Int { trainer.iterations }
  var evidenceLowerBound: Double? { trainer.evidenceLowerBound }
  var certificate: GapCertificate? { trainer.certificate }

  mutating func runStep(
    _ step: Int, epoch: Int, on split: FeatureSplit
  ) throws(NumericsError) {
    try trainer.runStep(step, epoch: epoch, on: split)
  }

  var batchLoss: Double? { trainer.batchLoss }
  mutating func takeBatchReports() -> [BatchReport] {
    trainer.takeBatchReports().map { report in
      let head = (report.head as? IBProbitHead<Float>).map(IBProbitReferenceHead.init)
      return BatchReport(batch: report.batch, loss: report.loss, head: head ?? report.head)
    }
  }

  func stepCount(rowCount: Int) -> Int { trainer.stepCount(rowCount: rowCount) }
  func encode(into writer: inout SafetensorsWriter) { trainer.encode(into: &writer) }
  mutating func restore(from file: SafetensorsFile) throws(DataError) {
    try trainer.restore(from: file)
  }
}

extension IBProbitHead: OriginallyScoredHead where Scalar == Float {
  /// Confidences of its `ece` are those of the binary conditionals alone (CBC), ours those of the equal mixture
  /// with the binary marginals, from which its `nll` comes, too.
  func originalScores(
    _ split: FeatureSplit, own: SplitScores, _ method: Method
  ) throws(NumericsError) -> SplitScores {
    let theirs = try IBProbitReferenceHead(self).evaluation(
      features: split.features, labels: split.labels)
    var scores = own
    for name in SplitEvaluations.loggedNames { scores[name] = theirs[name] }
    return scores
  }
}
