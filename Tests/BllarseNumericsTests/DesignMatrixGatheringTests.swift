import Testing

@testable import BllarseNumerics

@Suite("Rows of a design in another order")
struct DesignMatrixGatheringTests {
  private let features = Matrix<Double>(
    rows: 5, columns: 3, elements: [1, 2, 3, 4, 5, 6, 7, 8, 10, -1, 0, 1, 2, 2, 2])

  @Test("are the rows of the design, resident or not", arguments: [true, false])
  func rows(isResident: Bool) {
    var design = DesignMatrix<Float>(
      FeatureMatrix(features), transform: .columns(scale: [2, 1, 0.5], shift: [0, -1, 3]),
      hasBias: true)
    if isResident { design.makeResident(limit: 1 << 20, execution: .available) }
    let gathered = design.gathering([3, 0, 3, 4], execution: .available)
    #expect(gathered.isResident == isResident)
    #expect(gathered.columnCount == 4 && gathered.hasBias)
    let expected: [[Float]] = [
      [-2, -1, 3.5, 1], [2, 1, 4.5, 1], [-2, -1, 3.5, 1], [4, 1, 4, 1],
    ]
    let found = gathered.matrix(rows: 0..<4)
    #expect((0..<4).map { found.row($0) } == expected)
    // What is made of the gathered rows once more is the same.
    let again = gathered.gathering([1], execution: .available)
    #expect(again.matrix(rows: 0..<1).row(0) == expected[1])
  }
}
