import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("The choice of the scaling")
struct ScalingChoiceTests {
  @Test("another scaling than columns is taken where it is plainly better")
  func plainlyBetter() throws {
    // Two wide columns tell the classes apart; forty narrow ones are noise that standardising would blow up.
    let (signal, labels) = EvidenceFixture.sample(
      rows: 300, columns: 2, classes: 2, strength: 3, seed: 3)
    var generator = Philox(seed: 5, purpose: .sampling)
    let noise = generator.normals(count: 300 * 40)
    let features = Matrix<Double>(
      rows: 300, columns: 42,
      elements: (0..<300).flatMap { row in
        signal.row(row) + noise[row * 40..<(row + 1) * 40].map { 0.05 * $0 }
      })
    let head = try LaplaceHead(
      fitting: FeatureMatrix(features), labels: labels, LaplaceConfiguration(classCount: 2))
    #expect(head.scaling == .global)
    let reasons = try #require(head.report?.reasons)
    #expect(reasons.contains { $0.contains("plainly better than columns") })
    // The estimate makes the same choice, and is near the scores of the chosen candidate.
    let leftOut = try #require(head.leftOut)
    let own = leftOut.labels.indices.reduce(0) {
      $0 - leftOut.logProbabilities[$1, Int(leftOut.labels[$1])] / 300
    }
    let estimate = try #require(head.report?.estimate)
    #expect(abs(estimate.nll - own) < 0.03)
  }

  /// Differences 1, 1, 4, -2: the sum of squared deviations from their mean 1 is 18.
  @Test("a gain has the standard error of its groups")
  func groups() {
    func rows(_ groups: [Int], weights: [Double]? = nil) -> LeftOutRows {
      LeftOutRows(
        RowFolds(groups: groups, seed: 0, count: 4), labels: [0, 1, 0, 1], weights: weights,
        classCount: 2)
    }
    func gain(_ rows: LeftOutRows, _ differences: [Double]) -> LeftOutRows.Gain {
      // Rows come fold after fold.
      let ordered = rows.scored.map { differences[rows.rows[$0]] }
      return rows.gain(of: ordered.map { -$0 }, over: ordered.map { _ in 0 })
    }
    let single = gain(rows([0, 1, 2, 3]), [1, 1, 4, -2])
    #expect(single.sum == 4)
    #expect(single.standardError.isClose(to: (18.0 * 4 / 3).squareRoot(), relative: 1e-12))
    #expect(!single.isPlain)
    let paired = gain(rows([0, 0, 1, 1]), [1, 3, 4, 4])
    #expect(paired.sum == 12)
    // Deviations -2 and 0, 1 and 1: -2 and 2 a group.
    #expect(paired.standardError.isClose(to: 4, relative: 1e-12))
    #expect(paired.isPlain)
    let weighted = gain(rows([0, 1, 2, 3], weights: [1, 1, 2, 2]), [1, 1, 4, -2])
    #expect(weighted.sum == 6)
    // About the mean 1: 0, 0, 2·3, 2·(-3).
    #expect(weighted.standardError.isClose(to: (72.0 * 4 / 3).squareRoot(), relative: 1e-12))
  }
}
