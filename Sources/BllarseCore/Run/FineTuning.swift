public import BllarseNumerics

/// One run: data, features, head, scores, checkpoint.
public struct FineTuning {
  /// What to do.
  public let configuration: RunConfiguration
  /// Who wants to know.
  public let observers: [any RunObserver]
  /// Asked after every step; the run stops there when it says so.
  public let shouldStop: @Sendable () -> Bool

  /// Prepares a run.
  ///
  /// - Parameters:
  ///   - configuration: what to do.
  ///   - observers: who wants to know.
  ///   - shouldStop: asked after every step whether to stop there.
  public init(
    _ configuration: RunConfiguration, observers: [any RunObserver] = [],
    shouldStop: @escaping @Sendable () -> Bool = { false }
  ) {
    self.configuration = configuration
    self.observers = observers
    self.shouldStop = shouldStop
  }

  /// Does it.
  ///
  /// - Returns: the scores, and the head; after no epochs, the pretrained classifier's.
  /// - Throws: `DataError` for bad data and for files that cannot be read or written,
  ///   `NumericsError` when the data make the fit impossible, `RunInterrupted` when it was asked to stop,
  ///   ``ScoresNotFinite`` (or `DataError`, where one row did it) for scores that are not numbers, after
  ///   head and result were written.
  public func run() throws -> (result: RunResult, head: any Head) {
    let clock = Stopwatch()
    let plan = try RunPlan(configuration)
    let output = try configuration.output.path.map {
      try RunOutput(directory: $0, isOwn: false, resumes: configuration.output.resumes)
    }

    // 1. Data, and the features of images.
    let threads = try ThreadReservation(
      configuration.threadCount, workingBytes: plan.memoryBytes)
    if let text = threads.note { note(text) }
    if let text = plan.memoryNote { note(text) }
    let parallelism = threads.parallelism.cancelled(by: Cancellation(shouldStop))
    parallelism.withBLAS {}
    let data = try RunData(configuration, parallelism: parallelism)
    guard !shouldStop() else {
      throw RunInterrupted(directory: output?.directory, epoch: 1, place: .data)
    }
    var notes: [String] = []
    func keep(_ text: String) {
      notes.append(text)
      note(text)
    }
    for text in data.notes { keep(text) }
    try checkTemperatureScaling(data)
    guard configuration.effectiveEpochs > 0 else {
      tell(data, RunSeconds(load: data.loadSeconds, features: data.featureSeconds))
      var outcome = try scoreBaseline(data, parallelism: parallelism, clock: clock)
      outcome.result.temperatureScaling = try temperatureScaling(
        data, head: nil, baseline: data.baseline(parallelism: parallelism),
        parallelism: parallelism, note: keep)
      keep("--epochs 0: no head is fitted, the scores are those of the pretrained classifier")
      tell(outcome.result.baseline, data.roles)
      outcome.result.notes = notes
      let fault = self.fault(&outcome.result, outcome.head, on: data.dataset)
      try output?.writeWithoutHead(outcome.result)
      if let fault { throw fault }
      return outcome
    }
    var loop = try RunLoop(
      configuration, data: data, parallelism: parallelism, output: output, clock: clock)
    tell(data, loop.progress.seconds)
    if let text = data.roles.note { keep(text) }
    let classifier = data.baseline(parallelism: parallelism)
    let baseline = try classifier.map { baseline in
      try SplitEvaluations(baseline.head, on: data.dataset, data.roles, configuration).scores
    }
    tell(baseline, data.roles)
    if configuration.startsFromClassifier, let backbone = data.backbone {
      keep("the head starts from the classifier of \(backbone.path)")
    }
    if configuration.data.featuresPath == nil, configuration.data.augments,
      !configuration.method.has(.takesFreshRows),
      ImageDatasets.augmentation(of: configuration.data.dataset) != nil
    {
      keep("images are taken as they are: only epochs of batches change them at random")
    }
    if configuration.output.resumes { try loop.resume(note: note) }

    // 2. The head, epoch by epoch.
    var isFinite = true
    while loop.progress.epoch <= configuration.effectiveEpochs {
      try loop.runEpoch(shouldStop: shouldStop) { record in
        for observer in observers { observer.runDidScoreBatch(record) }
      }
      let record = try loop.finishEpoch { epoch, write in
        for observer in observers { observer.runWillSave(epoch: epoch, write: write) }
      }
      for observer in observers { observer.runDidFinishEpoch(record) }
      if isFinite, !record["loss"].isFinite || record.metrics["train_nll"]?.isFinite == false {
        note(
          "the loss is not finite from epoch \(record.epoch) on: the steps diverge, lower the learning rate"
        )
        isFinite = false
      }
    }
    if let text = loop.trainer.note { keep(text) }
    if let text = LeftOutColumns(loop.trainer.head).note { keep(text) }
    var calibrationFault: (any Error)?
    do { try loop.calibrate(note: keep) } catch { calibrationFault = error }

    // 3. What stays: first the head, which no fault in its calibration or its scores takes away again.
    let checkpoint = loop.checkpoint()
    try output?.write(checkpoint)
    for observer in observers { observer.runDidFit { try checkpoint.write(to: $0) } }
    var result: RunResult
    do {
      if let calibrationFault { throw calibrationFault }
      result = try loop.result()
      result.baseline = baseline
      result.temperatureScaling = try temperatureScaling(
        data, head: loop.head, baseline: classifier, parallelism: parallelism, note: keep)
    } catch {
      // What the epochs measured is a result, too.
      if let output, var partial = try? loop.result(computesMetrics: false) {
        partial.baseline = baseline
        partial.notes = notes
        partial.failure = "\(error)"
        try? output.write(partial)
        note("the head and the scores of its epochs are kept in \(output.directory)")
      }
      throw error
    }
    result.notes = notes
    let fault = self.fault(&result, loop.head, on: data.dataset)
    try output?.write(result)
    if let fault { throw fault }
    return (result, loop.head)
  }

  /// What keeps a run from having succeeded although it came to its end; the result says it, too.
  private func fault(
    _ result: inout RunResult, _ head: any Head, on data: FeatureDataset
  ) -> (any Error)? {
    do {
      try FiniteScores.check(result, head, on: data)
      return nil
    } catch {
      result.failure = "\(error)"
      return error
    }
  }

  /// Scores a head on a split.
  ///
  /// - Throws: `NumericsError` when the head's state is numerically unusable.
  public static func evaluate(
    _ head: any Head, on split: FeatureSplit
  ) throws(NumericsError) -> SplitScores {
    try head.evaluation(features: split.features, labels: split.labels)
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

  private func note(_ message: String) {
    for observer in observers { observer.runDidNote(message) }
  }
}
