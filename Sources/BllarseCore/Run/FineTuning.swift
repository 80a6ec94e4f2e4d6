public import BllarseNumerics
import BllarseSupport

/// One run: data, features, head, scores, checkpoint.
public struct FineTuning {
  let configuration: RunConfiguration
  let observers: [any RunObserver]
  let shouldStop: @Sendable () -> Bool

  /// Prepares a run, with those who want to know how it goes; it is asked after every step whether to stop there.
  public init(
    _ configuration: RunConfiguration, observers: [any RunObserver] = [],
    shouldStop: @escaping @Sendable () -> Bool = { false }
  ) {
    (self.configuration, self.observers) = (configuration, observers)
    self.shouldStop = shouldStop
  }

  /// Does it, in five stages.
  ///
  /// - Returns: the scores, and the head; after no epochs, the pretrained classifier's.
  /// - Throws: `DataError` for bad data and for files that cannot be read or written,
  ///   `NumericsError` when the data make the fit impossible, `RunInterrupted` when it was asked to stop,
  ///   ``ScoresNotFinite`` (or `DataError`, where one row did it) for scores that are not numbers, after
  ///   head and result were written.
  public func run() throws -> (result: RunResult, head: any Head) {
    let loaded = try load(try prepare())
    return try publish(
      configuration.effectiveEpochs > 0 ? try score(try fit(loaded)) : try scoreClassifier(loaded))
  }
}

/// Somebody who wants to know how a run goes: a terminal, a tracker, a test.
///
/// Core knows nothing of trackers; the executable connects the two by this protocol.
public protocol RunObserver {
  /// The data are there.
  func runDidLoad(_ data: FeatureDataset, seconds: RunSeconds)
  /// It is known which split is which.
  func runDidAssign(_ roles: SplitRoles)
  /// The images went through a backbone.
  func runDidUse(_ backbone: ResidualMLP)
  /// The backbone's own classifier was scored on the test split, before a head is fitted.
  func runDidScoreBaseline(_ test: SplitScores)
  /// The head was scored after a batch within an epoch.
  func runDidScoreBatch(_ record: EpochRecord)
  /// An epoch is over.
  func runDidFinishEpoch(_ record: EpochRecord)
  /// The state of a run of steps is about to be kept, with what its optimiser holds: every `saveEvery`
  /// epochs and after the last; `write` puts it into a file from which the run can go on.
  func runWillSave(epoch: Int, write: (_ path: String) throws -> Void)
  /// The head is fitted; `write` puts it into a file.
  func runDidFit(write: (_ path: String) throws -> Void)
  /// Something that the user should know, in one line.
  func runDidNote(_ message: String)
}

extension RunObserver {
  /// Ignores it.
  public func runDidLoad(_ data: FeatureDataset, seconds: RunSeconds) {}
  /// Ignores it.
  public func runDidAssign(_ roles: SplitRoles) {}
  /// Ignores it.
  public func runDidUse(_ backbone: ResidualMLP) {}
  /// Ignores it.
  public func runDidScoreBaseline(_ test: SplitScores) {}
  /// Ignores it.
  public func runDidScoreBatch(_ record: EpochRecord) {}
  /// Ignores it.
  public func runDidFinishEpoch(_ record: EpochRecord) {}
  /// Ignores it.
  public func runWillSave(epoch: Int, write: (_ path: String) throws -> Void) {}
  /// Ignores it.
  public func runDidFit(write: (_ path: String) throws -> Void) {}
  /// Ignores it.
  public func runDidNote(_ message: String) {}
}

// MARK: - What one stage hands to the next

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
  let execution: Execution
  let notes: RunNotes
}

/// A run with its rows.
struct LoadedRun {
  let prepared: PreparedRun
  let data: RunData
  /// What predicts before a head is fitted: the classifier that the backbone was trained with, where it
  /// has one of these classes.
  let classifier: (any LogitHead)?
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

/// Seconds since it was made.
struct Stopwatch {
  private let start = ContinuousClock.now

  var elapsed: Double {
    let (seconds, attoseconds) = (ContinuousClock.now - start).components
    return Double(seconds) + Double(attoseconds) * 1e-18
  }
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
    let threads = try ThreadReservation(configuration.threadCount, workingBytes: plan.memoryBytes)
    for text in [threads.note, plan.memoryNote] { text.map(notes.tell) }
    let execution = threads.execution.cancelled(by: Cancellation(shouldStop))
    execution.withBLAS {}
    return PreparedRun(clock: clock, output: output, execution: execution, notes: notes)
  }

  /// Reads the rows, and computes the features of images.
  ///
  /// - Throws: `DataError`, `RunInterrupted`.
  func load(_ prepared: PreparedRun) throws -> LoadedRun {
    let data = try RunData(configuration, execution: prepared.execution)
    guard !shouldStop() else {
      throw RunInterrupted(directory: prepared.output?.directory, epoch: 1, place: .data)
    }
    for text in data.notes { prepared.notes.keep(text) }
    try checkTemperatureScaling(data)
    return LoadedRun(
      prepared: prepared, data: data,
      classifier: data.backbone?.classifier(classCount: data.dataset.classCount))
  }

  /// Fits the head, epoch by epoch, calibrates it, and stores it: no fault in its calibration or its scores
  /// takes it away again.
  ///
  /// - Throws: `NumericsError`, `DataError`, `RunInterrupted` after a checkpoint was written.
  func fit(_ loaded: LoadedRun) throws -> FittedRun {
    let (prepared, data) = (loaded.prepared, loaded.data)
    let notes = prepared.notes
    var loop = try RunLoop(
      configuration, data: data, execution: prepared.execution, output: prepared.output,
      clock: prepared.clock)
    tell(data)
    data.roles.note.map(notes.keep)
    let baseline = try loaded.classifier.map { classifier in
      try SplitEvaluations(
        classifier, on: data.dataset, data.roles, configuration, execution: prepared.execution
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
    for text in [loop.trainer.info.note, leftOutColumnsNote(loop.trainer.head)] {
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

  /// What the user should know of columns to which a head gives no weight, because they do not vary over
  /// its training rows by the precision that they were stored in.
  private func leftOutColumnsNote(_ head: any Head) -> String? {
    let columns = (head.uncalibrated as? any ColumnSelectingHead)?.leftOutColumns ?? []
    guard !columns.isEmpty else { return nil }
    let list =
      columns.prefix(8).map(String.init).joined(separator: ", ") + (columns.count > 8 ? ", …" : "")
    return "\(columns.count) of \(head.featureCount) columns "
      + (columns.count == 1
        ? "does not vary over the training rows and is left out: \(list) (from 0)"
        : "do not vary over the training rows and are left out: \(list) (from 0)")
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
    tell(data)
    guard let head = loaded.classifier else {
      throw RunData.missingClassifier(
        of: data.backbone?.path ?? data.dataset.file, data.backbone?.classifierWeights?.columnCount,
        isBackbone: data.backbone != nil, classCount: data.dataset.classCount)
    }
    let outside = try configuration.outOfDistributionRows(featureCount: head.featureCount)
    let watch = Stopwatch()
    let scores = try SplitEvaluations(
      head, on: data.dataset, data.roles, configuration, execution: prepared.execution)
    var metrics = try RunMetrics(
      head, on: data.dataset, data.roles, configuration, execution: prepared.execution)
    try metrics.detect(
      outside, head, among: try data.dataset.split(data.roles.test),
      execution: prepared.execution)
    var result = RunResult(
      scores, configuration, seconds: data.seconds, threads: prepared.execution.threadCount)
    (result.baseline, result.hasHead, result.metrics) = (scores.scores, false, metrics)
    (result.seconds.evaluate, result.seconds.total) = (watch.elapsed, prepared.clock.elapsed)
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
    (result.notes, result.peakBytes) = (prepared.notes.kept, Host.peakMemory)
    var fault: (any Error)?
    do {
      try FiniteScores.check(
        result, scored.head, on: scored.loaded.data.dataset, execution: prepared.execution)
    } catch {
      (fault, result.failure) = (error, "\(error)")
    }
    try prepared.output?.write(result)
    if let fault { throw fault }
    return (result, scored.head)
  }

  private func tell(_ data: RunData) {
    for observer in observers {
      observer.runDidLoad(data.dataset, seconds: data.seconds)
      observer.runDidAssign(data.roles)
      if let backbone = data.backbone { observer.runDidUse(backbone) }
    }
  }

  private func tell(_ baseline: [NamedScores]?, _ roles: SplitRoles) {
    guard let baseline, let test = baseline.first(where: { $0.split == roles.test }) else { return }
    for observer in observers { observer.runDidScoreBaseline(test.scores) }
  }

  /// Scores a head on a split.
  ///
  /// - Throws: `NumericsError` when the head's state is numerically unusable.
  public static func evaluate(
    _ head: any Head, on split: FeatureSplit, execution: Execution = .available
  ) throws(NumericsError) -> SplitScores {
    try head.scores(of: split, execution: execution)
  }
}

extension FeatureTransform {
  /// The columns that are multiplied by 0.
  var leftOutColumns: [Int] {
    guard case .columns(let scale, _) = self else { return [] }
    return scale.indices.filter { scale[$0] == 0 }
  }
}

// MARK: - Temperature scaling

extension FineTuning {
  /// Refuses a share of the test rows that leaves none to fit a temperature to, or none to score it on.
  private func checkTemperatureScaling(_ data: RunData) throws(DataError) {
    let count = try data.dataset.split(data.roles.test).rowCount
    guard let fraction = configuration.temperatureScaling?.firstUnusable(of: count) else { return }
    throw DataError(
      .wrongShape, key: "\(data.roles.test) split",
      found:
        "\(fraction) of \(count) rows is \(TemperatureScaling.count(fraction, of: count)) rows",
      expected: "rows to fit a temperature to, and rows to score it on",
      advice: "give --ts-test-fractions another value")
  }

  /// Temperatures fitted to parts of the test split, where the run was asked for them: for the classifier
  /// that the backbone was trained with, where it has one, and for the head.
  ///
  /// - Returns: a row for each of them, fraction and repeat; `nil` where the run was not asked.
  /// - Throws: `DataError` when predictions are not numbers.
  private func temperatureScaling(
    _ loaded: LoadedRun, head: (any Head)?
  ) throws -> [TemperatureScaling.Row]? {
    guard let scaling = configuration.temperatureScaling else { return nil }
    let (data, notes) = (loaded.data, loaded.prepared.notes)
    let execution = loaded.prepared.execution
    notes.keep(
      "--temperature-scaling fits temperatures to rows of the test split: its scores say what a "
        + "temperature could do, and are no test of a model that has it")
    let test = try data.dataset.split(data.roles.test)
    var sources: [(name: String, logits: Matrix<Float>)] = []
    if let classifier = loaded.classifier {
      sources.append(("baseline", try classifier.logits(test.features, execution: execution)))
    } else {
      notes.keep(
        "there is no pretrained classifier of these classes: temperatures are fitted for the head")
    }
    if let head {
      let head = try head.classifier()
      sources.append(("head", try head.logProbabilities(test.features, execution: execution)))
    }
    return try sources.flatMap { source in
      let logits = HeldOutCalibration.arguments(source.logits)
      guard let row = logits.firstNonFinite?.row else {
        return try scaling.rows(
          source.name, logits: logits, labels: test.labels, seed: configuration.seed,
          execution: execution)
      }
      throw DataError(
        .notFinite, key: "predictions of the \(source.name)", row: row,
        found: "the logits of a row of the \(data.roles.test) split are not numbers",
        expected: "finite predictions for --temperature-scaling",
        advice: "lower the learning rate, or leave --temperature-scaling out")
    }
  }
}
