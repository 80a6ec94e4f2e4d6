public import ArgumentParser
public import BllarseCore
import Foundation

extension EvidenceOptions.Calibration: ExpressibleByArgument {}

/// How predictions are calibrated, and what a temperature would do for them.
struct CalibrationOptions: ParsableArguments {
  @Option(
    help: """
      The rows that calibrate predictions: none, folds (a temperature, fitted to predictions for \
      training rows that were left out; softmax and a converged IBProbit only), validation (a \
      temperature, fitted to the validation split), validation-vector (a factor and a shift for each \
      class), validation-isotonic (a rising map for each class); of these two a temperature stands \
      unless they predict left-out validation rows better. (default: folds for softmax and a \
      converged IBProbit, none otherwise)
      """)
  var calibration: EvidenceOptions.Calibration?

  @Flag(
    help: """
      Report what a temperature would do, as the Python original's experiment_ibprobit.py: fitted to a \
      random part of the test split, scored on the rest of it, 25 times. Nothing else changes.
      """)
  var temperatureScaling = false

  @Option(help: "Newton steps of --temperature-scaling. (default: 4)")
  var tsIters: Int?

  @Option(
    parsing: .upToNextOption,
    help: """
      The shares of the test split that --temperature-scaling fits temperatures to, one or more. \
      (default: 0.1)
      """)
  var tsTestFractions: [String] = []

  /// The shares, whether they came as words of their own or as one: "0.1 0.2", "0.1,0.2", "[0.1, 0.2]".
  private func fractions() throws -> [Double] {
    let words = tsTestFractions.flatMap { text in
      text.split(whereSeparator: { ", []()".contains($0) || $0.isWhitespace }).map(String.init)
    }
    if words.isEmpty && !tsTestFractions.isEmpty {
      throw ValidationError("--ts-test-fractions is empty; expected numbers such as 0.1 0.2")
    }
    return try words.map { word in
      guard let value = Double(word), value > 0, value < 1 else {
        throw ValidationError(
          "--ts-test-fractions has '\(word)'; expected numbers above 0 and below 1")
      }
      return value
    }
  }

  func check() throws {
    let values = try fractions()
    if let tsIters, !(0...1000).contains(tsIters) {
      throw ValidationError("--ts-iters is \(tsIters); expected a number from 0 to 1000")
    }
    if Set(values).count < values.count {
      throw ValidationError("--ts-test-fractions has a share twice")
    }
    guard !temperatureScaling else { return }
    for (name, isGiven) in [
      ("--ts-iters", tsIters != nil), ("--ts-test-fractions", !tsTestFractions.isEmpty),
    ] where isGiven {
      throw ValidationError("\(name) goes with --temperature-scaling")
    }
  }

  /// To be called when the loss and the update are known.
  func check(_ configuration: RunConfiguration) throws {
    if calibration != nil && configuration.effectiveEpochs == 0 {
      throw ValidationError("--calibration needs a head, and --epochs 0 fits none")
    }
    guard calibration == .folds, !configuration.fitsEvidenceHead else { return }
    throw ValidationError(
      "--calibration folds goes with softmax and a converged IBProbit without --parity alone; "
        + "give validation, validation-vector or validation-isotonic")
  }

  func apply(to configuration: inout RunConfiguration) {
    configuration.evidence.calibration =
      calibration ?? (configuration.fitsEvidenceHead ? .folds : .none)
    guard temperatureScaling else { return }
    var scaling = TemperatureScaling()
    if let tsIters { scaling.stepCount = tsIters }
    // Faults were reported by `check`.
    if let values = try? fractions(), !values.isEmpty { scaling.fractions = values }
    configuration.temperatureScaling = scaling
  }
}
