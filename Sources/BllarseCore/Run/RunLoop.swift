import BllarseNumerics

/// The epochs of a run: what is fitted, how far it is, and what is kept of it.
struct RunLoop {
  private(set) var trainer: any HeadTrainer
  var progress = RunProgress()
  let configuration: RunConfiguration
  let data: RunData
  let output: RunOutput?
  private let clock: Stopwatch
  /// Seconds that the run had taken before it was resumed.
  private var secondsBefore = 0.0
  private let train: FeatureSplit
  let roles: SplitRoles
  var scores: SplitEvaluations?
  /// The rows to calibrate on, where that is asked for.
  let calibrationSplit: FeatureSplit?
  /// For `--ood`; they are read before the fit.
  private let outOfDistributionRows: FeatureMatrix?
  /// The further scores, as far as they were computed.
  private var metrics: RunMetrics?
  /// What `--calibration` did, once the last epoch is over.
  var calibration: RunCalibration?
  private let arguments: String
  let parallelism: Parallelism
  /// For scores, which are finished.
  var scoring: Parallelism { parallelism.cancelled(by: nil) }
  private let backboneDigest: String

  init(
    _ configuration: RunConfiguration, data: RunData, parallelism: Parallelism,
    output: RunOutput?, clock: Stopwatch
  ) throws(DataError) {
    self.configuration = configuration
    self.data = data
    self.output = output
    self.clock = clock
    train = try data.dataset.split(SplitRoles.training)
    roles = data.roles
    calibrationSplit =
      configuration.calibrationOrDefault.needsValidation
      ? try roles.calibrationSplit(
        of: data.dataset,
        isChosen: configuration.data.testSplit != nil && configuration.data.validationSplit != nil)
      : nil
    self.parallelism = parallelism
    outOfDistributionRows = try OutOfDistributionRows.features(
      of: configuration, featureCount: data.dataset.featureCount)
    trainer = try HeadRegistry.trainer(
      configuration,
      data: TrainingData(
        split: train, classCount: data.dataset.classCount,
        initialWeights: try data.initialWeights(configuration)),
      parallelism: parallelism)
    // Only files that are written need it.
    backboneDigest = output == nil ? "" : data.backbone?.digest ?? ""
    progress.seconds.load = data.loadSeconds
    progress.seconds.features = data.featureSeconds
    arguments = RunOutput.json(
      Dictionary(uniqueKeysWithValues: configuration.arguments.map { ($0.name, $0.value) }))
    if let output, !configuration.output.resumes, !configuration.output.overwrites {
      try OutputOwner(of: output.directory)?.check(data: train.fingerprint)
    }
  }

  // MARK: - Going on

  private var checkpointPath: String? { output?.path(RunCheckpoint.fileName) }

  /// Goes on from the checkpoint in the output directory, or from the start if the run had not come to
  /// one.
  ///
  /// - Throws: `DataError` for a checkpoint that is damaged, or of another run.
  mutating func resume(note: (String) -> Void) throws(DataError) {
    guard let output, let path = checkpointPath else { return }
    guard Files.exists(path) else {
      note("\(path) does not exist: the run starts at the beginning")
      return
    }
    let file = try SafetensorsFile(path: path)
    let stored = try RunCheckpoint(reading: file, arguments: arguments, data: train.fingerprint)
    guard stored.progress.epoch >= 1, stored.progress.step >= 0,
      stored.progress.step <= trainer.stepCount(rowCount: train.rowCount)
    else {
      throw DataError(
        .malformedFile, file: path, key: "metadata progress",
        found: "epoch \(stored.progress.epoch), step \(stored.progress.step)",
        expected: "a place in this run", advice: "remove the checkpoint and start the run again")
    }
    try trainer.restore(from: file)
    let load = (progress.seconds.load, progress.seconds.features)
    progress = stored.progress
    secondsBefore = progress.seconds.total
    progress.seconds.load += load.0
    progress.seconds.features += load.1
    try output.resume(progress.records)
    note(
      progress.epoch > configuration.effectiveEpochs
        ? "the run was over: its results are written again"
        : "going on in epoch \(progress.epoch) after step \(progress.step)")
  }

  /// Writes the checkpoint of the run.
  private func save() throws(DataError) {
    guard let path = checkpointPath else { return }
    output?.begin()
    try write(to: path)
  }

  private func write(to path: String) throws(DataError) {
    var progress = progress
    progress.seconds.total = secondsBefore + clock.elapsed
    try RunCheckpoint(arguments: arguments, data: train.fingerprint, progress: progress)
      .write(trainer, to: path)
  }

  // MARK: - An epoch

  /// Takes the steps of the epoch that are left.
  ///
  /// - Parameters:
  ///   - shouldStop: asked after every step.
  ///   - report: told the scores after batches, where these were asked for.
  /// - Throws: `RunInterrupted`, after writing a checkpoint.
  mutating func runEpoch(shouldStop: () -> Bool, report: (EpochRecord) -> Void) throws {
    let count = trainer.stepCount(rowCount: train.rowCount)
    var rows = train
    if progress.step < count, let augmented = data.augmentedTraining {
      let watch = Stopwatch()
      rows = try augmented.rows(epoch: progress.epoch)
      progress.seconds.features += watch.elapsed
      guard !shouldStop() else {
        try save()
        throw interruption(during: .steps(taken: progress.step, of: count))
      }
    }
    while progress.step < count {
      guard try takeStep(on: rows) else {
        // The state is the one before the step, so the fit that goes on from it ends with the same bits.
        try save()
        throw interruption(during: .fit)
      }
      for kept in trainer.takeBatchReports() { report(try finishBatch(kept)) }
      // After the very last step it is quicker to finish than to stop.
      let isOver = progress.step == count && progress.epoch == configuration.effectiveEpochs
      guard isOver || !shouldStop() else {
        try save()
        throw interruption(during: .steps(taken: progress.step, of: count))
      }
    }
  }

  /// Takes the next step of the epoch.
  ///
  /// - Returns: false when it was told to stop, and nothing has changed.
  private mutating func takeStep(on rows: FeatureSplit) throws(NumericsError) -> Bool {
    let watch = Stopwatch()
    defer { progress.seconds.fit += watch.elapsed }
    do {
      try trainer.runStep(progress.step, epoch: progress.epoch, on: rows)
    } catch {
      if error == .cancelled { return false }
      throw error
    }
    progress.step += 1
    return true
  }

  private func interruption(during place: RunInterrupted.Place) -> RunInterrupted {
    RunInterrupted(directory: output?.directory, epoch: progress.epoch, place: place)
  }

  /// Scores the head after a batch within the epoch.
  private mutating func finishBatch(_ report: BatchReport) throws -> EpochRecord {
    let watch = Stopwatch()
    let scores = try SplitEvaluations(
      report.head, on: data.dataset, roles, configuration, skipsTraining: report.loss != nil,
      parallelism: scoring)
    progress.seconds.evaluate += watch.elapsed
    let seen = configuration.seenExamples(
      epoch: progress.epoch, batch: report.batch, rowCount: train.rowCount)
    return try keep(
      scores, of: report.head, loss: report.loss ?? scores.train.nll, step: seen, seen: seen)
  }

  /// Scores the head, keeps what is to be kept, and moves on to the next epoch.
  ///
  /// - Parameter willSave: told, where the state of the run is to be kept, which epoch it is and how to
  ///   write it to a file. This comes before the checkpoint itself: a run that is killed in between tells
  ///   it again.
  /// - Returns: what the epoch measured.
  /// - Throws: `NumericsError` for an unusable head, `DataError` for a file that cannot be written.
  mutating func finishEpoch(
    willSave: (_ epoch: Int, _ write: (String) throws -> Void) -> Void
  ) throws -> EpochRecord {
    let epoch = progress.epoch
    let watch = Stopwatch()
    let head = trainer.head
    let scores = try SplitEvaluations(
      head, on: data.dataset, roles, configuration, parallelism: scoring)
    self.scores = scores
    progress.seconds.evaluate += watch.elapsed
    let seen = configuration.seenExamples(epoch: epoch, batch: nil, rowCount: train.rowCount)
    let record = try keep(
      scores, of: head, loss: trainer.batchLoss ?? scores.train.nll,
      step: configuration.effectiveInterval > 0 ? seen : epoch, seen: seen,
      bound: trainer.info.evidence)
    progress.epoch += 1
    progress.step = 0
    let isLast = progress.epoch > configuration.effectiveEpochs
    if isLast || epoch % configuration.output.saveEvery == 0 {
      if !configuration.reachesOptimumAtOnce { willSave(epoch, write) }
      if configuration.effectiveEpochs > 1 { try save() }
    }
    return record
  }

  /// Keeps scores, and the head if it is the best so far.
  private mutating func keep(
    _ scores: SplitEvaluations, of head: any Head, loss: Double, step: Int, seen: Int,
    bound: Double? = nil
  ) throws(DataError) -> EpochRecord {
    var metrics = scores.metrics
    metrics["seen_examples"] = Double(seen)
    metrics["loss"] = loss
    metrics["elbo"] = bound
    metrics.merge(scores.logged) { $1 }
    let record = EpochRecord(
      epoch: progress.epoch, step: step, seconds: secondsBefore + clock.elapsed, metrics: metrics)
    try output?.append(record)
    progress.records.append(record)
    if let validation = scores.validation {
      let candidate = BestEpoch(
        epoch: progress.epoch, validation: validation, splits: scores.scores.byName,
        seenExamples: seen)
      if candidate.isBetter(than: progress.best) {
        progress.best = candidate
        try output?.writeBest(checkpoint(of: head))
      }
    }
    return record
  }

  mutating func evaluate() throws -> SplitEvaluations {
    let result = try SplitEvaluations(
      head, on: data.dataset, roles, configuration, parallelism: scoring)
    scores = result
    return result
  }

  // MARK: - The end

  /// The head as it is now: after the last epoch with its calibration.
  var head: any Head { calibration?.head ?? trainer.head }

  /// The head as it is now, with what made it.
  func checkpoint() -> HeadCheckpoint { checkpoint(of: head) }

  private func checkpoint(of head: any Head) -> HeadCheckpoint {
    HeadCheckpoint(
      head: head, classNames: data.dataset.classNames, dataset: data.dataset.name,
      backbone: data.backbone?.path ?? "", backboneDigest: backboneDigest, arguments: arguments)
  }

  /// The scores of the head as it is now.
  ///
  /// - Parameter computesMetrics: whether to compute the scores that need more than the epochs'; otherwise
  ///   those that an earlier call came to are taken.
  /// - Returns: what `result.json` holds.
  /// - Throws: `NumericsError` for an unusable head.
  mutating func result(computesMetrics: Bool = true) throws -> RunResult {
    let scores = if let scores { scores } else { try evaluate() }
    let watch = Stopwatch()
    if computesMetrics {
      var further = try RunMetrics(
        head, on: data.dataset, roles, configuration, parallelism: parallelism)
      metrics = further
      if let outOfDistributionRows {
        let test = try data.dataset.split(roles.test)
        try further.detect(outOfDistributionRows, head, among: test, parallelism: scoring)
        metrics = further
      }
    }
    progress.seconds.evaluate += watch.elapsed
    progress.seconds.total = secondsBefore + clock.elapsed
    return RunResult(
      train: scores.train, test: scores.test, splits: scores.scores, roles: roles,
      uncalibrated: calibration?.uncalibrated, calibration: calibration?.report,
      seconds: progress.seconds, threads: parallelism.threadCount,
      elbo: trainer.info.evidence, iterations: trainer.info.iterations,
      certificate: trainer.info.certificate, best: progress.best,
      recipe: trainer.info.report,
      chosen: ChosenSettings(
        trainer.info.report, penalty: trainer.info.chosenPenalty, calibration: calibration?.report),
      metrics: metrics,
      arguments: Dictionary(
        uniqueKeysWithValues: configuration.arguments.map { ($0.name, $0.value) }),
      data: output == nil ? nil : train.fingerprint, versions: Versions.current)
  }
}
