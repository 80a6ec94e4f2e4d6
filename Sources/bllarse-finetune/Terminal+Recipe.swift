import BllarseCore
import Foundation

extension Terminal {
  /// What was chosen, and on what grounds.
  func show(_ recipe: EvidenceReport) {
    let left = recipe.leaveOneOut
    print(
      "leave-one-out"
        + [left.acc, left.nll, left.ece, left.brier].enumerated().map { index, value in
          String(format: index == 0 ? "%8.4f" : "%9.4f", value)
        }.joined())
    for member in recipe.members {
      print(
        String(
          format: "scaling %@, %@: prior precision %.3g, log evidence %.2f",
          member.scaling.rawValue, member.likelihood.rawValue, member.priorPrecision,
          member.logEvidence))
    }
    for candidate in recipe.candidates where candidate.weight > 0 {
      let calibration = candidate.calibration
      var line = String(
        format: "weight %.2f: %@, %@, precision %.3g, %@, inverse temperature %.3f",
        candidate.weight, candidate.scaling.rawValue, candidate.likelihood.rawValue,
        candidate.priorPrecision, candidate.predictive.rawValue, calibration.inverseTemperature)
      if calibration.lapse > 0 { line += String(format: ", lapse %.3f", calibration.lapse) }
      print(line)
    }
    for reason in recipe.reasons { print(reason) }
    print("\(recipe.iterationCount) iterations over \(recipe.fitCount) fits")
  }
}
