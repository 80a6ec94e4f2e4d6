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

  /// Does it, in five stages.
  ///
  /// - Returns: the scores, and the head; after no epochs, the pretrained classifier's.
  /// - Throws: `DataError` for bad data and for files that cannot be read or written,
  ///   `NumericsError` when the data make the fit impossible, `RunInterrupted` when it was asked to stop,
  ///   ``ScoresNotFinite`` (or `DataError`, where one row did it) for scores that are not numbers, after
  ///   head and result were written.
  public func run() throws -> (result: RunResult, head: any Head) {
    let prepared = try prepare()
    let loaded = try load(prepared)
    let scored =
      configuration.effectiveEpochs > 0
      ? try score(try fit(loaded)) : try scoreClassifier(loaded)
    return try publish(scored)
  }

  /// Scores a head on a split.
  ///
  /// - Throws: `NumericsError` when the head's state is numerically unusable.
  public static func evaluate(
    _ head: any Head, on split: FeatureSplit
  ) throws(NumericsError) -> SplitScores {
    try head.evaluation(features: split.features, labels: split.labels)
  }
}
