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
      report.head, on: data.dataset, roles, configuration, skipsTraining: report.loss != nil)
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
    let scores = try SplitEvaluations(head, on: data.dataset, roles, configuration)
    self.scores = scores
    progress.seconds.evaluate += watch.elapsed
    let seen = configuration.seenExamples(epoch: epoch, batch: nil, rowCount: train.rowCount)
    let record = try keep(
      scores, of: head, loss: trainer.batchLoss ?? scores.train.nll,
      step: configuration.effectiveInterval > 0 ? seen : epoch, seen: seen,
      bound: trainer.evidenceLowerBound)
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
    let result = try SplitEvaluations(head, on: data.dataset, roles, configuration)
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
        try further.detect(outOfDistributionRows, head, among: test)
        metrics = further
      }
    }
    progress.seconds.evaluate += watch.elapsed
    progress.seconds.total = secondsBefore + clock.elapsed
    return RunResult(
      train: scores.train, test: scores.test, splits: scores.scores, roles: roles,
      uncalibrated: calibration?.uncalibrated, calibration: calibration?.report,
      seconds: progress.seconds, threads: parallelism.threadCount,
      elbo: trainer.evidenceLowerBound, iterations: trainer.iterations,
      certificate: trainer.certificate, best: progress.best,
      recipe: trainer.report,
      chosen: ChosenSettings(
        trainer.report, penalty: trainer.chosenPenalty, calibration: calibration?.report),
      metrics: metrics,
      arguments: Dictionary(
        uniqueKeysWithValues: configuration.arguments.map { ($0.name, $0.value) }),
      data: output == nil ? nil : train.fingerprint, versions: Versions.current)
  }
}

extension RunLoop {
  /// Fits the map that `--calibration` asks for to the validation split, for the last head and the best.
  ///
  /// - Parameter note: receives what the user should know.
  /// - Throws: `DataError` when predictions are not numbers, or a file cannot be written.
  mutating func calibrate(note: (String) -> Void) throws {
    guard let method = configuration.calibrationOrDefault.method, let split = calibrationSplit,
      let name = roles.validation
    else { return }
    let before = if let scores { scores } else { try evaluate() }
    let watch = Stopwatch()
    let calibration = try RunCalibration(
      trainer.head, method, on: split, name: name, uncalibrated: before.scores.byName)
    try output?.calibrateBest(method, on: split, parallelism: trainer.head.parallelism)
    self.calibration = calibration
    progress.seconds.fit += watch.elapsed
    if let text = calibration.note { note(text) }
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
    let decisive = Metric.ofSplits.first { a[$0.name] != b[$0.name] }
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
    self.directory = directory
    self.epoch = epoch
    self.place = place
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
    for label in labels { add(UInt64(bitPattern: Int64(label))) }
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

/// The map that a run fits to its validation split after its last epoch.
struct RunCalibration {
  /// The head with the map.
  let head: CalibratedHead
  /// What was fitted.
  let report: CalibrationReport
  /// The scores of the splits without the map, by name.
  let uncalibrated: [String: SplitScores]
  /// What the user should know, in one line.
  let note: String?

  /// Fits the map.
  ///
  /// - Parameters:
  ///   - head: as the last epoch left it.
  ///   - method: the kind of map.
  ///   - split: the validation split.
  ///   - name: its name.
  ///   - uncalibrated: the scores of all splits without the map, by name.
  /// - Throws: `DataError` when predictions are not numbers, `NumericsError` for an unusable head.
  init(
    _ head: any Head, _ method: HeldOutCalibration.Method, on split: FeatureSplit, name: String,
    uncalibrated: [String: SplitScores]
  ) throws {
    let choice = try CalibrationChoice(method, for: head, on: split)
    self.head = CalibratedHead(head, choice.calibration)
    self.uncalibrated = uncalibrated
    report = CalibrationReport(choice, split: name, rowCount: split.rowCount)
    note =
      uncalibrated[name]?.acc != 1
      ? nil
      : "all \(split.rowCount) rows of the \(name) split are predicted right: they cannot say how "
        + "certain predictions may be, and --calibration keeps close to what the head says"
  }
}

/// What a run's calibration is, for its result.
public struct CalibrationReport: Sendable, Equatable, Encodable {
  /// What stands: "temperature", "vector" or "isotonic".
  public var method: String
  /// What was asked for, by the same names.
  public var requested: String
  /// Why ``method`` stands, in a clause; `nil` where a temperature was asked for.
  public var reason: String?
  /// How left-out rows were predicted by what was asked for and by temperatures; `nil` where a temperature
  /// was asked for, and where no row could be left out.
  public var leftOut: CalibrationChoice.LeftOutLosses?
  /// The split whose rows it was fitted to.
  public var split: String
  /// The number of those rows.
  public var rows: Int
  /// The factor of the log-probabilities, of a temperature.
  public var inverseTemperature: Double?
  /// Each class's factor of its log-probability, of a vector.
  public var scales: [Double]?
  /// Each class's shift, of a vector.
  public var shifts: [Double]?
  /// The log-odds at which each class's map is given, of isotonic regressions.
  public var knots: [[Double]]?
  /// The log-odds there after the map, of isotonic regressions.
  public var values: [[Double]]?
  /// How many numbers were fitted.
  public var parameters: Int
  /// The smallest and the largest of what the predictions were changed by: factors of log-probabilities of a
  /// temperature or a vector, differences of log-odds of isotonic regressions.
  public var range: [Double]

  enum CodingKeys: String, CodingKey {
    case method, requested, reason, split, rows, scales, shifts, knots, values, parameters, range
    case leftOut = "left_out"
    case inverseTemperature = "inverse_temperature"
  }

  init(_ choice: CalibrationChoice, split: String, rowCount: Int) {
    let calibration = choice.calibration
    method = calibration.kind
    requested = choice.requested.rawValue
    (reason, leftOut) = (choice.reason, choice.leftOut)
    self.split = split
    rows = rowCount
    switch calibration {
    case .none: (parameters, range) = (0, [])
    case .temperature(let beta):
      inverseTemperature = beta
      (parameters, range) = (1, [beta, beta])
    case .vector(let scales, let shifts):
      (self.scales, self.shifts) = (scales, shifts)
      parameters = scales.count + shifts.count
      range = [scales.min() ?? 1, scales.max() ?? 1]
    case .isotonic(let functions):
      knots = functions.map(\.knots)
      values = functions.map(\.values)
      parameters = functions.reduce(0) { $0 + $1.values.count }
      let changes = functions.flatMap { zip($0.values, $0.knots).map { $0 - $1 } }
      range = [changes.min() ?? 0, changes.max() ?? 0]
    }
  }
}

extension RunOutput {
  /// Gives the head of the best epoch a map of its own.
  ///
  /// - Throws: `DataError` when its predictions are not numbers, or the file cannot be read or written.
  func calibrateBest(
    _ method: HeldOutCalibration.Method, on split: FeatureSplit, parallelism: Parallelism
  ) throws {
    let path = path("best.safetensors")
    guard Files.exists(path) else { return }
    var best = try HeadCheckpoint(path: path)
    best.head.parallelism = parallelism
    best.head = try CalibratedHead(calibrating: best.head, on: split, method)
    try writeBest(best)
  }
}
