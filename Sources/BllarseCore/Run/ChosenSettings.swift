/// What a fit chose where the options left something to the data.
public struct ChosenSettings: Sendable, Equatable {
  /// Numbers by name: `prior_precision`, `l2`, `temperature`.
  public private(set) var numbers: [String: Double] = [:]
  /// Words by name: `scaling`, `likelihood`, `posterior`, `calibration`.
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
      words["scaling"] = report.scaling.rawValue
      words["likelihood"] = report.likelihood.rawValue
      numbers["prior_precision"] = report.priorPrecision
      numbers["temperature"] = 1 / report.inverseTemperature
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
