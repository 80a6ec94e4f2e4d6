import BllarseNumerics

/// The scores of a head on every split of a data set.
struct SplitEvaluations {
  let roles: SplitRoles
  /// In the data set's order.
  let scores: [NamedScores]

  /// Scores a head on all splits.
  ///
  /// - Throws: `NumericsError` when the head's state is numerically unusable.
  init(_ head: any Head, on data: FeatureDataset, _ roles: SplitRoles) throws {
    self.roles = roles
    scores = try data.splitNames.map { name in
      NamedScores(
        split: name,
        scores: SplitScores(try FineTuning.evaluate(head, on: try data.split(name))))
    }
  }

  /// The scores of a split, which must be there.
  subscript(name: String) -> SplitScores {
    guard let found = scores.first(where: { $0.split == name }) else {
      preconditionFailure("no scores of the split \(name)")
    }
    return found.scores
  }

  var train: SplitScores { self[SplitRoles.training] }
  var test: SplitScores { self[roles.test] }
  var validation: SplitScores? { roles.validation.map { self[$0] } }

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
      guard let original = Self.originalNames[name] else { continue }
      metrics[original + "_acc"] = scores.acc
      metrics[original + "_nll"] = scores.nll
      metrics[original + "_ece"] = scores.ece
    }
    return metrics
  }

  /// The Python original's names of splits.
  static let originalNames = ["val_m": "val_matched", "val_mm": "val_mismatched"]
}
