import BllarseCore
import Foundation

extension Terminal {
  /// The test scores without the calibration, where there is one.
  func uncalibrated(_ result: RunResult) -> [(split: String, scores: SplitScores)] {
    guard let scores = result.uncalibrated?[result.roles.test] else { return [] }
    return [("\(result.roles.test) (uncalibrated)", scores)]
  }

  /// What was fitted to the validation split, and what temperatures do on parts of the test split.
  func showCalibration(_ result: RunResult) {
    if let calibration = result.calibration {
      var line =
        "calibration: \(calibration.method), fitted to \(calibration.rows) rows of the "
        + "\(calibration.split) split"
      if let beta = calibration.inverseTemperature {
        line += String(format: ": inverse temperature %.4f", beta)
      } else if let shifts = calibration.shifts {
        line += String(
          format: ": %ld numbers, factors %.4f to %.4f, shifts %.4f to %.4f",
          calibration.parameters, calibration.range.first ?? 1, calibration.range.last ?? 1,
          shifts.min() ?? 0, shifts.max() ?? 0)
      } else if calibration.knots != nil {
        line += String(
          format: ": %ld steps, log-odds changed by %.4f to %.4f", calibration.parameters,
          calibration.range.first ?? 0, calibration.range.last ?? 0)
      }
      print(line)
      if let choice = calibration.choice { print(choice) }
    }
    guard let rows = result.temperatureScaling else { return }
    print(
      "temperatures fitted to a part of the TEST split, scored on the rest of it "
        + "(mean ± deviation of \(TemperatureScaling.repeatCount) repeats)")
    print("of        part       temperature              acc               nll               ece")
    for summary in TemperatureScalingSummary.summaries(rows) {
      let figures = summary.spreads.map { String(format: "%9.4f ± %.4f", $0.mean, $0.deviation) }
        .joined(separator: " ")
      print(
        summary.source.padding(toLength: 10, withPad: " ", startingAt: 0)
          + "\(summary.testFraction)".padding(toLength: 8, withPad: " ", startingAt: 0) + figures)
    }
  }
}

extension CalibrationReport {
  /// What was asked for, what stands and why; `nil` where a temperature was asked for.
  fileprivate var choice: String? {
    guard let reason else { return nil }
    var line = "calibration: \(requested) was asked for, \(method) stands: \(reason)"
    if let leftOut {
      line += String(
        format: " (nll of %ld left-out rows: %@ %.4f, temperature %.4f, difference %.4f ± %.4f)",
        leftOut.rows, requested, leftOut.requested, leftOut.temperature,
        leftOut.requested - leftOut.temperature, leftOut.differenceError)
    }
    return line
  }
}
