/// What a fit chose where the options left something to the data.
///
/// Of several predictive distributions that are averaged it is the one with the largest weight.
public struct ChosenSettings: Sendable, Equatable {
  /// Numbers by name: `prior_precision`, `l2`, `temperature`, `label_noise`, `weight`.
  public private(set) var numbers: [String: Double] = [:]
  /// Words by name: `scaling`, `likelihood`, `predictive`, `posterior`, `calibration`.
  public private(set) var words: [String: String] = [:]

  /// Gathers it; nothing where nothing was chosen.
  ///
  /// - Parameters:
  ///   - report: of a head that chooses.
  ///   - penalty: the L2 strength with the best evidence, where that was looked for.
  ///   - calibration: what was fitted to the validation split.
  init?(_ report: EvidenceReport?, penalty: Double?, calibration: CalibrationReport?) {
    if let report {
      words["posterior"] = report.posterior.rawValue
      if let leader = report.candidates.max(by: { $0.weight < $1.weight }) {
        words["scaling"] = leader.scaling.rawValue
        words["likelihood"] = leader.likelihood.rawValue
        words["predictive"] = leader.predictive.rawValue
        numbers["prior_precision"] = leader.priorPrecision
        numbers["temperature"] = 1 / leader.calibration.inverseTemperature
        numbers["label_noise"] = leader.calibration.lapse
        numbers["weight"] = leader.weight
      }
    }
    numbers["l2"] = penalty
    if let calibration {
      words["calibration"] = calibration.method
      // A head that has a temperature of its own keeps it, and this one comes after it.
      if numbers["temperature"] == nil, let beta = calibration.inverseTemperature {
        numbers["temperature"] = 1 / beta
      }
    }
    numbers = numbers.filter(\.value.isFinite)
    if numbers.isEmpty && words.isEmpty { return nil }
  }
}

extension ChosenSettings: Encodable {
  /// One object, all by their names.
  public func encode(to encoder: any Encoder) throws {
    let values = numbers.mapValues(ArgumentValue.number)
      .merging(words.mapValues(ArgumentValue.text)) { number, _ in number }
    try values.encode(to: encoder)
  }
}
