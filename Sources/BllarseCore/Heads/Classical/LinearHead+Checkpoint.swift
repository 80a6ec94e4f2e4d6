import BllarseNumerics

extension LinearHead: Head {
  /// Adds the weights; and the means of the features and the biases there, where they are known.
  ///
  /// A reader that knows `weights` alone predicts the same, as far as the digits of their biases go.
  public func encode(into writer: inout SafetensorsWriter) {
    writer.add("weights", weights)
    guard let center else { return }
    writer.add("column_mean", center.means)
    writer.add("bias_at_mean", center.biases)
  }

  /// Reads a head from a checkpoint.
  public init(decoding file: SafetensorsFile) throws(DataError) {
    self.init(
      featureCount: try file.integer("feature_count", atLeast: 1),
      classCount: try file.integer("class_count", atLeast: 2))
    try decode(from: file)
  }

  /// Takes the weights of a checkpoint.
  mutating func decode(from file: SafetensorsFile) throws(DataError) {
    weights = try file.matrix("weights", rows: featureCount + 1, columns: classCount)
    guard file.contains("column_mean") else { return }
    center = Center(
      means: try file.vector("column_mean", count: featureCount),
      biases: try file.vector("bias_at_mean", count: classCount).map(Float.init))
  }
}

extension LinearHead: ColumnSelectingHead, LogitHead {
  /// An optimum has exact zeros for constant columns, and for no others.
  var leftOutColumns: [Int] {
    guard center != nil else { return [] }
    return (0..<featureCount).filter { row in weights.row(row).allSatisfy { $0 == 0 } }
  }
}

// MARK: - As the Python original scores it

extension LinearHead: OriginallyScoredHead {
  /// The NLL is the loss that was minimised: of CrossEntropy against smoothed labels, of MSE half the squared
  /// difference between outputs and one-hot labels, the mean over rows and classes.
  func originalScores(
    _ split: FeatureSplit, own: SplitScores, _ method: Method, _ execution: Execution
  ) throws(NumericsError) -> SplitScores {
    var scores = own
    let smoothing = method[FitOptions.labelSmoothing]
    if Loss.self == SquaredErrorLoss.self {
      scores["nll"] = try halfSquaredError(split, execution)
    } else if smoothing > 0 {
      scores["nll"] = try smoothedLoss(split, smoothing: smoothing, execution)
    }
    return scores
  }
}

extension LinearHead {
  /// The mean cross-entropy against labels of which a share is spread over all classes, in nats.
  func smoothedLoss(
    _ split: FeatureSplit, smoothing: Double, _ execution: Execution
  ) throws(NumericsError) -> Double {
    var logs = try logits(split.features, execution: execution)
    logs.formLogSoftmaxRows()
    let spread = smoothing / Double(classCount)
    var sum = 0.0
    for (row, label) in split.labels.enumerated() {
      logs.withRow(row) { values in
        var total = 0.0
        for k in values.indices { total += Double(values[k]) }
        sum -= (1 - smoothing) * Double(values[Int(label)]) + spread * total
      }
    }
    return sum / Double(split.rowCount)
  }

  /// Half the squared difference between logits and one-hot labels, the mean over rows and classes.
  func halfSquaredError(
    _ split: FeatureSplit, _ execution: Execution
  ) throws(NumericsError) -> Double {
    let logits = try logits(split.features, execution: execution)
    var sum = 0.0
    for (row, label) in split.labels.enumerated() {
      logits.withRow(row) { values in
        for k in values.indices {
          let difference = Double(values[k]) - (k == Int(label) ? 1 : 0)
          sum += difference * difference
        }
      }
    }
    return sum / Double(2 * split.rowCount * classCount)
  }
}
