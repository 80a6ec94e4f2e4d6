public import BllarseNumerics

/// The scores of a stored head on data.
public struct HeadEvaluation {
  private let checkpoint: String
  private let configuration: RunConfiguration

  /// Prepares an evaluation of the head in a checkpoint on the data that a configuration names; the rest of it is
  /// not used.
  public init(checkpoint: String, _ configuration: RunConfiguration) {
    (self.checkpoint, self.configuration) = (checkpoint, configuration)
  }

  /// The scores of each split, by name, in the data set's order; for the rows that the head was fitted to and
  /// those that it was tested on they equal the run's to the bit.
  ///
  /// - Throws: `DataError` for a bad checkpoint or bad data, or data that do not fit the head.
  public func run(
    note: (String) -> Void = { _ in }
  ) throws -> [(split: String, scores: SplitScores)] {
    let threads = try ThreadReservation(configuration.threadCount)
    if let text = threads.note { note(text) }
    let execution = threads.execution
    let stored = try HeadCheckpoint(path: checkpoint)
    let head = stored.head
    let loaded = try RunData(
      withBackbone(of: stored), classCount: head.classCount, fits: false, execution: execution)
    try require(loaded.backbone, of: stored)
    let data = loaded.dataset
    try DataError.require(
      data.featureCount == head.featureCount && data.classCount <= head.classCount, .wrongShape,
      file: data.file, key: data.name,
      found: "the data have \(data.featureCount) features and \(data.classCount) classes",
      expected:
        "\(head.featureCount) features and \(head.classCount) classes, as \(checkpoint) has",
      advice: "use the features that the head was fitted to")
    return try data.splitNames.map { name in
      let split = try data.split(name)
      let scores = try FineTuning.evaluate(head, on: split, execution: execution)
      try FiniteScores.check(
        scores, head, on: split, file: data.file, key: "\(name) split features",
        execution: execution)
      return (name, scores)
    }
  }

  /// The configuration with the backbone that the head was fitted to, unless one is given.
  private func withBackbone(of stored: HeadCheckpoint) -> RunConfiguration {
    var configuration = configuration
    let arguments = RunOutput.decode([String: ArgumentValue].self, from: stored.arguments) ?? [:]
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
      case .integer(let width)? = arguments["embed_dim"],
      case .integer(let count)? = arguments["num_blocks"]
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

/// The predictions of a stored head for rows without labels.
public struct HeadPrediction {
  private let checkpoint, featuresPath: String
  private let split: String?
  private let splitsEntropy: Bool
  private let threadCount: Int?

  /// Prepares a prediction for a split of a feature file: "test", or the first there is, when `nil`.
  ///
  /// Splitting the entropy into mutual information and the rest takes longer than all else.
  public init(
    checkpoint: String, featuresPath: String, split: String?, splitsEntropy: Bool = false,
    threadCount: Int?
  ) {
    (self.checkpoint, self.featuresPath, self.split) = (checkpoint, featuresPath, split)
    (self.splitsEntropy, self.threadCount) = (splitsEntropy, threadCount)
  }

  /// Predicts, writes a table, where the name of the file ends in ".csv", or else a safetensors file, and tells
  /// the number of rows.
  ///
  /// - Throws: `DataError` for files that cannot be read or written, or do not fit together, for a head
  ///   whose entropy cannot be split, and for rows whose predictions are not numbers; nothing is written
  ///   then.
  public func write(to path: String, note: (String) -> Void = { _ in }) throws -> Int {
    try DataError.require(
      !Files.isFile(path) || Self.isReplaceable(path), .unwritableFile, file: path,
      found: "the file is there already, and holds no predictions",
      expected: "a new file, or predictions to replace",
      advice: "choose another --out, or remove the file")
    let threads = try ThreadReservation(threadCount)
    if let text = threads.note { note(text) }
    let stored = try HeadCheckpoint(path: checkpoint)
    let head = stored.head
    try DataError.require(
      !splitsEntropy || Uncertainty.canSplit(head), .wrongType, file: checkpoint, key: "head",
      found: "a head \(type(of: head.uncalibrated).kind) has no posterior to draw from",
      expected: "a head of the default recipe for --mutual-information",
      advice: "leave the option out")
    let features = try OutOfDistributionRows.features(
      path: featuresPath, split: split, featureCount: head.featureCount)
    let uncertainty = try Uncertainty(
      head, features, splitsEntropy: splitsEntropy, execution: threads.execution)
    try FiniteScores.check(
      uncertainty, of: features, file: featuresPath,
      key: split.map { "\($0) split features" } ?? "features")
    if path.hasSuffix(".csv") {
      try uncertainty.writeTable(to: path, classNames: stored.classNames)
    } else {
      var writer = SafetensorsWriter(metadata: [
        "format": Self.format, "head": checkpoint,
        "class_names": ClassNames.format(stored.classNames),
      ])
      writer.add("probabilities", uncertainty.probabilities)
      writer.add("logits", uncertainty.logProbabilities)
      writer.add("predicted", uncertainty.predictions)
      for (name, values) in uncertainty.columns { writer.add(name, values) }
      try writer.write(to: path)
    }
    return features.rowCount
  }

  private static let format = "bllarse-predictions"

  /// Whether a file holds predictions: those of a head may take their place, but not that of the head or the
  /// features that they are made of, nor of anything else.
  private static func isReplaceable(_ path: String) -> Bool {
    let start = Array("row,predicted,".utf8)
    guard let file = try? MappedFile(path: path) else { return false }
    let found = file.withBytes { Array($0.prefix(start.count)) }
    // An empty file is what a shell leaves that was to write there.
    if found.isEmpty || found == start { return true }
    return (try? SafetensorsFile(path: path))?.metadata["format"] == format
  }
}

extension Uncertainty {
  /// The class probabilities, n x K.
  public var probabilities: Matrix<Float> { logProbabilities.exponentials() }

  /// The most probable class of each row; of equals the first.
  public var predictions: [Int32] {
    (0..<logProbabilities.rowCount).map { row in
      logProbabilities.withRow(row) { values in
        Int32(values.indices.reduce(0) { values[$1] > values[$0] ? $1 : $0 })
      }
    }
  }

  /// The columns of a table of uncertainties, in a fixed order: `max_probability` as it is.
  var columns: [(name: String, values: [Double])] {
    let columns = [
      ("max_probability", confidence), ("entropy", entropy),
      ("mutual_information", mutualInformation), ("aleatoric", aleatoric), ("energy", energy),
      ("leverage", leverage),
    ]
    return columns.compactMap { name, values in values.map { (name, $0) } }
  }

  /// Writes predictions as comma-separated values: one line a row, after a line of names.
  fileprivate func writeTable(to path: String, classNames: [String]) throws(DataError) {
    let (columns, probabilities, predictions) = (columns, probabilities, predictions)
    let file = try AtomicFile(path: path)
    var text = TextTable.csvLine(
      ["row", "predicted"] + classNames.map { "p_" + $0 } + classNames.map { "logit_" + $0 }
        + columns.map(\.name))
    for row in 0..<probabilities.rowCount {
      var fields = [String(row), classNames[Int(predictions[row])]]
      fields += probabilities.row(row).map { String($0) }
      fields += logProbabilities.row(row).map { String($0) }
      fields += columns.map { String($0.values[row]) }
      text += TextTable.csvLine(fields)
      // Write in pieces: a table of a million rows need not be one text.
      if text.utf8.count > 1 << 20 {
        try file.write(Array(text.utf8))
        text = ""
      }
    }
    try file.write(Array(text.utf8))
    try file.commit()
  }
}
