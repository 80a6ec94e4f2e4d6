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
    _ configuration: RunConfiguration, skipsTraining: Bool = false, parallelism: Parallelism
  ) throws {
    self.roles = roles
    var scores: [NamedScores] = []
    var original: [String: SplitScores] = [:]
    let logged = Set([roles.test] + (roles.validation.map { [$0] } ?? []))
      .union(Self.originalNames.keys)
    for name in data.splitNames where !(skipsTraining && name == SplitRoles.training) {
      let split = try data.split(name)
      let own = try head.evaluation(
        features: split.features, labels: split.labels, parallelism: parallelism)
      scores.append(NamedScores(split: name, scores: own))
      guard logged.contains(name) else { continue }
      // A fit that the original makes, too, when it is asked in these words: batches that are merged, or steps.
      if configuration.method.has(.takesFreshRows), let head = head as? any OriginallyScoredHead {
        original[name] = try head.originalScores(split, own: own, configuration.method, parallelism)
      } else {
        original[name] = own
      }
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
  static let loggedNames: Set = ["acc", "nll", "ece"]
}
