public import BllarseNumerics
import Glibc

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
    let task = type(of: head).task
    let loaded = try RunData(
      asFitted(stored), stored: (task, head.outputCount), execution: execution)
    try require(loaded.backbone, of: stored)
    let data = loaded.dataset
    // Of classes, the data may show some only.
    let fits =
      task == .classification
      ? data.outputs.count <= head.outputCount : data.outputs.count == head.outputCount
    try DataError.require(
      data.featureCount == head.featureCount && fits, .wrongShape,
      file: data.file, key: data.name,
      found: "the data have \(data.featureCount) features and \(data.outputs)",
      expected:
        "\(head.featureCount) features and \(stored.outputs), as \(checkpoint) has",
      advice: "use the features that the head was fitted to")
    try Self.requireNames(data, of: stored)
    return try data.splitNames.map { name in
      let split = try data.split(name)
      let scores = try head.scores(of: split, execution: execution)
      try FiniteScores.check(
        scores, head, on: split, file: data.file, key: "\(name) split features",
        execution: execution)
      return (name, scores)
    }
  }

  /// Refuses classes or labels that have names, and others than the head's in their places.
  private static func requireNames(
    _ data: FeatureDataset, of stored: HeadCheckpoint
  ) throws(DataError) {
    let (own, others) = (stored.outputNames, data.outputs.names)
    func areNumbers(_ names: [String]) -> Bool {
      names.enumerated().allSatisfy { $1 == String($0) }
    }
    guard data.outputs.task != .regression, !areNumbers(own), !areNumbers(others),
      let place = zip(own, others).enumerated().first(where: { $1.0 != $1.1 })?.offset
    else { return }
    throw DataError(
      .wrongType, file: data.file, key: "metadata \(data.outputs.task.namesKey)",
      found: "number \(place) is \(others[place].quoted())",
      expected: "\(own[place].quoted()), as the head has it",
      advice: "bring them into the head's order, or leave the names out")
  }

  /// The configuration with the targets and the backbone that the head was fitted to, unless others are given.
  private func asFitted(_ stored: HeadCheckpoint) -> RunConfiguration {
    var configuration = configuration
    let arguments = RunOutput.decode([String: ArgumentValue].self, from: stored.arguments) ?? [:]
    if case .text(let name)? = arguments["target"], configuration.data.target == nil {
      configuration.data.target = name
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

extension HeadComparison {
  /// Compares stored heads on the test split of the data that a configuration names.
  ///
  /// - Parameters:
  ///   - checkpoints: files of heads that were fitted to such data, at least one.
  ///   - configuration: of one of the runs.
  /// - Throws: `DataError` for bad data or checkpoints, `NumericsError` for heads that do not fit the data.
  public init(checkpoints: [String], _ configuration: RunConfiguration) throws {
    let execution = try ThreadReservation(configuration.threadCount).execution
    let data = try RunData(configuration, execution: execution)
    let test = try data.dataset.split(data.roles.test)
    let losses = try checkpoints.map { path in
      let head = try HeadCheckpoint(path: path).head
      try DataError.require(
        type(of: head).task == data.dataset.outputs.task
          && head.featureCount == data.dataset.featureCount
          && head.outputCount == data.dataset.outputs.count, .wrongType, file: path, key: "head",
        found: "it predicts \(Outputs(type(of: head).task, count: head.outputCount)) from "
          + "\(head.featureCount) features",
        expected: "\(data.dataset.outputs) and \(data.dataset.featureCount), as the data have")
      return try head.losses(of: test, execution: execution)
    }
    self.init(losses: losses, seed: configuration.seed, execution: execution)
  }
}

/// The predictions of a stored head for rows without labels.
public struct HeadPrediction {
  private let checkpoint, featuresPath: String
  private let split: String?
  private let splitsEntropy: Bool
  private let level: Double?
  private let threadCount: Int?

  /// Prepares a prediction for a split of a feature file: "test", or the first there is, when `nil`.
  ///
  /// Splitting the entropy into mutual information and the rest takes longer than all else. Intervals for target
  /// values hold them with a probability of `level`; 0.9 when `nil`.
  public init(
    checkpoint: String, featuresPath: String, split: String?, splitsEntropy: Bool = false,
    level: Double? = nil, threadCount: Int?
  ) {
    (self.checkpoint, self.featuresPath, self.split) = (checkpoint, featuresPath, split)
    (self.splitsEntropy, self.level, self.threadCount) = (splitsEntropy, level, threadCount)
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
    let predictions = try predictions(
      of: head, features, key: split.map { "\($0) split features" } ?? "features",
      execution: threads.execution)
    if path.hasSuffix(".csv") {
      try predictions.writeTable(to: path, names: stored.outputNames)
    } else {
      var writer = SafetensorsWriter(metadata: [
        "format": Self.format, "head": checkpoint,
        type(of: head).task.namesKey: ClassNames.format(stored.outputNames),
      ])
      predictions.encode(into: &writer)
      try writer.write(to: path)
    }
    return features.rowCount
  }

  /// What a head predicts, as files hold it.
  private func predictions(
    of head: any Head, _ features: FeatureMatrix, key: String, execution: Execution
  ) throws -> any WritablePredictions {
    if let regressor = head as? any RegressionHead {
      let distributions = try FiniteScores.predictions(
        regressor, features, file: featuresPath, key: key, execution: execution)
      return try PredictedTargets(distributions, level: level ?? 0.9)
    }
    try DataError.require(
      level == nil, .wrongType, file: checkpoint, key: "head",
      found: "a head \(type(of: head.uncalibrated).kind) predicts "
        + (head is any MultiLabelHead ? "labels" : "classes"),
      expected: "a head that predicts target values for --level", advice: "leave the option out")
    if let head = head as? any MultiLabelHead {
      return PredictedLabels(
        try FiniteScores.logOdds(
          head, features, file: featuresPath, key: key, execution: execution))
    }
    let uncertainty = try Uncertainty(
      try head.classifier(), features, splitsEntropy: splitsEntropy, execution: execution)
    try FiniteScores.check(uncertainty, of: features, file: featuresPath, key: key)
    return PredictedClasses(uncertainty)
  }

  private static let format = "bllarse-predictions"

  /// Whether a file holds predictions: those of a head may take their place, but not that of the head or the
  /// features that they are made of, nor of anything else.
  private static func isReplaceable(_ path: String) -> Bool {
    let start = Array("row,predicted".utf8)
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
}

// MARK: - What is written

/// Predictions as files hold them.
private protocol WritablePredictions: Sendable {
  /// The number of rows.
  var rowCount: Int { get }
  /// The names of the columns of a table, "row" left out, where classes or targets have names.
  func tableHead(_ names: [String]) -> [String]
  /// The fields of a row under that head.
  func fields(_ row: Int, _ names: [String]) -> [String]
  /// Adds the tensors.
  func encode(into writer: inout SafetensorsWriter)
}

extension WritablePredictions {
  /// Writes predictions as comma-separated values: one line a row, after a line of names.
  fileprivate func writeTable(to path: String, names: [String]) throws(DataError) {
    let file = try AtomicFile(path: path)
    var text = TextTable.csvLine(["row"] + tableHead(names))
    for row in 0..<rowCount {
      text += TextTable.csvLine([String(row)] + fields(row, names))
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

/// Class probabilities with uncertainties.
private struct PredictedClasses: WritablePredictions {
  private let uncertainty: Uncertainty
  private let probabilities: Matrix<Float>
  private let predictions: [Int32]
  private let columns: [(name: String, values: [Double])]

  init(_ uncertainty: Uncertainty) {
    self.uncertainty = uncertainty
    (probabilities, predictions) = (uncertainty.probabilities, uncertainty.predictions)
    columns = uncertainty.columns
  }

  var rowCount: Int { predictions.count }

  func tableHead(_ names: [String]) -> [String] {
    ["predicted"] + names.map { "p_" + $0 } + names.map { "logit_" + $0 } + columns.map(\.name)
  }

  func fields(_ row: Int, _ names: [String]) -> [String] {
    [names[Int(predictions[row])]] + probabilities.row(row).map { String($0) }
      + uncertainty.logProbabilities.row(row).map { String($0) }
      + columns.map { String($0.values[row]) }
  }

  func encode(into writer: inout SafetensorsWriter) {
    writer.add("probabilities", probabilities)
    writer.add("logits", uncertainty.logProbabilities)
    writer.add("predicted", predictions)
    for (name, values) in columns { writer.add(name, values) }
  }
}

/// Probabilities of labels.
private struct PredictedLabels: WritablePredictions {
  private let logOdds: Matrix<Float>
  private let probabilities: Matrix<Float>
  private let entropy: [Double]

  init(_ logOdds: Matrix<Float>) {
    self.logOdds = logOdds
    probabilities = Matrix(
      rows: logOdds.rowCount, columns: logOdds.columnCount,
      elements: logOdds.elements.map { Float(1 / (1 + exp(-Double($0)))) })
    entropy = logOdds.sumsOfEntropies
  }

  var rowCount: Int { logOdds.rowCount }

  func tableHead(_ names: [String]) -> [String] {
    ["predicted"] + names.map { "p_" + $0 } + names.map { "logit_" + $0 } + ["entropy"]
  }

  /// The labels that are more probable than not, with semicolons between, come first.
  func fields(_ row: Int, _ names: [String]) -> [String] {
    let odds = logOdds.row(row)
    return [zip(names, odds).filter { $0.1 > 0 }.map(\.0).joined(separator: ";")]
      + probabilities.row(row).map { String($0) } + odds.map { String($0) }
      + [String(entropy[row])]
  }

  func encode(into writer: inout SafetensorsWriter) {
    writer.add("probabilities", probabilities)
    writer.add("logits", logOdds)
    writer.add(
      "predicted", logOdds.elements.map { Int32($0 > 0 ? 1 : 0) },
      shape: [logOdds.rowCount, logOdds.columnCount])
    writer.add("entropy", entropy)
  }
}

/// Predicted target values with intervals.
private struct PredictedTargets: WritablePredictions {
  private let distributions: TargetDistributions
  private let level: Double
  private let deviations, lower, upper: Matrix<Double>

  init(_ distributions: TargetDistributions, level: Double) throws(NumericsError) {
    (self.distributions, self.level) = (distributions, level)
    let variances = distributions.variances
    deviations = Matrix(
      rows: variances.rowCount, columns: variances.columnCount,
      elements: variances.elements.map { $0.squareRoot() })
    (lower, upper) = try distributions.centralIntervals(level)
  }

  var rowCount: Int { distributions.rowCount }

  func tableHead(_ names: [String]) -> [String] {
    names.map { "predicted_" + $0 } + names.map { "sd_" + $0 }
      + names.map { "lower_\(level)_" + $0 } + names.map { "upper_\(level)_" + $0 }
  }

  func fields(_ row: Int, _ names: [String]) -> [String] {
    [distributions.locations, deviations, lower, upper].flatMap { values in
      values.row(row).map { String($0) }
    }
  }

  func encode(into writer: inout SafetensorsWriter) {
    writer.metadata["level"] = String(level)
    writer.add("predicted", distributions.locations)
    writer.add("scale", distributions.scales)
    writer.add("degrees_of_freedom", distributions.degreesOfFreedom)
    writer.add("sd", deviations)
    writer.add("lower", lower)
    writer.add("upper", upper)
  }
}
