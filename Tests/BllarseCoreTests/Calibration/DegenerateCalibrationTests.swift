import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

/// Validation rows that say next to nothing must change next to nothing, whatever the map.
@Suite("Calibration on rows without an error, on one row, on one class, on equal rows")
struct DegenerateCalibrationTests {
  /// Predictions of three classes whose logits have a scale, and labels drawn from them.
  static func sample(
    _ count: Int, scale: Double, seed: UInt64
  ) -> (logs: Matrix<Double>, labels: [Int32]) {
    var generator = SplitMix64(seed: seed)
    var logs = Matrix<Double>(
      rows: count, columns: 3, elements: (0..<3 * count).map { _ in scale * generator.normal() })
    logs.formLogSoftmaxRows()
    let labels = (0..<count).map { row -> Int32 in
      var rest = generator.uniform()
      for (k, value) in logs.row(row).enumerated() {
        rest -= exp(value)
        if rest < 0 { return Int32(k) }
      }
      return 2
    }
    return (logs, labels)
  }

  private static func predicted(_ logs: Matrix<Double>) -> [Int32] {
    (0..<logs.rowCount).map { row in
      let values = logs.row(row)
      return Int32(values.indices.max { values[$0] < values[$1] } ?? 0)
    }
  }

  enum Rows: String, CaseIterable, Sendable {
    case allRight, allRightAndCertain, oneRight, oneWrong, oneCertain, oneClass, alike
  }

  private static func validation(_ rows: Rows) -> (logs: Matrix<Double>, labels: [Int32]) {
    let (logs, _) = sample(4000, scale: 4, seed: 2)
    let best = predicted(logs)
    // Rows of which the model is rather certain, as those are that it gets right.
    func certain(_ row: Int) -> Bool { logs[row, Int(best[row])] > -0.05 }
    switch rows {
    case .allRight:
      let chosen = logs.gatheringRows((0..<logs.rowCount).filter(certain).prefix(100))
      return (chosen, predicted(chosen))
    case .allRightAndCertain:
      var sharp = logs.rows(0..<100)
      sharp.scale(by: 1e4)
      sharp.formLogSoftmaxRows()
      return (sharp, predicted(sharp))
    case .oneRight: return (logs.rows(0..<1), [best[0]])
    case .oneWrong: return (logs.rows(0..<1), [(best[0] + 1) % 3])
    case .oneCertain:
      return (Matrix(rows: 1, columns: 3, elements: [0, -30, -30]), [0])
    case .oneClass:
      let chosen = logs.gatheringRows(
        (0..<logs.rowCount).filter { best[$0] == 0 && certain($0) }.prefix(50))
      return (chosen, predicted(chosen))
    case .alike:
      let row = logs.row(1)
      return (
        Matrix(rows: 30, columns: 3, elements: (0..<30).flatMap { _ in row }),
        [Int32](repeating: best[1], count: 30)
      )
    }
  }

  @Test(
    "new rows are predicted about as well as without the map",
    arguments: Rows.allCases, HeldOutCalibration.Method.allCases)
  func harmless(rows: Rows, method: HeldOutCalibration.Method) throws {
    let (logs, labels) = Self.validation(rows)
    let map = try HeldOutCalibration(method, logProbabilities: logs, labels: labels)
    let (test, truth) = Self.sample(2000, scale: 4, seed: 8)
    let before = SplitScores(try Predictions(logProbabilities: test, labels: truth))
    let after = SplitScores(try Predictions(logProbabilities: map.apply(to: test), labels: truth))
    var bound = 1.25 * before.nll
    switch rows {
    case .oneWrong:
      // Evidence against certainty, as far as one row goes: the slope of the temperature's objective,
      // E[L] - L_y + 1 - 1/β, has no zero below 1/(1 + Δ), Δ being the nats by which the row is wrong. (Δ of
      // 8.3 nats gives a β of .128 and a likelihood of .77 nats, no more than .81 nats by this.)
      let gap = (logs.row(0).max() ?? 0) - logs[0, Int(labels[0])]
      let least = HeldOutCalibration.temperature(1 / (1 + gap)).apply(to: test)
      bound = max(bound, SplitScores(try Predictions(logProbabilities: least, labels: truth)).nll)
    case .alike:
      // One row, right thirty times, counts as thirty in the one number that stands (1.280, β = 2.3).
      bound = 1.3 * before.nll
    default: break
    }
    #expect(after.nll < bound, "\(after.nll), before \(before.nll)")
    #expect(after.acc > before.acc - 0.02)
    if [.oneRight, .oneWrong, .oneCertain, .alike].contains(rows) {
      #expect(map.kind == "temperature")
    }
    if case .temperature(let beta) = map { #expect(beta > 0.05 && beta < 3, "\(beta)") }
    // What it does to the predictions of its own rows is bounded, too.
    let own = map.apply(to: logs)
    for row in 0..<own.rowCount {
      #expect(own.row(row).reduce(0) { $0 + exp($1) }.isClose(to: 1, relative: 1e-9))
    }
  }

  @Test("isotonic: certain predictions that are wrong for a third of many rows are corrected")
  func certainAndWrong() throws {
    let labels = (0..<900).map { Int32($0 % 3 == 0 ? 1 : 0) }
    let logs = Matrix<Double>(
      rows: 900, columns: 2, elements: (0..<900).flatMap { _ in [0, -1e6] })
    let map = try HeldOutCalibration(fitting: .isotonic, to: logs, labels)
    let mapped = map.apply(to: logs)
    #expect(exp(mapped[0, 0]) > 0.6 && exp(mapped[0, 0]) < 0.8, "\(exp(mapped[0, 0]))")
  }
}
