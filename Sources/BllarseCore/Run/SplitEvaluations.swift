import BllarseNumerics

/// The scores of a head on every split of a data set.
struct SplitEvaluations {
  let roles: SplitRoles
  /// In the data set's order.
  let scores: [NamedScores]
  /// What the Python original would log of a split, for the splits that it logs.
  private let original: [String: SplitScores]

  /// Scores a fitted head on all splits; the training rows, which may be many, can be left out.
  init(
    _ head: any Head, on data: FeatureDataset, _ roles: SplitRoles,
    _ configuration: RunConfiguration, skipsTraining: Bool = false
  ) throws {
    self.roles = roles
    var scores: [NamedScores] = []
    var original: [String: SplitScores] = [:]
    let logged = Set([roles.test] + (roles.validation.map { [$0] } ?? []))
      .union(Self.originalNames.keys)
    for name in data.splitNames where !(skipsTraining && name == SplitRoles.training) {
      let split = try data.split(name)
      let own = try FineTuning.evaluate(head, on: split)
      scores.append(NamedScores(split: name, scores: own))
      guard logged.contains(name) else { continue }
      original[name] = try configuration.originalScores(of: head, on: split, own: own)
    }
    self.scores = scores
    self.original = original
  }

  /// The scores of a split, which must have been scored.
  subscript(name: String) -> SplitScores {
    guard let found = scores.first(where: { $0.split == name }) else {
      preconditionFailure("no scores of the split \(name)")
    }
    return found.scores
  }

  var train: SplitScores { self[SplitRoles.training] }
  var test: SplitScores { self[roles.test] }

  /// What is logged as `acc`, `nll` and `ece`.
  var logged: [String: Double] {
    guard let found = original[roles.test] else {
      preconditionFailure("no scores of the test split")
    }
    return found.values.filter { Self.loggedNames.contains($0.key) }
  }

  /// What chooses the best epoch, where there is a validation split.
  var validation: SplitScores? { roles.validation.flatMap { original[$0] } }

  /// The scores by the names under which they are logged.
  ///
  /// `SPLIT_acc` and so on, with "val" for "validation"; the matched and mismatched validation rows of
  /// the Python original's text caches also have the names that it logs.
  var metrics: [String: Double] {
    var metrics: [String: Double] = [:]
    for own in scores {
      let prefix = own.split == "validation" ? "val" : own.split
      for (name, value) in own.scores.values { metrics["\(prefix)_\(name)"] = value }
    }
    for (split, prefix) in Self.originalNames {
      for (name, value) in original[split]?.values ?? [:] where Self.loggedNames.contains(name) {
        metrics["\(prefix)_\(name)"] = value
      }
    }
    return metrics
  }

  /// The Python original's names of splits, and of the metrics that it logs of each.
  static let originalNames = ["val_m": "val_matched", "val_mm": "val_mismatched"]
  fileprivate static let loggedNames: Set = ["acc", "nll", "ece"]
}

extension RunConfiguration {
  /// What the Python original logs under `acc`, `nll` and `ece`.
  ///
  /// A fit that is asked for in its words (batches that are merged, or steps of an optimiser) logs its
  /// quantities under its names; our own are logged as `SPLIT_acc` and so on. They differ in
  ///
  /// - `ece` of `IBProbit`: confidences are those of the binary conditionals alone (CBC), ours those of the
  ///   equal mixture with the binary marginals, from which its `nll` comes, too;
  /// - `nll` of `CrossEntropy` with label smoothing: the loss against smoothed labels;
  /// - `nll` of `MSE`: half the squared difference between outputs and one-hot labels, the mean over rows
  ///   and classes.
  ///
  /// What it does not log stays as in `own`, our scores of the same rows.
  fileprivate func originalScores(
    of head: any Head, on split: FeatureSplit, own: SplitScores
  ) throws(NumericsError) -> SplitScores {
    // A fit that the original makes, too, when it is asked in these words: batches that are merged, or steps.
    guard method.has(.takesFreshRows) else { return own }
    let labelSmoothing = method[FitOptions.labelSmoothing]
    var scores = own
    switch head {
    case let probit as IBProbitHead<Float>:
      let theirs = try IBProbitReferenceHead(probit).evaluation(
        features: split.features, labels: split.labels)
      for name in SplitEvaluations.loggedNames { scores[name] = theirs[name] }
    case let linear as LinearHead<CrossEntropyLoss>
    where labelSmoothing > 0:
      scores["nll"] = try linear.smoothedLoss(split, smoothing: labelSmoothing)
    case let linear as LinearHead<SquaredErrorLoss>:
      scores["nll"] = try linear.halfSquaredError(split)
    default: break
    }
    return scores
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
