import BllarseNumerics

/// The backbone's own classifier: what predicts before a head is fitted.
struct Baseline {
  /// The classifier as a linear head over the backbone's features.
  let head: any LogitHead
  private let parallelism: Parallelism

  /// The classifier of a backbone; `nil` when there is none, or one of another number of classes.
  ///
  /// - Parameters:
  ///   - backbone: what made the features.
  ///   - classCount: the classes of the data.
  ///   - parallelism: the threads to work with.
  init?(_ backbone: ResidualMLP, classCount: Int, parallelism: Parallelism) {
    guard let head = backbone.classifier(classCount: classCount) else { return nil }
    self.head = head
    self.parallelism = parallelism.cancelled(by: nil)
  }

  /// The logits that the classifier gives to the rows of a split, rows x classes.
  ///
  /// - Throws: `NumericsError.sizeMismatch` for rows of another width.
  func logits(_ split: FeatureSplit) throws(NumericsError) -> Matrix<Float> {
    try head.logits(split.features, parallelism: parallelism)
  }
}

extension RunData {
  /// The classifier of the data's backbone, if it has one of these classes.
  func baseline(parallelism: Parallelism) -> Baseline? {
    backbone.flatMap {
      Baseline($0, classCount: dataset.classCount, parallelism: parallelism)
    }
  }

  /// The same, for a run that has nothing else to score.
  ///
  /// - Throws: `DataError` when there is none, which says why.
  func requiredBaseline(parallelism: Parallelism) throws(DataError) -> Baseline {
    if let baseline = baseline(parallelism: parallelism) { return baseline }
    throw Self.missingBaseline(
      of: backbone?.path ?? dataset.file, backbone?.classifierWeights?.columnCount,
      isBackbone: backbone != nil, classCount: dataset.classCount)
  }

  /// There is nothing to score without a head.
  ///
  /// - Parameters:
  ///   - path: the backbone, or the stored features.
  ///   - found: the classes of the backbone's classifier, where it has one.
  ///   - isBackbone: whether there is a backbone at all.
  ///   - classCount: the classes of the data.
  /// - Returns: the error.
  static func missingBaseline(
    of path: String?, _ found: Int?, isBackbone: Bool, classCount: Int
  ) -> DataError {
    DataError(
      .wrongShape, file: path, key: isBackbone ? "fc" : nil,
      found: "--epochs 0 scores the pretrained classifier, and "
        + (found.map { "it has \($0) classes" }
          ?? (isBackbone ? "the backbone has none" : "stored features have none")),
      expected: isBackbone
        ? "a classifier of \(classCount) classes" : "images and a backbone with a classifier",
      advice: isBackbone
        ? "give --epochs 1 or more, or a backbone that was trained on these classes"
        : "give --epochs 1 or more")
  }
}

extension FineTuning {
  /// What a run of no epochs gives: the scores of the pretrained classifier.
  func scoreBaseline(
    _ data: RunData, parallelism: Parallelism, clock: Stopwatch
  ) throws -> (result: RunResult, head: any Head) {
    let head = try data.requiredBaseline(parallelism: parallelism).head
    var seconds = RunSeconds()
    (seconds.load, seconds.features) = (data.loadSeconds, data.featureSeconds)
    let outside = try OutOfDistributionRows.features(
      of: configuration, featureCount: head.featureCount)
    let watch = Stopwatch()
    let scores = try SplitEvaluations(
      head, on: data.dataset, data.roles, configuration, parallelism: parallelism)
    var metrics = try RunMetrics(
      head, on: data.dataset, data.roles, configuration, parallelism: parallelism)
    if let outside {
      try metrics.detect(
        outside, head, among: try data.dataset.split(data.roles.test), parallelism: parallelism)
    }
    seconds.evaluate = watch.elapsed
    seconds.total = clock.elapsed
    return (
      RunResult(
        train: scores.train, test: scores.test, splits: scores.scores, roles: data.roles,
        baseline: scores.scores, hasHead: false, seconds: seconds, threads: parallelism.threadCount,
        iterations: 0, metrics: metrics,
        arguments: Dictionary(
          uniqueKeysWithValues: configuration.arguments.map { ($0.name, $0.value) }),
        versions: Versions.current),
      head
    )
  }
}
