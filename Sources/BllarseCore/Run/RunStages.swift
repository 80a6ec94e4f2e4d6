import BllarseNumerics

/// What is said of a run: to whoever wants to know, and some of it in its result.
final class RunNotes {
  private let observers: [any RunObserver]
  /// What the result says, too.
  private(set) var kept: [String] = []

  init(_ observers: [any RunObserver]) { self.observers = observers }

  func tell(_ text: String) { for observer in observers { observer.runDidNote(text) } }

  func keep(_ text: String) {
    kept.append(text)
    tell(text)
  }
}

/// A run whose options and files fit together, with what it works with.
struct PreparedRun {
  let clock: Stopwatch
  let output: RunOutput?
  let parallelism: Parallelism
  let notes: RunNotes
}

/// A run with its rows.
struct LoadedRun {
  let prepared: PreparedRun
  let data: RunData
  /// The classifier that the backbone was trained with, where it has one of these classes.
  let classifier: Baseline?
}

/// A run with its head, which is stored where there is an output directory.
struct FittedRun {
  let loaded: LoadedRun
  var loop: RunLoop
  /// The scores of the classifier before.
  let baseline: [NamedScores]?
  /// Why the predictions could not be calibrated.
  let calibrationFault: (any Error)?
}

/// A run with its scores.
struct ScoredRun {
  let loaded: LoadedRun
  let result: RunResult
  let head: any Head
}

// MARK: - The stages

extension FineTuning {
  /// Checks everything that can be known to be wrong before anything is read, and takes threads and the output
  /// directory.
  ///
  /// - Throws: `DataError`, `NumericsError` when there are no threads.
  func prepare() throws -> PreparedRun {
    let clock = Stopwatch()
    let notes = RunNotes(observers)
    let plan = try RunPlan(configuration)
    let output = try configuration.output.path.map {
      try RunOutput(directory: $0, isOwn: false, resumes: configuration.output.resumes)
    }
    let threads = try ThreadReservation(
      configuration.threadCount, workingBytes: plan.memoryBytes)
    for text in [threads.note, plan.memoryNote] { text.map(notes.tell) }
    let parallelism = threads.parallelism.cancelled(by: Cancellation(shouldStop))
    parallelism.withBLAS {}
    return PreparedRun(clock: clock, output: output, parallelism: parallelism, notes: notes)
  }

  /// Reads the rows, and computes the features of images.
  ///
  /// - Throws: `DataError`, `RunInterrupted`.
  func load(_ prepared: PreparedRun) throws -> LoadedRun {
    let data = try RunData(configuration, parallelism: prepared.parallelism)
    guard !shouldStop() else {
      throw RunInterrupted(directory: prepared.output?.directory, epoch: 1, place: .data)
    }
    for text in data.notes { prepared.notes.keep(text) }
    try checkTemperatureScaling(data)
    return LoadedRun(
      prepared: prepared, data: data,
      classifier: data.baseline(parallelism: prepared.parallelism))
  }

  /// Fits the head, epoch by epoch, calibrates it, and stores it: no fault in its calibration or its scores
  /// takes it away again.
  ///
  /// - Throws: `NumericsError`, `DataError`, `RunInterrupted` after a checkpoint was written.
  func fit(_ loaded: LoadedRun) throws -> FittedRun {
    let (prepared, data) = (loaded.prepared, loaded.data)
    let notes = prepared.notes
    var loop = try RunLoop(
      configuration, data: data, parallelism: prepared.parallelism, output: prepared.output,
      clock: prepared.clock)
    tell(data, loop.progress.seconds)
    data.roles.note.map(notes.keep)
    let baseline = try loaded.classifier.map { classifier in
      try SplitEvaluations(
        classifier.head, on: data.dataset, data.roles, configuration,
        parallelism: prepared.parallelism
      ).scores
    }
    tell(baseline, data.roles)
    if configuration.startsFromClassifier, let backbone = data.backbone {
      notes.keep("the head starts from the classifier of \(backbone.path)")
    }
    if configuration.data.featuresPath == nil, configuration.data.augments,
      !configuration.method.has(.takesFreshRows),
      ImageDatasets.augmentation(of: configuration.data.dataset) != nil
    {
      notes.keep("images are taken as they are: only epochs of batches change them at random")
    }
    if configuration.output.resumes { try loop.resume(note: notes.tell) }
    try runEpochs(&loop, notes)
    for text in [loop.trainer.info.note, LeftOutColumns(loop.trainer.head).note] {
      text.map(notes.keep)
    }
    var fault: (any Error)?
    do { try loop.calibrate(note: notes.keep) } catch { fault = error }
    let checkpoint = loop.checkpoint()
    try prepared.output?.write(checkpoint)
    for observer in observers { observer.runDidFit { try checkpoint.write(to: $0) } }
    return FittedRun(loaded: loaded, loop: loop, baseline: baseline, calibrationFault: fault)
  }

  private func runEpochs(_ loop: inout RunLoop, _ notes: RunNotes) throws {
    var isFinite = true
    while loop.progress.epoch <= configuration.effectiveEpochs {
      try loop.runEpoch(shouldStop: shouldStop) { record in
        for observer in observers { observer.runDidScoreBatch(record) }
      }
      let record = try loop.finishEpoch { epoch, write in
        for observer in observers { observer.runWillSave(epoch: epoch, write: write) }
      }
      for observer in observers { observer.runDidFinishEpoch(record) }
      guard isFinite else { continue }
      isFinite = record["loss"].isFinite && record.metrics["train_nll"]?.isFinite != false
      if !isFinite {
        notes.tell(
          "the loss is not finite from epoch \(record.epoch) on: the steps diverge, lower the learning rate"
        )
      }
    }
  }

  /// Scores the head.
  ///
  /// - Throws: `NumericsError`, `DataError`, after what the epochs measured was written: it is a result, too.
  func score(_ fitted: FittedRun) throws -> ScoredRun {
    var loop = fitted.loop
    let prepared = fitted.loaded.prepared
    do {
      if let fault = fitted.calibrationFault { throw fault }
      var result = try loop.result()
      result.baseline = fitted.baseline
      result.temperatureScaling = try temperatureScaling(fitted.loaded, head: loop.head)
      return ScoredRun(loaded: fitted.loaded, result: result, head: loop.head)
    } catch {
      if let output = prepared.output, var partial = try? loop.result(computesMetrics: false) {
        partial.baseline = fitted.baseline
        partial.notes = prepared.notes.kept
        partial.failure = "\(error)"
        try? output.write(partial)
        prepared.notes.tell("the head and the scores of its epochs are kept in \(output.directory)")
      }
      throw error
    }
  }

  /// Scores the classifier that the backbone was trained with, for a run that fits no head.
  ///
  /// - Throws: `DataError` when there is none.
  func scoreClassifier(_ loaded: LoadedRun) throws -> ScoredRun {
    let (prepared, data) = (loaded.prepared, loaded.data)
    tell(data, RunSeconds(load: data.loadSeconds, features: data.featureSeconds))
    var (result, head) = try scoreBaseline(
      data, parallelism: prepared.parallelism, clock: prepared.clock)
    result.temperatureScaling = try temperatureScaling(loaded, head: nil)
    prepared.notes.keep(
      "--epochs 0: no head is fitted, the scores are those of the pretrained classifier")
    tell(result.baseline, data.roles)
    return ScoredRun(loaded: loaded, result: result, head: head)
  }

  /// Writes the result, whatever keeps the run from having succeeded: it says that, too.
  ///
  /// - Throws: `DataError.Code.unwritableFile`; ``ScoresNotFinite`` or `DataError` for scores that are not
  ///   numbers.
  func publish(_ scored: ScoredRun) throws -> (result: RunResult, head: any Head) {
    var result = scored.result
    let prepared = scored.loaded.prepared
    result.notes = prepared.notes.kept
    var fault: (any Error)?
    do {
      try FiniteScores.check(result, scored.head, on: scored.loaded.data.dataset)
    } catch {
      (fault, result.failure) = (error, "\(error)")
    }
    if result.hasHead {
      try prepared.output?.write(result)
    } else {
      try prepared.output?.writeWithoutHead(result)
    }
    if let fault { throw fault }
    return (result, scored.head)
  }

  private func tell(_ data: RunData, _ seconds: RunSeconds) {
    for observer in observers {
      observer.runDidLoad(data.dataset, seconds: seconds)
      observer.runDidAssign(data.roles)
      if let backbone = data.backbone { observer.runDidUse(backbone) }
    }
  }

  private func tell(_ baseline: [NamedScores]?, _ roles: SplitRoles) {
    guard let baseline, let test = baseline.first(where: { $0.split == roles.test }) else { return }
    for observer in observers { observer.runDidScoreBaseline(test.scores) }
  }
}
