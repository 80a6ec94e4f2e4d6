import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Calibration")
struct CalibrationTests {
  /// 240 rows of three classes, some of whose labels are wrong.
  private static func fixture() -> (logits: Matrix<Double>, labels: [Int32]) {
    var logits = Matrix<Double>.zeros(240, 3)
    var labels: [Int32] = []
    for i in 0..<240 {
      let (c, u, j) = (i % 3, (i / 3) % 4, i / 12)
      logits[i, c] = [1.0, 6, 3, 9][u]
      logits[i, (c + 1) % 3] = 0.5
      var label = c
      if u == 0 && j % 5 < 2 { label = (c + 1 + j % 2) % 3 }
      if u > 0 && j % 7 == u { label = (c + 2) % 3 }
      labels.append(Int32(label))
    }
    return (logits, labels)
  }

  private func negativeLogLikelihood(
    _ logits: Matrix<Double>, _ labels: [Int32], _ beta: Double
  ) -> Double {
    var logs = logits
    logs.scale(by: beta)
    logs.formLogSoftmaxRows()
    return labels.indices.reduce(0) { $0 - logs[$1, Int(labels[$1])] }
  }

  @Test("the temperature of held-out rows against a fine grid", arguments: 0..<5)
  func temperature(seed: Int) throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 150, columns: 5, classes: 4, strength: 1, seed: seed)
    var generator = Philox(seed: UInt64(seed), purpose: .initialisation)
    let weights = Matrix<Double>(rows: 5, columns: 4, elements: generator.normals(count: 20))
    var logits = features.multiplied(by: weights)
    logits.scale(by: [0.2, 1, 3, 10, 50][seed])
    // Labels from these logits in part, so that an optimum inside exists.
    let mixed = labels.indices.map { row in
      let values = logits.row(row)
      return row % 3 == 0
        ? labels[row] : Int32(values.indices.max { values[$0] < values[$1] } ?? 0)
    }
    let calibration = try HeldOutCalibration(.temperature, logProbabilities: logits, labels: mixed)
    guard case .temperature(let beta) = calibration else {
      Issue.record("\(calibration)")
      return
    }
    // With the prior, whose mode is 1.
    func objective(_ beta: Double) -> Double {
      negativeLogLikelihood(logits, mixed, beta) + beta - 1 - log(beta)
    }
    let grid = stride(from: -6.0, through: 4.0, by: 0.001).map { exp($0) }
    let best = try #require(grid.min { objective($0) < objective($1) })
    #expect(abs(log(beta) - log(best)) < 0.0011)
    #expect(objective(beta) <= objective(best) + 1e-9)
    #expect(negativeLogLikelihood(logits, mixed, beta) <= negativeLogLikelihood(logits, mixed, 1))
  }

  @Test("vector scaling never does worse than no change on its own rows, and sums to one")
  func vector() throws {
    let (logits, labels) = Self.fixture()
    let map = try HeldOutCalibration(fitting: .vector, to: logits, labels)
    let logs = map.apply(to: logits)
    let nll = labels.indices.reduce(0) { $0 - logs[$1, Int(labels[$1])] }
    #expect(nll < negativeLogLikelihood(logits, labels, 1))
    for row in 0..<240 {
      #expect(logs.row(row).reduce(0) { $0 + exp($1) }.isClose(to: 1, relative: 1e-12))
    }
  }

  @Test("isotonic regression: the pooled shares of a sequence worked out by hand")
  func isotonic() throws {
    let function = try IsotonicFunction(
      logProbabilities: [0.1, 0.2, 0.3, 0.4, 0.5].map { log($0) },
      isClass: [false, true, false, true, true])
    // 0 | (1 + 0) | (1 + 1), with mean probabilities .1, .25, .45, each share with an event of its own: one
    // in 1/p rows.
    func logOdds(_ p: Double) -> Double { log(p / (1 - p)) }
    func value(_ hits: Double, _ count: Double, _ p: Double) -> Double {
      log((hits + 1) / (count + 1 / p) / ((count - hits + 1) / (count + 1 / (1 - p))))
    }
    let steps = [(0.0, 1.0, 0.1), (1, 2, 0.25), (2, 2, 0.45)]
    #expect(relativeDifference(function.knots, steps.map { logOdds($0.2) }) < 1e-13)
    #expect(relativeDifference(function.values, steps.map { value($0.0, $0.1, $0.2) }) < 1e-13)
    // Linear between knots, at the distance of the last one beyond it.
    let middle = function(0.5 * (function.knots[0] + function.knots[1]))
    #expect(middle.isClose(to: 0.5 * (function.values[0] + function.values[1]), relative: 1e-13))
    #expect((function(5) - 5).isClose(to: function.values[2] - function.knots[2], relative: 1e-12))
    let (logits, labels) = Self.fixture()
    var logs = logits
    logs.formLogSoftmaxRows()
    let map = try HeldOutCalibration(fitting: .isotonic, to: logs, labels)
    let mapped = map.apply(to: logs)
    for row in 0..<240 {
      #expect(mapped.row(row).reduce(0) { $0 + exp($1) }.isClose(to: 1, relative: 1e-12))
    }
  }
}
