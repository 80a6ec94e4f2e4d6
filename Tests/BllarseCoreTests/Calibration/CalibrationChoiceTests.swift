import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Maps class by class, adopted by predictions of left-out rows")
struct CalibrationChoiceTests {
  typealias Rows = (logs: Matrix<Double>, labels: [Int32])

  /// Calibrated predictions of three classes, and labels drawn from them.
  private static func calibrated(_ count: Int, seed: UInt64) -> Rows {
    DegenerateCalibrationTests.sample(count, scale: 2, seed: seed)
  }

  /// Predictions that `a_k·log p_k + b_k` makes calibrated, with other a and b for each class.
  private static func scaled(_ count: Int, seed: UInt64) -> Rows {
    var (logs, labels) = calibrated(count, seed: seed)
    for row in 0..<count {
      logs.withMutableRow(row) { values in
        for k in values.indices {
          values[k] = (values[k] - [-1, 0, 1][k]) / [0.6, 1.1, 1.6][k]
        }
      }
    }
    logs.formLogSoftmaxRows()
    return (logs, labels)
  }

  /// Predictions whose log-odds z were `sign(z)·z²/4`, for each class, before they were normalised.
  private static func distorted(_ count: Int, seed: UInt64) -> Rows {
    var (logs, labels) = calibrated(count, seed: seed)
    for row in 0..<count {
      logs.withMutableRow(row) { values in
        for k in values.indices {
          let odds = IsotonicFunction.logOdds(ofLogProbability: values[k])
          values[k] = -SpecialFunctions.softplus(-0.25 * odds * abs(odds))
        }
      }
    }
    logs.formLogSoftmaxRows()
    return (logs, labels)
  }

  private static func nll(_ map: HeldOutCalibration, _ rows: Rows) throws -> Double {
    SplitScores(try Predictions(logProbabilities: map.apply(to: rows.logs), labels: rows.labels))
      .nll
  }

  private static func choice(
    _ method: HeldOutCalibration.Method, _ rows: Rows, threads: Int = 1
  ) throws -> CalibrationChoice {
    try CalibrationChoice(
      method, logProbabilities: rows.logs, labels: rows.labels,
      execution: Execution(threadCount: threads))
  }

  @Test(
    "2,000 rows that need it: adopted, and better than the temperature on new rows",
    arguments: [HeldOutCalibration.Method.vector, .isotonic])
  func adopted(method: HeldOutCalibration.Method) throws {
    let rows = method == .vector ? Self.scaled : Self.distorted
    let (validation, test) = (rows(2000, 1), rows(4000, 2))
    let choice = try Self.choice(method, validation)
    #expect(choice.calibration.kind == method.rawValue && choice.requested == method)
    let leftOut = try #require(choice.leftOut)
    #expect(leftOut.rows == 2000 && leftOut.groups == 2000)
    #expect(leftOut.requested < leftOut.temperature && leftOut.differenceError > 0)
    let temperature = try HeldOutCalibration(
      .temperature, logProbabilities: validation.logs, labels: validation.labels)
    let (own, other) = (try Self.nll(choice.calibration, test), try Self.nll(temperature, test))
    #expect(own < other - 0.005, "\(own), \(other) by temperature")
    // What is left out tells what new rows will be like, to some standard errors of 2,000 rows.
    #expect(abs(leftOut.requested - own) < 0.1)
    // The same on any number of threads.
    #expect(try Self.choice(method, validation, threads: 2) == choice)
  }

  @Test(
    "rows that are calibrated: the temperature stands, nearly always",
    arguments: [5, 20, 50, 200], [HeldOutCalibration.Method.vector, .isotonic])
  func stands(count: Int, method: HeldOutCalibration.Method) throws {
    var adopted = 0
    for seed in 0..<40 {
      let rows = Self.calibrated(count, seed: UInt64(1000 * count + seed))
      let choice = try Self.choice(method, rows)
      if choice.calibration.kind == method.rawValue {
        adopted += 1
      } else {
        #expect(
          try choice.calibration
            == HeldOutCalibration(.temperature, logProbabilities: rows.logs, labels: rows.labels))
      }
    }
    // At most 8 %, by simulation.
    #expect(adopted <= 6, "\(adopted) of 40")
  }

  @Test("repeats are no evidence: each group counts once, and one alone leaves the temperature")
  func repeats() throws {
    let some = Self.calibrated(12, seed: 3)
    let rows = (0..<360).map { $0 % 12 }
    let repeated: Rows = (some.logs.gatheringRows(rows), rows.map { some.labels[$0] })
    for method in [HeldOutCalibration.Method.vector, .isotonic] {
      let choice = try Self.choice(method, repeated)
      #expect(choice.leftOut?.groups == 12 && choice.leftOut?.rows == 360)
      // Groups that are given are taken as they are.
      let grouped = try CalibrationChoice(
        method, logProbabilities: repeated.logs, labels: repeated.labels,
        groups: rows.map { $0 / 4 }, execution: Execution(threadCount: 1))
      #expect(grouped.leftOut?.groups == 3)
      let alone = try CalibrationChoice(
        method, logProbabilities: repeated.logs, labels: repeated.labels,
        groups: rows.map { _ in 5 }, execution: Execution(threadCount: 1))
      #expect(alone.leftOut == nil && alone.calibration.kind == "temperature")
      #expect(alone.requested == method && alone.reason?.hasPrefix("all rows are of one") == true)
    }
    let temperature = try Self.choice(.temperature, repeated)
    #expect(temperature.leftOut == nil && temperature.requested == .temperature)
  }

  @Test("rows of equal features and of one group are left out together")
  func features() throws {
    var generator = SplitMix64(seed: 4)
    var features = Matrix<Float>(
      rows: 40, columns: 3, elements: (0..<120).map { _ in Float(generator.normal()) })
    for row in 0..<10 {
      features.replaceBlock(row: 10 + row, column: 0, with: features.rows(row..<row + 1))
    }
    let labels = (0..<40).map { Int32($0 % 3) }
    // A head that predicts all rows alike: rows differ all the same.
    let head = LinearHead<CrossEntropyLoss>(featureCount: 3, classCount: 3)
    let split = try FeatureSplit(features: FeatureMatrix(features), labels: labels)
    #expect(try CalibrationChoice(.vector, for: head, on: split).leftOut?.groups == 30)
    let grouped = try FeatureSplit(
      features: FeatureMatrix(features), labels: labels, groups: (0..<40).map { $0 / 5 })
    // Groups 0 and 2, 1 and 3 share rows.
    #expect(try CalibrationChoice(.vector, for: head, on: grouped).leftOut?.groups == 6)
    #expect(throws: NumericsError.self) {
      try HeldOutCalibration(
        .vector, logProbabilities: Matrix<Double>(rows: 1, columns: 2, elements: [-1, -1]),
        labels: [0], groups: [1, 2])
    }
  }

  @Test("the report says what was asked for, what stands, and both losses")
  func report() throws {
    let rows = Self.calibrated(60, seed: 7)
    let choice = try Self.choice(.vector, rows)
    let report = CalibrationReport(choice, split: "val", rowCount: 60)
    #expect(report.requested == "vector" && report.method == "temperature")
    #expect(
      report.reason?.hasPrefix("left-out rows are not predicted better by more than 2.2 ") == true)
    #expect(report.leftOut == choice.leftOut && report.inverseTemperature != nil)
    let object = try #require(
      try JSONSerialization.jsonObject(with: JSONEncoder().encode(report)) as? [String: Any])
    #expect(object["requested"] as? String == "vector")
    let leftOut = try #require(object["left_out"] as? [String: Double])
    #expect(
      Set(leftOut.keys) == ["requested", "temperature", "difference_se", "rows", "groups"])
    let plain = CalibrationReport(
      try Self.choice(.temperature, rows), split: "val", rowCount: 60)
    #expect(plain.requested == "temperature" && plain.leftOut == nil && plain.reason == nil)
    let needed = try Self.choice(.vector, Self.scaled(1000, seed: 7))
    #expect(needed.reason?.hasPrefix("left-out rows are predicted better") == true)
  }
}
