import BllarseNumerics

/// What the Python original logs under `acc`, `nll` and `ece`.
///
/// A fit that is asked for in its words logs its quantities under its names; our own stand beside them as
/// `SPLIT_acc` and so on. They differ in
///
/// - `ece` of `IBProbit`: confidences are those of the binary conditionals alone (CBC), ours those of the
///   equal mixture with the binary marginals, from which its `nll` comes, too;
/// - `nll` of `CrossEntropy` with label smoothing: the loss against smoothed labels;
/// - `nll` of `MSE`: half the squared difference between outputs and one-hot labels, the mean over rows and
///   classes.
struct OriginalScores: Sendable, Equatable {
  var acc: Double
  var nll: Double
  var ece: Double

  init(_ evaluation: Evaluation) {
    (acc, nll, ece) = (evaluation.accuracy, evaluation.nll, evaluation.ece)
  }

  /// Scores a head.
  ///
  /// - Parameters:
  ///   - head: fitted.
  ///   - split: labelled rows.
  ///   - own: our scores of the same rows.
  ///   - configuration: of the run.
  /// - Throws: `NumericsError` when the head's state is numerically unusable.
  init(
    _ head: any Head, on split: FeatureSplit, own: Evaluation, _ configuration: RunConfiguration
  ) throws(NumericsError) {
    self.init(own)
    // A fit that the original makes, too, when it is asked in these words.
    guard configuration.method.has(.takesFreshRows) else { return }
    switch head {
    case let probit as IBProbitHead<Float>:
      self.init(
        try IBProbitReferenceHead(probit).evaluation(
          features: split.features, labels: split.labels))
    case let linear as LinearHead<CrossEntropyLoss>
    where configuration.method[FitOptions.labelSmoothing] > 0:
      nll = try linear.smoothedLoss(
        split, smoothing: configuration.method[FitOptions.labelSmoothing])
    case let linear as LinearHead<SquaredErrorLoss>:
      nll = try linear.halfSquaredError(split)
    default: break
    }
  }
}

extension LinearHead {
  /// The mean cross-entropy against labels of which a share is spread over all classes, in nats.
  func smoothedLoss(
    _ split: FeatureSplit, smoothing: Double
  ) throws(NumericsError) -> Double {
    var logs = try logits(split.features)
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
  func halfSquaredError(_ split: FeatureSplit) throws(NumericsError) -> Double {
    let logits = try logits(split.features)
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
