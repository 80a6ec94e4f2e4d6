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
  /// What `--calibration` did, once the last epoch is over.
  var calibration: RunCalibration?
  private let arguments: String
  let parallelism: Parallelism
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
      configuration.evidence.calibration.needsValidation
      ? try roles.calibrationSplit(
        of: data.dataset,
        isChosen: configuration.testSplit != nil && configuration.validationSplit != nil) : nil
    self.parallelism = parallelism
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
  }

  // MARK: - Going on

  private var checkpointPath: String? { output?.path(RunCheckpoint.fileName) }

  /// Goes on from the checkpoint in the output directory, or from the start if the run had not come to
  /// one.
  ///
  /// - Throws: `DataError` for a checkpoint that is damaged, or of another run.
  mutating func resume(note: (String) -> Void) throws(DataError) {
    guard let output, let path = checkpointPath else { return }
    guard FileStatus.exists(path) else {
      try output.resume([])
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
    var progress = progress
    progress.seconds.total = secondsBefore + clock.elapsed
    try RunCheckpoint(arguments: arguments, data: train.fingerprint, progress: progress)
      .write(trainer, to: path)
  }

  // MARK: - An epoch

  /// Takes the steps of the epoch that are left.
  ///
  /// - Throws: `RunInterrupted`, after writing a checkpoint.
  mutating func runEpoch(shouldStop: () -> Bool) throws {
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

  /// Scores the head, keeps what is to be kept, and moves on to the next epoch.
  mutating func finishEpoch() throws -> EpochRecord {
    let epoch = progress.epoch
    let watch = Stopwatch()
    let scores = try evaluate()
    progress.seconds.evaluate += watch.elapsed
    let record = EpochRecord(
      epoch: epoch, step: epoch, loss: scores.train.nll, acc: scores.test.acc,
      nll: scores.test.nll, ece: scores.test.ece, elbo: trainer.evidenceLowerBound,
      metrics: scores.metrics, seconds: secondsBefore + clock.elapsed)
    try output?.append(record)
    progress.records.append(record)
    if let validation = scores.validation {
      let candidate = BestEpoch(epoch: epoch, validation: validation, splits: scores.scores.byName)
      if candidate.isBetter(than: progress.best) {
        progress.best = candidate
        try output?.writeBest(checkpoint())
      }
    }
    progress.epoch += 1
    progress.step = 0
    let isLast = progress.epoch > configuration.effectiveEpochs
    if configuration.effectiveEpochs > 1 && (isLast || epoch % configuration.saveEvery == 0) {
      try save()
    }
    return record
  }

  mutating func evaluate() throws -> SplitEvaluations {
    let result = try SplitEvaluations(head, on: data.dataset, roles)
    scores = result
    return result
  }

  // MARK: - The end

  /// The head as it is now: after the last epoch with its calibration.
  var head: any Head { calibration?.head ?? trainer.head }

  /// The head as it is now, with what made it.
  func checkpoint() -> HeadCheckpoint {
    HeadCheckpoint(
      head: head, classNames: data.dataset.classNames, dataset: data.dataset.name,
      backbone: data.backbone?.path ?? "", backboneDigest: backboneDigest, arguments: arguments)
  }

  /// The scores of the head as it is now.
  ///
  /// - Throws: `DataError` for a bad file of foreign rows, `NumericsError` for an unusable head.
  mutating func result() throws -> RunResult {
    let scores = if let scores { scores } else { try evaluate() }
    let watch = Stopwatch()
    let metrics = try RunMetrics(
      head, on: data.dataset, roles, configuration, parallelism: parallelism)
    progress.seconds.evaluate += watch.elapsed
    progress.seconds.total = secondsBefore + clock.elapsed
    return RunResult(
      train: scores.train, test: scores.test, splits: scores.scores, roles: roles,
      uncalibrated: calibration?.uncalibrated, calibration: calibration?.report,
      seconds: progress.seconds, elbo: trainer.evidenceLowerBound, iterations: trainer.iterations,
      certificate: trainer.certificate, best: progress.best,
      recipe: trainer.report, metrics: metrics,
      arguments: Dictionary(
        uniqueKeysWithValues: configuration.arguments.map { ($0.name, $0.value) }),
      versions: Versions.current)
  }
}
