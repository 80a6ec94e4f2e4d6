public import BllarseNumerics

extension HeadMethod {
  /// The independent binary probit head.
  static let probit = {
    let batches: [any AnyFitOption] = [
      FitOptions.parity, FitOptions.priorPrecision, FitOptions.updateIterations,
      FitOptions.resetLossPerEpoch,
    ]
    var method = HeadMethod(
      "IBProbit", selector: .update,
      ways: [
        .recipe(.probit, "converged"),
        FittingWay(
          "converged", requiring: FitOptions.parity.info.name,
          [FitOptions.parity, FitOptions.priorPrecision, FitOptions.tolerance, FitOptions.certify],
          .isOnePass,
          memory: { shape, _ in 1.2 * shape.design + 7 * shape.square + 3 * shape.logits },
          trainer: { plan, data, execution in
            OnePassTrainer(plan, data, execution) { request throws(NumericsError) in
              try IBProbitReferenceHead.optimum(request)
            }
          }),
        .probit(
          .cavi, batches + [FitOptions.forgettingRate], .takesFreshRows,
          memory: { 1.2 * $0.design + 4 * $0.square }),
        .probit(
          .merge, batches + [FitOptions.forgettingRate, FitOptions.batchSize], .takesFreshRows,
          memory: { 0.1 * $0.design + (4 + $0.threads) * $0.square }),
        .probit(
          .sites, batches + [FitOptions.batchSize],
          memory: { 1.2 * $0.design + 7 * $0.square + 3 * $0.logits }),
      ], kinds: [IBProbitHead<Float>.self, LaplaceHead.self, IBProbitReferenceHead.self])
    method.meaningOptions = ["update", "num-update-iters", "batch-size", "parity"]
    method.meantWay = (["num-update-iters", "batch-size", "parity"], "merge")
    return method
  }()
}

extension FittingWay {
  fileprivate static func probit(
    _ update: IBProbitTrainer.Update, _ options: [any AnyFitOption], _ traits: Traits = [],
    memory: @escaping @Sendable (MemoryShape) -> Double
  ) -> FittingWay {
    FittingWay(
      update.rawValue, options, traits, memory: { shape, _ in memory(shape) },
      trainer: { IBProbitTrainer(update, $0, data: $1, execution: $2) })
  }
}

extension IBProbitReferenceHead {
  /// The optimum of the evidence lower bound of all rows.
  fileprivate static func optimum(
    _ request: FitRequest
  ) throws(NumericsError) -> (any Head, FitInfo) {
    var probit = IBProbitHead<Float>(
      HeadShape(
        featureCount: request.features.columnCount, classCount: request.classCount,
        transform: .standardLayerNorm, priorPrecision: request.method[FitOptions.priorPrecision]))
    let fit = try probit.fit(
      features: request.features, labels: request.labels,
      tolerance: request.method[FitOptions.tolerance],
      isCertified: request.method[FitOptions.certify],
      execution: request.execution)
    return (
      IBProbitReferenceHead(probit),
      FitInfo(
        iterations: fit.iterations, evidence: fit.evidenceLowerBounds.last,
        certificate: fit.certificate)
    )
  }
}

/// The closed-form updates of the probit head.
struct IBProbitTrainer: HeadTrainer {
  /// How the head goes through the data.
  enum Update: String, Sendable {
    /// A fixed number of coordinate-ascent iterations on the full batch.
    case cavi
    /// Each batch alone by a fixed number of iterations, then merged with forgetting.
    case merge
    /// Batches, several epochs, towards the optimum of the full batch.
    case sites
  }

  private var probit: IBProbitHead<Float>
  private(set) var info = FitInfo()
  private var sites: IBProbitSiteRefinement<Float>?
  /// The epoch of `merge` that is being run, and its number.
  private var merging: (number: Int, epoch: MergedEpoch<Float>)?
  /// What a checkpoint holds of an epoch of `merge`, until the epoch goes on.
  private var stored: (naturalMean: Matrix<Double>, gram: Matrix<Double>?)?
  /// The posterior after each of the small batches of the epoch, which are merged at its end only.
  private var running: (number: Int, merge: RunningMerge)?
  private var storedPosterior: GaussianPosterior?
  private var losses = BatchLosses()
  /// Of an epoch of `sites`.
  private var batches = EpochBatches()
  private let update: Update
  private let batchSize: Int
  private let updateIterations: Int
  private let plan: FitPlan
  private let data: TrainingData
  /// For batches, which are finished.
  private let execution: Execution
  /// For fits to all rows, which may be told to stop.
  private let cancellable: Execution

  var head: any Head { scored(probit) }
  var batchLoss: Double? { losses.mean }

  init(
    _ update: Update, _ plan: FitPlan, data: TrainingData,
    execution: Execution
  ) {
    (self.update, self.plan) = (update, plan)
    batchSize = plan.method[FitOptions.batchSize]
    updateIterations = plan.method[FitOptions.updateIterations]
    self.data = data
    cancellable = execution
    self.execution = execution.cancelled(by: nil)
    probit = IBProbitHead(
      HeadShape(
        featureCount: data.featureCount, classCount: data.classCount,
        transform: .standardLayerNorm,
        priorPrecision: plan.method[FitOptions.priorPrecision]))
  }

  /// A head with the scores that were asked for.
  private func scored(_ probit: IBProbitHead<Float>) -> any Head {
    plan.method[FitOptions.parity] ? IBProbitReferenceHead(probit) : probit
  }

  func stepCount(rowCount: Int) -> Int {
    switch update {
    case .cavi: 1
    case .sites: plan.batchCount(rowCount)
    case .merge:
      MergedEpoch<Float>.Steps(
        probit.configuration, rowCount: rowCount, batchSize: batchSize,
        iterations: updateIterations, threadCount: execution.threadCount
      ).count
    }
  }

  mutating func runStep(
    _ step: Int, epoch: Int, on split: FeatureSplit
  ) throws(NumericsError) -> [BatchReport] {
    switch update {
    case .cavi: try fitAllRows(epoch: epoch, split)
    case .sites: return try refine(step, epoch: epoch, split)
    case .merge: return try merge(step, epoch: epoch, split)
    }
    return []
  }

  /// Whether a step begins an epoch with the prior.
  private func resets(step: Int, epoch: Int) -> Bool {
    plan.method[FitOptions.resetLossPerEpoch] && epoch > 1 && step == 0
  }

  /// On a copy of the head, so that a fit that is told to stop leaves nothing.
  private mutating func fitAllRows(
    epoch: Int, _ split: FeatureSplit
  ) throws(NumericsError) {
    var head = probit
    if resets(step: 0, epoch: epoch) { head.reset() }
    let fit = try head.update(
      features: split.features, labels: split.labels, iterations: updateIterations,
      forgettingRate: plan.method[FitOptions.forgettingRate],
      start: .seeded(plan.seed, index: UInt64(epoch)), reportsBounds: true,
      execution: cancellable)
    info.iterations += fit.iterations
    info.evidence = fit.evidenceLowerBounds.last
    losses.add(try head.originalLoss(split.features, split.labels, execution), epoch: epoch)
    probit = head
  }

  private mutating func refine(
    _ step: Int, epoch: Int, _ split: FeatureSplit
  ) throws(NumericsError) -> [BatchReport] {
    if resets(step: step, epoch: epoch) { sites = nil }
    if sites == nil {
      sites = try IBProbitSiteRefinement(
        probit.configuration, features: split.features, labels: split.labels,
        execution: execution)
    }
    let rows = batches.rows(ofBatch: step, epoch: epoch, plan, rowCount: split.rowCount)
    sites?.refresh(rows, iterations: updateIterations)
    info.iterations += updateIterations
    if step == plan.batchCount(split.rowCount) - 1, let sites {
      probit.posterior = sites.posterior
      info.evidence = sites.evidenceLowerBound()
    }
    return plan.reports(
      afterBatch: step + 1, of: stepCount(rowCount: split.rowCount), headOfSites)
  }

  /// The head with the posterior that the refinement has come to.
  private var headOfSites: any Head {
    var head = probit
    if let sites { head.posterior = sites.posterior }
    return scored(head)
  }

  private mutating func merge(
    _ step: Int, epoch: Int, _ split: FeatureSplit
  ) throws(NumericsError) -> [BatchReport] {
    if resets(step: step, epoch: epoch) { probit.reset() }
    if merging?.number != epoch { merging = (epoch, mergedEpoch(epoch, split)) }
    if let stored {
      merging?.epoch.restore(naturalMean: stored.naturalMean, gram: stored.gram)
      self.stored = nil
    }
    let seed = plan.seed
    let start: @Sendable (Int) -> IBProbitHead<Float>.Start = { batch in
      .seeded(seed, index: UInt64(epoch) << 20 | UInt64(batch))
    }
    var reports = try follow(step, epoch: epoch, split, start: start)
    info.iterations += try merging?.epoch.run(step, &probit, start: start) ?? 0
    guard let merged = merging?.epoch else { return reports }
    if merged.steps.isSequential {
      let rows = merged.rows(of: step)
      let loss = try probit.originalLoss(
        split.features.gatheringRows(rows), rows.map { split.labels[$0] }, execution)
      losses.add(loss, epoch: epoch)
      reports += plan.reports(
        afterBatch: step + 1, of: merged.steps.batchCount, loss: losses.mean, scored(probit))
    }
    if step == merged.steps.count - 1 {
      probit.solvedMean = try probit.mean()
    }
    return reports
  }

  /// Follows the posterior through the small batches of a step.
  private mutating func follow(
    _ step: Int, epoch: Int, _ split: FeatureSplit,
    start: (Int) -> IBProbitHead<Float>.Start
  ) throws(NumericsError) -> [BatchReport] {
    guard let merged = merging?.epoch, !merged.steps.isSequential, step < merged.steps.batchSteps
    else { return [] }
    var merge =
      if let running, running.number == epoch { running.merge } else { begunMerge(split) }
    // The matrices are this value's own while they are changed.
    running = nil
    var reports: [BatchReport] = []
    for batch in merged.steps.batches(step) {
      losses.add(try merge.merge(merged.rows(of: batch), start: start(batch)), epoch: epoch)
      reports += plan.reports(
        afterBatch: batch + 1, of: merged.steps.batchCount, loss: losses.mean, scored(merge.head))
    }
    // The steps that follow add up all rows; a checkpoint between them holds no batch's posterior.
    if step < merged.steps.batchSteps - 1 { running = (epoch, merge) }
    return reports
  }

  /// At the start of an epoch, or where a checkpoint left it.
  private mutating func begunMerge(_ split: FeatureSplit) -> RunningMerge {
    var merge = RunningMerge(
      probit, features: split.features, labels: split.labels, iterations: updateIterations,
      forgettingRate: plan.method[FitOptions.forgettingRate], execution: execution)
    if let storedPosterior { merge.restore(storedPosterior) }
    storedPosterior = nil
    return merge
  }

  private func mergedEpoch(_ epoch: Int, _ split: FeatureSplit) -> MergedEpoch<Float> {
    MergedEpoch(
      probit, features: split.features, labels: split.labels,
      order: plan.rowOrder(epoch: epoch, rowCount: split.rowCount),
      batchSize: batchSize, iterations: updateIterations,
      forgettingRate: plan.method[FitOptions.forgettingRate], execution: execution)
  }

  func encode(into writer: inout SafetensorsWriter) {
    writer.add("precision", probit.posterior.precision)
    writer.add("natural_mean", probit.posterior.naturalMean)
    sites?.encode(into: &writer)
    if let naturalMean = merging?.epoch.naturalMean {
      writer.add("epoch.natural_mean", naturalMean)
      if let gram = merging?.epoch.gram { writer.add("epoch.gram", gram) }
    }
    if let posterior = running?.merge.posterior {
      writer.add("epoch.running_precision", posterior.precision)
      writer.add("epoch.running_natural_mean", posterior.naturalMean)
    }
    losses.encode(into: &writer)
    writer.encode(iterations: info.iterations, info.evidence)
  }

  mutating func restore(from file: SafetensorsFile) throws(DataError) {
    let (size, classes) = (probit.posterior.size, probit.posterior.classCount)
    probit.posterior = GaussianPosterior(
      precision: try file.matrix("precision", rows: size, columns: size),
      naturalMean: try file.matrix("natural_mean", rows: size, columns: classes))
    if file.contains("epoch.natural_mean") {
      stored = (
        try file.matrix("epoch.natural_mean", rows: size, columns: classes),
        file.contains("epoch.gram")
          ? try file.matrix("epoch.gram", rows: size, columns: size) : nil
      )
    }
    if file.contains("epoch.running_precision") {
      storedPosterior = GaussianPosterior(
        precision: try file.matrix("epoch.running_precision", rows: size, columns: size),
        naturalMean: try file.matrix(
          "epoch.running_natural_mean", rows: size, columns: classes))
    }
    losses = try BatchLosses(decoding: file)
    if IBProbitSiteRefinement<Float>.isStored(in: file) {
      do {
        sites = try IBProbitSiteRefinement(
          probit.configuration, features: data.split.features, labels: data.split.labels,
          execution: execution)
      } catch {
        throw DataError(.malformedFile, file: file.path, found: "\(error)")
      }
      try sites?.restore(from: file)
    }
    (info.iterations, info.evidence) = try file.progress()
  }
}

extension IBProbitHead: Head, ClassificationHead, LatentHead where Scalar == Float {
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

extension IBProbitHead: StreamingHead where Scalar == Float {
  /// A batch is fitted alone before it is merged.
  public static var mergesExactly: Bool { false }

  /// Fits a batch by as many iterations as `--update merge` takes, from zero, and merges it without forgetting.
  public mutating func update(
    _ features: FeatureMatrix, labels: [Int32], execution: Execution
  ) throws(NumericsError) {
    var head = self
    try head.update(
      features: features, labels: labels, iterations: FitOptions.updateIterations.defaultValue,
      execution: execution)
    // Once, for all rows that are predicted next.
    head.solvedMean = try head.mean()
    self = head
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
public struct IBProbitReferenceHead: ClassificationHead {
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
    for name in SplitEvaluations.loggedNames where theirs.values[name] != nil {
      scores[name] = theirs[name]
    }
    return scores
  }
}
