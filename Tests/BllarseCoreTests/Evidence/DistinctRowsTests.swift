import BllarseNumerics
import Foundation
import Testing

@testable import BllarseCore

@Suite("Copies of rows")
struct DistinctRowsTests {
  /// Every row several times, in another order.
  private static func copied(
    _ features: Matrix<Double>, _ labels: [Int32], times: Int
  ) -> (features: Matrix<Double>, labels: [Int32], originals: [Int]) {
    var generator = Philox(seed: 3, purpose: .permutation)
    let rows = generator.permutation(count: times * labels.count).map { $0 % labels.count }
    return (features.gatheringRows(rows), rows.map { labels[$0] }, rows)
  }

  @Test("copies are found, and the first of each set is kept")
  func copies() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 40, columns: 5, classes: 3, strength: 1, seed: 1)
    let many = Self.copied(features, labels, times: 3)
    let kept = try #require(DistinctRows.indices(FeatureMatrix(many.features), many.labels))
    #expect(kept == kept.sorted())
    #expect(kept.map { many.originals[$0] }.sorted() == Array(0..<40))
    for row in kept {
      #expect(many.originals.firstIndex(of: many.originals[row]) == row)
    }
    #expect(DistinctRows.indices(FeatureMatrix(features), labels) == nil)
  }

  @Test("rows that agree but have different labels are observations of their own")
  func conflict() {
    let (features, labels) = EvidenceFixture.sample(
      rows: 40, columns: 5, classes: 3, strength: 1, seed: 2)
    var many = Self.copied(features, labels, times: 2)
    many.labels[0] = (many.labels[0] + 1) % 3
    #expect(DistinctRows.indices(FeatureMatrix(many.features), many.labels) == nil)
  }

  @Test("rows of a few values agree by chance: they are observations of their own")
  func chance() {
    // Six bits and a label that they determine: 64 distinct rows among 400.
    var generator = Philox(seed: 4, purpose: .sampling)
    let bits = (0..<2400).map { _ in generator.uniform() < 0.5 ? 0.0 : 1 }
    let features = Matrix<Double>(rows: 400, columns: 6, elements: bits)
    let labels = (0..<400).map { Int32(bits[6 * $0] + bits[6 * $0 + 1]) }
    #expect(DistinctRows.indices(FeatureMatrix(features), labels) == nil)
  }

  @Test("a few copies among many rows are let be")
  func few() {
    let (features, labels) = EvidenceFixture.sample(
      rows: 300, columns: 5, classes: 3, strength: 1, seed: 5)
    let rows = Array(0..<300) + [7]
    #expect(
      DistinctRows.indices(
        FeatureMatrix(features.gatheringRows(rows)), rows.map { labels[$0] }) == nil)
  }

  @Test("a fit to every row five times is the fit to every row once")
  func fit() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 60, columns: 4, classes: 2, strength: 1.5, seed: 6)
    let rows = (0..<5).flatMap { _ in 0..<60 }
    let once = try EvidenceHead(
      fitting: FeatureMatrix(features), labels: labels, EvidenceConfiguration(classCount: 2))
    let often = try EvidenceHead(
      fitting: FeatureMatrix(features.gatheringRows(rows)), labels: rows.map { labels[$0] },
      EvidenceConfiguration(classCount: 2))
    let new = FeatureMatrix(features)
    #expect(often.logProbabilities(new) == once.logProbabilities(new))
    #expect(often.leaveOneOut?.rows == Array(0..<60))
    #expect(often.report?.reasons.contains { $0.hasPrefix("240 rows are copies") } == true)
  }
}
