public import BllarseNumerics

/// One run: data, features, head, scores, checkpoint.
public struct FineTuning {
  /// What to do.
  public let configuration: RunConfiguration
  /// Who wants to know.
  public let observers: [any RunObserver]

  /// Prepares a run.
  public init(_ configuration: RunConfiguration, observers: [any RunObserver] = []) {
    self.configuration = configuration
    self.observers = observers
  }

  /// Does it.
  ///
  /// - Returns: the scores, and the head.
  /// - Throws: `DataError` for bad data and for files that cannot be read or written,
  ///   `NumericsError` when the data make the fit impossible.
  public func run() throws -> (result: RunResult, head: any Head) {
    let clock = Stopwatch()
    var seconds = RunSeconds()
    let output = try configuration.outputPath.map { try RunOutput(directory: $0) }

    // 1. Data, and the features of images.
    let parallelism =
      configuration.threadCount.map(Parallelism.init(threadCount:)) ?? .available
    let data = try RunData(configuration, parallelism: parallelism)
    seconds.load = data.loadSeconds
    seconds.features = data.featureSeconds
    for observer in observers { observer.runDidLoad(data.dataset, seconds: seconds) }
    let train = try data.dataset.split("train")
    let test = try data.dataset.split("test")

    // 2. The head, epoch by epoch.
    if configuration.update == .converged && configuration.epochs > 1 {
      note(
        "a converged fit is at the optimum after one epoch; \(configuration.epochs) were asked for")
    }
    var trainer: any HeadTrainer = IBProbitTrainer(
      configuration, featureCount: data.dataset.featureCount, classCount: data.dataset.classCount,
      parallelism: parallelism)
    var trainScores = Evaluation?.none
    var testScores = Evaluation?.none
    for epoch in 1...max(configuration.effectiveEpochs, 1) {
      seconds.fit += try Stopwatch.measure { try trainer.runEpoch(epoch, on: train) }
      seconds.evaluate += try Stopwatch.measure {
        trainScores = try Self.evaluate(trainer.head, on: train)
        testScores = try Self.evaluate(trainer.head, on: test)
      }
      guard let trained = trainScores, let tested = testScores else { continue }
      let record = EpochRecord(
        epoch: epoch, step: epoch, loss: trained.nll, acc: tested.accuracy, nll: tested.nll,
        ece: tested.ece, elbo: trainer.evidenceLowerBound, seconds: clock.elapsed)
      try output?.append(record)
      for observer in observers { observer.runDidFinishEpoch(record) }
    }

    // 3. What stays.
    guard let trained = trainScores, let tested = testScores else {
      preconditionFailure("a run makes at least one epoch")
    }
    seconds.total = clock.elapsed
    let result = RunResult(
      train: SplitScores(trained), test: SplitScores(tested), seconds: seconds,
      elbo: trainer.evidenceLowerBound, iterations: trainer.iterations,
      certificate: trainer.certificate,
      arguments: Dictionary(
        uniqueKeysWithValues: configuration.arguments.map { ($0.name, $0.value) }),
      versions: Versions.current)
    try output?.write(
      HeadCheckpoint(
        head: trainer.head, classNames: data.dataset.classNames, dataset: data.dataset.name,
        backbone: data.backbonePath, arguments: RunOutput.json(result.arguments)))
    try output?.write(result)
    return (result, trainer.head)
  }

  /// Scores a head on a split.
  ///
  /// - Throws: `NumericsError` when the head's state is numerically unusable.
  public static func evaluate(
    _ head: any Head, on split: FeatureSplit
  ) throws(NumericsError) -> Evaluation {
    Evaluation(logProbabilities: try head.logProbabilities(split.features), labels: split.labels)
  }

  private func note(_ message: String) {
    for observer in observers { observer.runDidNote(message) }
  }
}
