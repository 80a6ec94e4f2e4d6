import BllarseCore
import Foundation

extension RunResult {
  /// Everything that is logged once, at the end: the scores of the training and test rows and the time
  /// under the names that they have in `result.json`, then what the fit chose and how it was scored.
  var trackedMetrics: [String: Double] {
    var scores = [
      "seconds.fit": seconds.fit, "seconds.total": seconds.total,
    ]
    for (split, figures) in [("train", train), ("test", test)] { add(figures, split, to: &scores) }
    scores["best_epoch"] = best.map { Double($0.epoch) }
    for (name, value) in chosen?.numbers ?? [:] { scores["chosen.\(name)"] = value }
    if let estimate = recipe?.estimate {
      scores["estimate.acc"] = estimate.acc
      scores["estimate.nll"] = estimate.nll
      scores["estimate.nll_se"] = estimate.nllError
      scores["estimate.ece"] = estimate.ece
      scores["estimate.brier"] = estimate.brier
    }
    // The error over 20 bins of equal width is `test.ece` itself.
    for (name, value) in metrics?.test ?? [:] where name != "ece_equal_width_20" {
      scores["test.\(name)"] = value
    }
    for sets in metrics?.conformal ?? [] {
      // "conformal.lac.0.9.coverage"
      let prefix = "conformal.\(sets.method).\(sets.level)"
      scores["\(prefix).coverage"] = sets.coverage
      scores["\(prefix).mean_size"] = sets.meanSize
      scores["\(prefix).empty_share"] = sets.emptyShare
    }
    for (name, detection) in metrics?.outOfDistribution ?? [:] {
      scores["ood.\(name).auroc"] = detection.auroc
      scores["ood.\(name).fpr95"] = detection.fpr95
      scores["ood.\(name).aupr_out"] = detection.auprOut
    }
    return scores.merging(calibrationMetrics) { own, _ in own }
  }

  private func add(_ figures: SplitScores, _ split: String, to scores: inout [String: Double]) {
    scores["\(split).acc"] = figures.acc
    scores["\(split).nll"] = figures.nll
    scores["\(split).ece"] = figures.ece
    scores["\(split).brier"] = figures.brier
  }

  /// What the fit chose, in words.
  var trackedParameters: [String: any CustomStringConvertible] {
    Dictionary(
      uniqueKeysWithValues: (chosen?.words ?? [:]).map { ("chosen.\($0.key)", $0.value) })
  }

  /// The bins of the reliability diagram, as JSON.
  var reliabilityText: String? {
    (metrics?.reliability).map { RunOutput.json($0, pretty: true) + "\n" }
  }

  /// What stands at the top of the run's page, in Markdown.
  ///
  /// - Parameters:
  ///   - method: the head, and how it is fitted.
  ///   - data: the name of the data.
  /// - Returns: two or three paragraphs.
  func description(method: String, data: String) -> String {
    func number(_ value: Double) -> String { String(format: "%.4g", value) }
    func figures(_ scores: SplitScores) -> String {
      "accuracy \(number(scores.acc)), NLL \(number(scores.nll)), ECE \(number(scores.ece))"
    }
    var text = "\(method) on \(data): \(roles.test) \(figures(test))"
    if hasHead, let before = baseline?.first(where: { $0.split == roles.test })?.scores {
      text += "; the pretrained classifier before: \(figures(before))"
    }
    text += "."
    if let chosen {
      let names = ["prior_precision", "l2", "temperature"]
      let numbers = names.compactMap { name in
        chosen.numbers[name].map { "\(Self.word(name)) \(number($0))" }
      }
      let words = chosen.words.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
      text += "\n\nChosen: \((numbers + words).joined(separator: ", "))."
    }
    if let estimate = recipe?.estimate {
      text +=
        " To expect on new rows: accuracy \(number(estimate.acc)), NLL \(number(estimate.nll)) "
        + "± \(number(estimate.nllError ?? .nan)), ECE \(number(estimate.ece))."
    }
    let reasons = recipe?.reasons ?? []
    return text
      + (reasons.isEmpty ? "" : "\n\n" + reasons.map { "- \($0)" }.joined(separator: "\n"))
  }

  /// A name as a person says it.
  private static func word(_ name: String) -> String {
    name == "l2" ? "L2 strength" : name.replacing("_", with: " ")
  }
}

extension RunConfiguration {
  /// The head and how it is fitted: "IBProbit, converged,"; there is one way for softmax.
  var methodWords: String {
    guard effectiveEpochs > 0 else { return "The pretrained classifier" }
    guard method.selector != nil, let way = try? method.way() else { return method.head }
    return "\(method.head), \(way.name),"
  }
}
