import BllarseNumerics

/// The scores of a stored head on data.
public struct HeadEvaluation {
  /// The checkpoint's path.
  public let checkpoint: String
  /// Names the data; the rest is not used.
  public let configuration: RunConfiguration

  /// Prepares an evaluation.
  public init(checkpoint: String, _ configuration: RunConfiguration) {
    self.checkpoint = checkpoint
    self.configuration = configuration
  }

  /// Does it.
  ///
  /// - Returns: the scores of each split, by name, in the data set's order; for the rows that the head
  ///   was fitted to and those that it was tested on they equal the run's to the bit.
  /// - Throws: `DataError` for a bad checkpoint or bad data, or data that do not fit the head.
  public func run() throws -> [(split: String, scores: SplitScores)] {
    let parallelism =
      configuration.threadCount.map(Parallelism.init(threadCount:)) ?? .available
    var head = try HeadCheckpoint(path: checkpoint).head
    head.parallelism = parallelism
    let data = try RunData(
      configuration, classCount: head.classCount, requiring: ["test"], parallelism: parallelism
    ).dataset
    guard data.featureCount == head.featureCount, data.classCount <= head.classCount else {
      throw DataError(
        .wrongShape, file: data.file, key: data.name,
        found: "the data have \(data.featureCount) features and \(data.classCount) classes",
        expected:
          "\(head.featureCount) features and \(head.classCount) classes, as \(checkpoint) has",
        advice: "use the features that the head was fitted to")
    }
    return try data.splitNames.map { name in
      (name, SplitScores(try FineTuning.evaluate(head, on: try data.split(name))))
    }
  }

  /// Writes `evaluation.json` (split -> acc, nll, ece, brier) into the output directory, if there is one.
  ///
  /// - Throws: `DataError.Code.unwritableFile`.
  public func write(_ scores: [(split: String, scores: SplitScores)]) throws(DataError) {
    guard let path = configuration.outputPath else { return }
    let byName = Dictionary(uniqueKeysWithValues: scores.map { ($0.split, $0.scores) })
    try RunOutput(directory: path, metrics: false)
      .write(RunOutput.json(byName, pretty: true) + "\n", to: "evaluation.json")
  }
}
