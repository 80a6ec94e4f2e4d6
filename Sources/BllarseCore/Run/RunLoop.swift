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
  /// What the trainer is given of them: copies, where class probabilities are fitted so.
  private let fittedRows: FeatureSplit
  let roles: SplitRoles
  private var scores: SplitEvaluations?
  /// The rows to calibrate on, where that is asked for.
  private let calibrationSplit: FeatureSplit?
  /// For `--ood`; they are read before the fit.
  private let outOfDistributionRows: FeatureMatrix?
  /// The further scores, as far as they were computed.
  private var metrics: RunMetrics?
  /// What `--calibration` did, once the last epoch is over, and the scores of the splits without it.
  private var calibration:
    (head: CalibratedHead, report: CalibrationReport, uncalibrated: [String: SplitScores])?
  private let arguments: String
  let execution: Execution
  /// For what is finished, whoever wants to stop.
  private var scoring: Execution { execution.cancelled(by: nil) }
  private let backboneDigest: String

  init(
    _ configuration: RunConfiguration, data: RunData, execution: Execution,
    output: RunOutput?, clock: Stopwatch
  ) throws(DataError) {
    (self.configuration, self.data, self.output) = (configuration, data, output)
    (self.clock, self.execution, roles) = (clock, execution, data.roles)
    train = try data.dataset.split(SplitRoles.training)
    calibrationSplit =
      configuration.calibrationOrDefault.needsValidation
      ? try data.dataset.split(
        roles.calibrationSplit(
          among: data.dataset.splitNames, of: data.dataset.file,
          isChosen: configuration.data.choosesSplits)) : nil
    outOfDistributionRows = try configuration.outOfDistributionRows(
      featureCount: data.dataset.featureCount)
    let way = configuration.method.knownWay
    fittedRows = configuration.effectiveEpochs > 0 ? way?.fittedRows(train) ?? train : train
    trainer = try HeadRegistry.trainer(
      configuration,
      data: TrainingData(
        split: fittedRows, classCount: data.dataset.outputs.count,
        initialWeights: try data.initialWeights(configuration),
        outputNames: data.dataset.outputs.names), execution: execution)
    // Only files that are written need it.
    backboneDigest = output == nil ? "" : data.backbone?.digest ?? ""
    progress.seconds = data.seconds
    arguments = RunOutput.json(configuration.argumentsByName)
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
    try DataError.require(
      stored.progress.epoch >= 1 && stored.progress.step >= 0
        && stored.progress.step <= trainer.stepCount(rowCount: fittedRows.rowCount), .malformedFile,
      file: path, key: "metadata progress",
      found: "epoch \(stored.progress.epoch), step \(stored.progress.step)",
      expected: "a place in this run", advice: "remove the checkpoint and start the run again")
    try trainer.restore(from: file)
    progress = stored.progress
    secondsBefore = progress.seconds.total
    progress.seconds.load += data.seconds.load
    progress.seconds.features += data.seconds.features
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

  /// Takes the steps of the epoch that are left, and reports the scores after batches, where these were asked
  /// for.
  ///
  /// - Throws: `RunInterrupted`, after writing a checkpoint.
  mutating func runEpoch(shouldStop: () -> Bool, report: (EpochRecord) -> Void) throws {
    let count = trainer.stepCount(rowCount: fittedRows.rowCount)
    var rows = fittedRows
    if progress.step < count, let augmentedRows = data.augmentedRows {
      let watch = Stopwatch()
      rows = try augmentedRows(progress.epoch)
      progress.seconds.features += watch.elapsed
      guard !shouldStop() else {
        throw try interrupt(during: .steps(taken: progress.step, of: count))
      }
    }
    while progress.step < count {
      guard let reports = try takeStep(on: rows) else {
        // The state is the one before the step, so the fit that goes on from it ends with the same bits.
        throw try interrupt(during: .fit)
      }
      for kept in reports { report(try finishBatch(kept)) }
      // After the very last step it is quicker to finish than to stop.
      let isOver = progress.step == count && progress.epoch == configuration.effectiveEpochs
      guard isOver || !shouldStop() else {
        throw try interrupt(during: .steps(taken: progress.step, of: count))
      }
    }
  }

  /// Takes the next step of the epoch.
  ///
  /// - Returns: what is to be scored; `nil` when it was told to stop, and nothing has changed.
  private mutating func takeStep(
    on rows: FeatureSplit
  ) throws(NumericsError) -> [BatchReport]? {
    let watch = Stopwatch()
    defer { progress.seconds.fit += watch.elapsed }
    do {
      let reports = try trainer.runStep(progress.step, epoch: progress.epoch, on: rows)
      progress.step += 1
      return reports
    } catch {
      if error == .cancelled { return nil }
      throw error
    }
  }

  /// Writes the checkpoint, for a run that ends here.
  private func interrupt(during place: RunInterrupted.Place) throws(DataError) -> RunInterrupted {
    try save()
    return RunInterrupted(directory: output?.directory, epoch: progress.epoch, place: place)
  }

  /// Scores the head after a batch within the epoch.
  private mutating func finishBatch(_ report: BatchReport) throws -> EpochRecord {
    let watch = Stopwatch()
    let scores = try SplitEvaluations(
      report.head, on: data.dataset, roles, configuration, skipsTraining: report.loss != nil,
      execution: execution)
    progress.seconds.evaluate += watch.elapsed
    let seen = configuration.seenExamples(
      epoch: progress.epoch, batch: report.batch, rowCount: train.rowCount)
    return try keep(
      scores, of: report.head, loss: report.loss ?? scores.train.nll, step: seen, seen: seen)
  }

  /// Scores the head, keeps what is to be kept, and moves on to the next epoch.
  ///
  /// Where the state of the run is to be kept, `willSave` is told which epoch it is and how to write it to a
  /// file. This comes before the checkpoint itself: a run that is killed in between tells it again.
  ///
  /// - Throws: `NumericsError` for an unusable head, `DataError` for a file that cannot be written.
  mutating func finishEpoch(
    willSave: (_ epoch: Int, _ write: (String) throws -> Void) -> Void
  ) throws -> EpochRecord {
    let epoch = progress.epoch
    let watch = Stopwatch()
    let scores = try evaluate()
    progress.seconds.evaluate += watch.elapsed
    let seen = configuration.seenExamples(epoch: epoch, batch: nil, rowCount: train.rowCount)
    let record = try keep(
      scores, of: trainer.head, loss: trainer.batchLoss ?? scores.train.nll,
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

  private mutating func evaluate() throws -> SplitEvaluations {
    let result = try SplitEvaluations(
      head, on: data.dataset, roles, configuration, execution: execution)
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
      head: head, outputNames: data.dataset.outputs.names, dataset: data.dataset.name,
      backbone: data.backbone?.path ?? "", backboneDigest: backboneDigest, arguments: arguments)
  }

  /// What `result.json` holds of the head as it is now; scores that need more than the epochs' are computed, or
  /// taken as far as an earlier call came.
  mutating func result(computesMetrics: Bool = true) throws -> RunResult {
    let scores = try scores ?? evaluate()
    let watch = Stopwatch()
    if computesMetrics {
      var further = try RunMetrics(
        head, on: data.dataset, roles, configuration, execution: execution)
      further.add(trainer.info.labels, names: data.dataset.outputs.names)
      metrics = further
      try further.detect(
        outOfDistributionRows, head, among: try data.dataset.split(roles.test),
        execution: execution)
      metrics = further
    }
    progress.seconds.evaluate += watch.elapsed
    progress.seconds.total = secondsBefore + clock.elapsed
    var result = RunResult(
      scores, configuration, seconds: progress.seconds, threads: execution.threadCount)
    (result.uncalibrated, result.calibration) = (calibration?.uncalibrated, calibration?.report)
    (result.elbo, result.certificate) = (trainer.info.evidence, trainer.info.certificate)
    (result.iterations, result.recipe) = (trainer.info.iterations, trainer.info.report)
    (result.best, result.metrics) = (progress.best, metrics)
    result.chosenNumbers = trainer.info.chosen
    result.leftOut =
      trainer.info.estimate ?? (trainer.head as? any LeftOutRegressingHead)?.leftOut?.estimate
    result.data = output == nil ? nil : train.fingerprint
    return result
  }
}

extension RunLoop {
  /// Fits the map that `--calibration` asks for to the validation split, for the last head and the best.
  ///
  /// - Throws: `DataError` when predictions are not numbers, or a file cannot be written; `NumericsError`
  ///   for an unusable head.
  mutating func calibrate(note: (String) -> Void) throws {
    guard let method = configuration.calibrationOrDefault.method, let split = calibrationSplit,
      let name = roles.validation
    else { return }
    let before = try scores ?? evaluate()
    let watch = Stopwatch()
    let head = try trainer.head.classifier()
    let choice = try CalibrationChoice(method, for: head, on: split, execution: scoring)
    try output?.calibrateBest(method, on: split, execution: scoring)
    calibration = (
      CalibratedHead(head, choice.calibration),
      CalibrationReport(choice, split: name, rowCount: split.rowCount), before.scores.byName
    )
    progress.seconds.fit += watch.elapsed
    if split.targets.softDistributions != nil {
      note(
        "--calibration is fitted to the most probable class of each row of the \(name) split, whose targets are class "
          + "probabilities")
    }
    if before[name].acc == 1 {
      note(
        "all \(split.rowCount) rows of the \(name) split are predicted right: they cannot say how "
          + "certain predictions may be, and --calibration keeps close to what the head says")
    }
    if roles.isShared {
      note("predictions are calibrated on the rows that are reported as test, whose scores flatter")
    }
    _ = try evaluate()
  }
}

/// How far a run has come: everything about it but the trainer's state.
struct RunProgress: Sendable, Equatable, Codable {
  /// The epoch that is being run, counted from 1; one more than the last when the run is over.
  var epoch = 1
  /// The steps of that epoch that have been taken.
  var step = 0
  /// What the epochs so far measured.
  var records: [EpochRecord] = []
  /// The best of them, where there is a validation split.
  var best: BestEpoch?
  /// Where the time went so far.
  var seconds = RunSeconds()
}

/// The epoch whose head predicts the validation split best.
public struct BestEpoch: Sendable, Equatable, Codable {
  /// The epoch, counted from 1.
  public var epoch: Int
  /// Its scores on the validation split.
  public var validation: SplitScores
  /// Its scores on every split.
  public var splits: [String: SplitScores]? = nil
  /// The training rows that its steps had seen: fewer than the epoch's when it was scored within it.
  public var seenExamples: Int? = nil

  private enum CodingKeys: String, CodingKey {
    case epoch, validation, splits
    case seenExamples = "seen_examples"
  }

  /// Whether this one is better: by accuracy, then by likelihood, then by calibration, as metrics are
  /// listed; the earlier of equals stays.
  func isBetter(than other: BestEpoch?) -> Bool {
    guard let other else { return true }
    let (a, b) = (validation, other.validation)
    // A head that diverged is never better than one that did not.
    if a.nll.isNaN || b.nll.isNaN { return b.nll.isNaN && !a.nll.isNaN }
    let decisive = Metric.ofSplits(a.task).first { a[$0.name] != b[$0.name] }
    return decisive.map { $0.isBetter(a[$0.name], than: b[$0.name]) } ?? false
  }
}

/// A run that was asked to stop, and did so between two steps, or in a step that begins anew.
public struct RunInterrupted: Error, Equatable, CustomStringConvertible {
  /// The directory from which it can go on, or `nil` when it keeps nothing.
  public let directory: String?
  /// The epoch that it was in.
  public let epoch: Int
  /// Where it was in that epoch.
  public let place: Place

  /// Describes an interruption.
  public init(directory: String?, epoch: Int, place: Place) {
    (self.directory, self.epoch, self.place) = (directory, epoch, place)
  }

  /// A place in an epoch.
  public enum Place: Sendable, Equatable {
    /// Between two steps.
    case steps(taken: Int, of: Int)
    /// In a fit to all rows, which begins anew when the run goes on, and ends with the same bits.
    case fit
    /// Before the first step, while data were read or turned into features.
    case data
  }

  /// Where it stopped.
  public var description: String {
    switch place {
    case .steps(let taken, let count):
      "interrupted in epoch \(epoch) after step \(taken) of \(count)"
    case .fit:
      "interrupted in epoch \(epoch) during its fit to all rows, which will start anew"
    case .data: "interrupted before the first step"
    }
  }
}

extension FeatureSplit {
  /// A short text that tells data apart: the shape, and a hash (FNV-1a, 64 bits) of all labels, weights and
  /// groups and of the features of up to 1024 rows, evenly spread.
  var fingerprint: String {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    func add(_ bits: UInt64) { hash = (hash ^ bits) &* 0x100_0000_01B3 }
    switch targets {
    case .classes(let labels): for label in labels { add(UInt64(bitPattern: Int64(label))) }
    case .distributions(let distributions):
      for value in distributions.probabilities.elements { add(UInt64(value.bitPattern)) }
    case .values(let values): for value in values.elements { add(value.bitPattern) }
    case .labelSets(let sets):
      for row in 0..<sets.rowCount {
        for label in sets.labels(ofRow: row) { add(UInt64(row * sets.labelCount + label)) }
      }
    }
    for weight in weights ?? [] { add(weight.bitPattern) }
    for group in groups ?? [] { add(UInt64(bitPattern: Int64(group))) }
    let count = min(rowCount, 1024)
    for place in 0..<count {
      let row = place * rowCount / count
      for value in features.rows(row..<row + 1).converted(to: Double.self).elements {
        add(value.bitPattern)
      }
    }
    return "\(rowCount) x \(featureCount), \(String(hash, radix: 16))"
  }
}
