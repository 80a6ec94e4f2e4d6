import BllarseCore
import Foundation

extension RunResult {
  /// What the fit chose, in words.
  var trackedParameters: [String: any CustomStringConvertible] {
    Dictionary(
      uniqueKeysWithValues: (chosen?.words ?? [:]).map { ("chosen.\($0.key)", $0.value) })
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
