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
  /// - Parameter note: receives what the user should know, in one line.
  /// - Returns: the scores of each split, by name, in the data set's order; for the rows that the head
  ///   was fitted to and those that it was tested on they equal the run's to the bit.
  /// - Throws: `DataError` for a bad checkpoint or bad data, or data that do not fit the head.
  public func run(
    note: (String) -> Void = { _ in }
  ) throws -> [(split: String, scores: SplitScores)] {
    let threads = try ThreadReservation(configuration.threadCount)
    if let text = threads.note { note(text) }
    let parallelism = threads.parallelism
    let stored = try HeadCheckpoint(path: checkpoint)
    let head = stored.head
    let loaded = try RunData(
      withBackbone(of: stored), classCount: head.classCount, fits: false,
      parallelism: parallelism)
    try require(loaded.backbone, of: stored)
    let data = loaded.dataset
    guard data.featureCount == head.featureCount, data.classCount <= head.classCount else {
      throw DataError(
        .wrongShape, file: data.file, key: data.name,
        found: "the data have \(data.featureCount) features and \(data.classCount) classes",
        expected:
          "\(head.featureCount) features and \(head.classCount) classes, as \(checkpoint) has",
        advice: "use the features that the head was fitted to")
    }
    return try data.splitNames.map { name in
      let split = try data.split(name)
      let scores = try head.evaluation(
        features: split.features, labels: split.labels, parallelism: parallelism)
      try FiniteScores.check(
        scores, head, on: split, file: data.file, key: "\(name) split features")
      return (name, scores)
    }
  }

  /// The configuration with the backbone that the head was fitted to, unless one is given.
  private func withBackbone(of stored: HeadCheckpoint) -> RunConfiguration {
    var configuration = configuration
    let arguments = RunOutput.decode([String: ArgumentValue].self, from: stored.arguments) ?? [:]
    func integer(_ name: String) -> Int? {
      if case .integer(let value)? = arguments[name] { value } else { nil }
    }
    // Random weights are a function of the seed.
    switch arguments["seed"] {
    case .integer(let seed)?: configuration.seed = UInt64(clamping: seed)
    case .unsigned(let seed)?: configuration.seed = seed
    default: break
    }
    guard configuration.data.featuresPath == nil, configuration.data.backbonePath == nil,
      configuration.data.namedBackbone == nil
    else { return configuration }
    if arguments["pretrained"] == .text(NamedBackbone.Pretraining.random.rawValue),
      let width = integer("embed_dim"), let count = integer("num_blocks")
    {
      configuration.data.namedBackbone = NamedBackbone(
        pretraining: .random, embeddingSize: width, blockCount: count, dataset: stored.dataset)
    } else if !stored.backbone.isEmpty, Files.exists(stored.backbone) {
      configuration.data.backbonePath = stored.backbone
    }
    return configuration
  }

  /// Refuses features of another backbone, which may have as many columns and mean something else.
  private func require(
    _ backbone: ResidualMLP?, of stored: HeadCheckpoint
  ) throws(DataError) {
    guard let backbone, !stored.backboneDigest.isEmpty else { return }
    let digest = backbone.digest
    guard digest != stored.backboneDigest else { return }
    throw DataError(
      .wrongType, file: backbone.path, found: "the backbone's weights have the digest \(digest)",
      expected:
        "\(stored.backboneDigest), those of \(stored.backbone), which \(checkpoint) was fitted to",
      advice: "give the backbone of the run")
  }

  /// Writes `evaluation.json` (split -> acc, nll, ece, brier) into the output directory, if there is one.
  ///
  /// - Throws: `DataError.Code.unwritableFile`.
  public func write(_ scores: [(split: String, scores: SplitScores)]) throws(DataError) {
    guard let path = configuration.output.path else { return }
    let byName = Dictionary(uniqueKeysWithValues: scores.map { ($0.split, $0.scores) })
    try RunOutput(directory: path, isOwn: true)
      .write(RunOutput.json(byName, pretty: true) + "\n", to: "evaluation.json")
  }
}
