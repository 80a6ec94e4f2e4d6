import BllarseNumerics

/// The scores of a head on every split of a data set.
struct SplitEvaluations {
  let roles: SplitRoles
  /// In the data set's order.
  let scores: [NamedScores]
  /// What the Python original would log of a split, for the splits that it logs.
  private let original: [String: OriginalScores]

  /// Scores a head on all splits.
  ///
  /// - Parameters:
  ///   - head: fitted.
  ///   - data: the splits.
  ///   - roles: which split is which.
  ///   - configuration: of the run.
  ///   - skipsTraining: whether to leave out the training rows, which may be many.
  /// - Throws: `NumericsError` when the head's state is numerically unusable.
  init(
    _ head: any Head, on data: FeatureDataset, _ roles: SplitRoles,
    _ configuration: RunConfiguration, skipsTraining: Bool = false
  ) throws {
    self.roles = roles
    var scores: [NamedScores] = []
    var original: [String: OriginalScores] = [:]
    let logged = Set([roles.test] + (roles.validation.map { [$0] } ?? []))
      .union(Self.originalNames.keys)
    for name in data.splitNames where !(skipsTraining && name == SplitRoles.training) {
      let split = try data.split(name)
      let own = try FineTuning.evaluate(head, on: split)
      scores.append(NamedScores(split: name, scores: SplitScores(own)))
      guard logged.contains(name) else { continue }
      original[name] = try OriginalScores(head, on: split, own: own, configuration)
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
  var logged: OriginalScores {
    guard let found = original[roles.test] else {
      preconditionFailure("no scores of the test split")
    }
    return found
  }

  /// What chooses the best epoch, where there is a validation split.
  var validation: SplitScores? {
    guard let name = roles.validation, let choosing = original[name] else { return nil }
    var scores = self[name]
    (scores.acc, scores.nll, scores.ece) = (choosing.acc, choosing.nll, choosing.ece)
    return scores
  }

  /// The scores by the names under which they are logged.
  ///
  /// `SPLIT_acc` and so on, with "val" for "validation"; the matched and mismatched validation rows of
  /// the Python original's text caches also have the names that it logs.
  var metrics: [String: Double] {
    var metrics: [String: Double] = [:]
    for (name, scores) in scores.map({ ($0.split, $0.scores) }) {
      let prefix = name == "validation" ? "val" : name
      metrics[prefix + "_acc"] = scores.acc
      metrics[prefix + "_nll"] = scores.nll
      metrics[prefix + "_ece"] = scores.ece
      metrics[prefix + "_brier"] = scores.brier
    }
    for (name, prefix) in Self.originalNames {
      guard let scores = original[name] else { continue }
      metrics[prefix + "_acc"] = scores.acc
      metrics[prefix + "_nll"] = scores.nll
      metrics[prefix + "_ece"] = scores.ece
    }
    return metrics
  }

  /// The Python original's names of splits.
  static let originalNames = ["val_m": "val_matched", "val_mm": "val_mismatched"]
}
