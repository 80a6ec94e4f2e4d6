import BllarseCore
import Foundation

extension Terminal {
  /// What to expect on new rows, what was chosen, and on what grounds.
  func show(_ recipe: EvidenceReport) {
    if let estimate = recipe.estimate {
      print(
        "estimate     "
          + [estimate.acc, estimate.nll, estimate.ece, estimate.brier].enumerated().map {
            index, value in
            String(format: index == 0 ? "%8.4f" : "%9.4f", value)
          }.joined()
          + String(
            format: "   of new rows, from %d left out; NLL ± %.4f", estimate.rows,
            estimate.nllError ?? .nan))
    }
    print(
      String(
        format: "%@ regression, scaling %@, prior precision %.3g, temperature %.3f, posterior %@",
        recipe.likelihood.rawValue, recipe.scaling.rawValue, recipe.priorPrecision,
        1 / recipe.inverseTemperature, recipe.posterior.rawValue))
    for reason in recipe.reasons { print(reason) }
    print("\(recipe.iterationCount) iterations over \(recipe.fitCount) fits")
  }
}
