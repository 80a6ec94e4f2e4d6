import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Folds of training rows")
struct RowFoldsTests {
  private static func matrix(_ rows: Int, _ columns: Int, seed: UInt64) -> Matrix<Double> {
    var generator = Philox(seed: seed, purpose: .sampling)
    return Matrix(
      rows: rows, columns: columns, elements: generator.normals(count: rows * columns))
  }

  @Test("every fold has its share of rows", arguments: [1, 7, 137])
  func shares(seed: UInt64) {
    let division = RowFolds(FeatureMatrix(Self.matrix(503, 3, seed: 1)), seed: seed)
    #expect(division.count == 10 && division.folds.count == 503)
    let sizes = (0..<10).map { fold in division.folds.count { $0 == fold } }
    #expect(sizes.allSatisfy { $0 == 50 || $0 == 51 }, "\(sizes)")
    #expect(division.evaluatedCount == 10)
  }

  @Test("equal rows, rows of a group, and what these connect are in one fold")
  func together() {
    var features = Self.matrix(200, 4, seed: 2)
    // Rows 100... copy rows 0..., with other labels; minus zero is zero.
    for row in 100..<200 { for j in 0..<4 { features[row, j] = features[row - 100, j] } }
    features[5, 0] = 0
    features[105, 0] = -0.0
    let alone = RowFolds(FeatureMatrix(features), seed: 1)
    for row in 0..<100 {
      #expect(alone.folds[row] == alone.folds[row + 100])
      #expect(alone.groups[row] == alone.groups[row + 100])
    }
    #expect(Set(alone.groups) == Set(0..<100))
    // Groups of two rows among the first hundred: with their copies, four rows belong together.
    let groups = (0..<200).map { $0 < 100 ? $0 / 2 : $0 + 1000 }
    let grouped = RowFolds(FeatureMatrix(features), groups: groups, seed: 1)
    #expect(Set(grouped.groups) == Set(0..<50))
    for row in 0..<100 {
      #expect(grouped.folds[row] == grouped.folds[row / 2 * 2])
      #expect(grouped.folds[row] == grouped.folds[row + 100])
    }
  }

  @Test(
    "single precision and half precision rows are equal by their own numbers",
    arguments: [false, true])
  func storage(half: Bool) {
    let values: [Double] = [1, 2, 1 + 1e-9, 2, 3, 4]
    let matrix = Matrix<Double>(rows: 3, columns: 2, elements: values)
    #expect(EqualRows.firsts(FeatureMatrix(matrix)) == [0, 1, 2])
    let features =
      half
      ? FeatureMatrix(
        Matrix<Float16>(rows: 3, columns: 2, elements: values.map { Float16($0) }))
      : FeatureMatrix(Matrix<Float>(matrix))
    #expect(EqualRows.firsts(features) == [0, 0, 2])
  }

  @Test("a fold for each group where groups are few; one group leaves nothing out")
  func fewGroups() {
    let labels: [Int32] = [0, 1, 0, 1, 0, 1, 1]
    let three = RowFolds(groups: [7, 7, 8, 8, 9, 9, 9], seed: 1, count: 10)
    #expect(three.count == 3 && Set(three.folds) == [0, 1, 2] && three.evaluatedCount == 3)
    let one = RowFolds(groups: [Int](repeating: 4, count: 7), seed: 1, count: 10)
    #expect(one.count == 1 && one.evaluatedCount == 0)
    #expect(LeftOutRows(one, labels: labels, weights: nil, classCount: 2).isEmpty)
  }

  @Test("on many rows whole folds are left out until there are enough, and a part is at random")
  func manyRows() {
    let count = 4 * RecipeConstants.leftOutRowCount + 100
    let division = RowFolds(groups: Array(0..<count), seed: 3, count: 10)
    let size = division.folds.count { $0 < division.evaluatedCount }
    #expect(division.evaluatedCount < 10)
    #expect(size >= RecipeConstants.leftOutRowCount)
    #expect(size < RecipeConstants.leftOutRowCount + count / 10 + 10)
    let part = division.sample(1000, seed: 3)
    #expect(part.count >= 1000 && part.count < 1200 && Set(part).count == part.count)
    #expect(division.sample(count, seed: 3) == Array(0..<count))
  }

  @Test("classes with one fold are not scored, and rows without weight are not there")
  func loneClasses() {
    // Class 2 has one row, class 3 two in one group, class 4 one row that counts.
    let labels: [Int32] = [0, 0, 0, 1, 1, 1, 2, 3, 3, 4, 4]
    let groups = [0, 1, 2, 3, 4, 5, 6, 7, 7, 8, 9]
    let weights: [Double] = [1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 0]
    let division = RowFolds(groups: groups, seed: 1, count: 10)
    let leftOut = LeftOutRows(division, labels: labels, weights: weights, classCount: 6)
    #expect(leftOut.rows.sorted() == Array(0..<11))
    #expect(leftOut.scored.map { leftOut.rows[$0] }.sorted() == Array(0..<6))
    #expect(leftOut.labels.allSatisfy { $0 < 2 } && leftOut.weights?.reduce(0, +) == 7)
    let logits = leftOut.restricted(Matrix(rows: 11, columns: 6, repeating: 1))
    #expect(logits.rowCount == 6)
    let predicted = TemperedLogits(logits, 0.01).logProbabilities
    for k in [2, 3, 4] { #expect(exp(predicted[0, k]) == 0) }
    // Class 5 has no rows anywhere: it is as improbable as the fit says.
    for k in [0, 1, 5] { #expect(predicted[0, k].isClose(to: -log(3), relative: 1e-12)) }
  }
}
