import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

/// Expected values: Scripts/make-calibration-fixture.py, with SciPy's minimisers and plain loops.
@Suite("Maps to held-out rows against SciPy")
struct CalibrationReferenceTests {
  let file: SafetensorsFile

  init() throws {
    file = try SafetensorsFile(path: Fixtures.path("calibration/reference.safetensors"))
  }

  private func rows(_ name: String) throws -> (logs: Matrix<Double>, labels: [Int32]) {
    (try file.matrix("\(name).log_probabilities"), try file.labels("\(name).labels"))
  }

  private func negativeLogLikelihood(_ logs: Matrix<Double>, _ labels: [Int32]) -> Double {
    labels.indices.reduce(0) { $0 - logs[$1, Int(labels[$1])] }
  }

  static let cases = ["overconfident", "underconfident", "right", "few"]

  @Test("the temperature", arguments: cases + ["all_right", "all_wrong"])
  func temperature(name: String) throws {
    let (logs, labels) = try rows(name)
    let expected: [Double] = try file.array("\(name).temperature")
    let map = try HeldOutCalibration(.temperature, logProbabilities: logs, labels: labels)
    guard case .temperature(let beta) = map else {
      Issue.record("\(map)")
      return
    }
    // A minimum is found by its values to the root of their precision only.
    #expect(beta.isClose(to: expected[0], relative: 1e-6), "\(beta), expected \(expected[0])")
    let value = negativeLogLikelihood(map.apply(to: logs), labels) + beta - 1 - log(beta)
    #expect(value <= expected[1] * (1 + 1e-14))
  }

  @Test("factors and shifts", arguments: cases)
  func vector(name: String) throws {
    let (logs, labels) = try rows(name)
    let map = try HeldOutCalibration(fitting: .vector, to: logs, labels)
    guard case .vector(let scales, let shifts) = map else {
      Issue.record("\(map)")
      return
    }
    let (expectedScales, expectedShifts): ([Double], [Double]) = (
      try file.array("\(name).scales"), try file.array("\(name).shifts")
    )
    #expect(relativeDifference(scales, expectedScales) < 1e-6)
    #expect(relativeDifference(shifts, expectedShifts) < 1e-6)
  }

  @Test("the original's Newton steps, one after the other", arguments: cases)
  func newton(name: String) throws {
    let (logs, labels) = try rows(name)
    let path: [Double] = try file.array("\(name).newton")
    for (steps, expected) in path.enumerated() {
      let beta = try TemperatureScaling(stepCount: steps).inverseTemperature(logs, labels)
      #expect(beta.isClose(to: expected, relative: 1e-11), "\(steps) steps")
    }
  }

  @Test("predictions that are all right, or all wrong, are believed within bounds")
  func separable() throws {
    // A hundred rows say that errors are rare, not that there are none.
    let labels = [Int32](repeating: 0, count: 100)
    for gap in [0.01, 1, 3, 10, 100] {
      let logs = Matrix<Double>(
        rows: 100, columns: 2, elements: (0..<200).map { $0 % 2 == 0 ? 0 : -gap })
      var normalised = logs
      normalised.formLogSoftmaxRows()
      let right = try HeldOutCalibration(.temperature, logProbabilities: normalised, labels: labels)
      guard case .temperature(let beta) = right else { return }
      let confidence = 1 / (1 + exp(-beta * gap))
      #expect(beta >= 1 && beta < 20, "a gap of \(gap) gives \(beta)")
      #expect(confidence < 0.9999 || gap >= 10, "a gap of \(gap) gives \(confidence)")
      let wrong = try HeldOutCalibration(
        .temperature, logProbabilities: normalised, labels: labels.map { 1 - $0 })
      guard case .temperature(let doubtful) = wrong else { return }
      #expect(doubtful > 0 && doubtful <= 1)
    }
  }

  @Test("infinite log-probabilities are taken for very small ones, by every map")
  func infinities() throws {
    let (logs, labels) = try rows("few")
    var single = Matrix<Float>(logs)
    for row in 0..<single.rowCount { single[row, row % 6] = -.infinity }
    for method in HeldOutCalibration.Method.allCases {
      let arguments = HeldOutCalibration.arguments(single)
      let map = try HeldOutCalibration(fitting: method, to: arguments, labels)
      let mapped = map.apply(to: single, execution: Execution(threadCount: 2))
      for row in 0..<mapped.rowCount {
        let sum = mapped.row(row).reduce(0.0) { $0 + exp(Double($1)) }
        #expect(sum.isClose(to: 1, relative: 1e-5), "\(method), row \(row): \(mapped.row(row))")
      }
    }
  }
}
