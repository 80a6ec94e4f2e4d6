public import BllarseNumerics

/// The predictions of a stored head for rows without labels.
public struct HeadPrediction {
  /// The checkpoint's path.
  public let checkpoint: String
  /// A feature file.
  public let featuresPath: String
  /// The split of the file; "test", or the first there is, when `nil`.
  public let split: String?
  /// Whether the entropy is split into mutual information and the rest, which takes longer than all else.
  public let splitsEntropy: Bool
  /// The number of threads, or `nil` for all that are allowed.
  public let threadCount: Int?

  /// Prepares a prediction.
  public init(
    checkpoint: String, featuresPath: String, split: String?, splitsEntropy: Bool = false,
    threadCount: Int?
  ) {
    self.checkpoint = checkpoint
    self.featuresPath = featuresPath
    self.split = split
    self.splitsEntropy = splitsEntropy
    self.threadCount = threadCount
  }

  /// Predicts, and writes the file.
  ///
  /// - Parameters:
  ///   - path: a name that ends in ".csv" for a table; anything else is a safetensors file.
  ///   - note: receives what the user should know, in one line.
  /// - Returns: the number of rows.
  /// - Throws: `DataError` for files that cannot be read or written, or do not fit together, for a head
  ///   whose entropy cannot be split, and for rows whose predictions are not numbers; nothing is written
  ///   then.
  public func write(to path: String, note: (String) -> Void = { _ in }) throws -> Int {
    try PredictionFile.requireReplaceable(path)
    let threads = try ThreadReservation(threadCount)
    if let text = threads.note { note(text) }
    let stored = try HeadCheckpoint(path: checkpoint)
    let head = stored.head
    guard !splitsEntropy || Uncertainty.canSplit(head) else {
      throw DataError(
        .wrongType, file: checkpoint, key: "head",
        found: "a head \(type(of: head.uncalibrated).kind) has no posterior to draw from",
        expected: "a head of the default recipe for --mutual-information",
        advice: "leave the option out")
    }
    let features = try OutOfDistributionRows.features(
      path: featuresPath, split: split, featureCount: head.featureCount)
    let uncertainty = try Uncertainty(
      head, features, splitsEntropy: splitsEntropy, parallelism: threads.parallelism)
    try FiniteScores.check(
      uncertainty, of: features, file: featuresPath,
      key: split.map { "\($0) split features" } ?? "features")
    if path.hasSuffix(".csv") {
      try PredictionTable(uncertainty, classNames: stored.classNames).write(to: path)
    } else {
      try writer(uncertainty, stored).write(to: path)
    }
    return features.rowCount
  }

  private func writer(_ uncertainty: Uncertainty, _ stored: HeadCheckpoint) -> SafetensorsWriter {
    var writer = SafetensorsWriter(metadata: [
      "format": "bllarse-predictions", "head": checkpoint,
      "class_names": ClassNames.format(stored.classNames),
    ])
    writer.add("probabilities", uncertainty.probabilities)
    writer.add("logits", uncertainty.logProbabilities)
    writer.add("predicted", uncertainty.predictions)
    for (name, values) in uncertainty.columns { writer.add(name, values) }
    return writer
  }
}

extension Uncertainty {
  /// The class probabilities, n x K.
  public var probabilities: Matrix<Float> { logProbabilities.exponentials() }

  /// The most probable class of each row; of equals the first.
  public var predictions: [Int32] {
    (0..<logProbabilities.rowCount).map { row in
      logProbabilities.withRow(row) { values in
        var best = 0
        for k in values.indices where values[k] > values[best] { best = k }
        return Int32(best)
      }
    }
  }

  /// The columns of a table of uncertainties, in a fixed order: `max_probability` as it is.
  var columns: [(name: String, values: [Double])] {
    var columns = [
      (name: "max_probability", values: confidence), (name: "entropy", values: entropy),
    ]
    for (name, values) in [
      ("mutual_information", mutualInformation), ("aleatoric", aleatoric), ("energy", energy),
      ("leverage", leverage),
    ] {
      if let values { columns.append((name, values)) }
    }
    return columns
  }
}

/// Predictions as comma-separated values: one line a row, after a line of names.
struct PredictionTable {
  let uncertainty: Uncertainty
  let classNames: [String]

  init(_ uncertainty: Uncertainty, classNames: [String]) {
    self.uncertainty = uncertainty
    self.classNames = classNames
  }

  /// Writes the table in one step.
  func write(to path: String) throws(DataError) {
    let columns = uncertainty.columns
    let probabilities = uncertainty.probabilities
    let predictions = uncertainty.predictions
    let file = try AtomicFile(path: path)
    var text = TextTable.csvLine(
      ["row", "predicted"] + classNames.map { "p_" + $0 } + classNames.map { "logit_" + $0 }
        + columns.map(\.name))
    for row in 0..<probabilities.rowCount {
      var fields = [String(row), classNames[Int(predictions[row])]]
      fields += probabilities.row(row).map { String($0) }
      fields += uncertainty.logProbabilities.row(row).map { String($0) }
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
