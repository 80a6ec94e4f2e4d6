import Testing

@testable import BllarseNumerics

@Suite("FeatureMatrix")
struct FeatureMatrixTests {
  /// What a column may hold, and whether it is within a bound of 1000: of both signs each.
  private static let values: [(value: Double, isWithin: Bool)] = [
    (0, true), (5e-8, true), (1, true), (999.5, true), (1000, true), (1000.5, false),
    (60000, false), (.infinity, false), (.nan, false),
  ]

  private static func storages(_ elements: [Double], rows: Int) -> [FeatureMatrix] {
    let columns = elements.count / rows
    return [
      FeatureMatrix(
        Matrix<Float16>(rows: rows, columns: columns, elements: elements.map { Float16($0) })),
      FeatureMatrix(
        Matrix<Float>(rows: rows, columns: columns, elements: elements.map { Float($0) })),
      FeatureMatrix(Matrix<Double>(rows: rows, columns: columns, elements: elements)),
    ]
  }

  @Test("firstValue: finds a value beyond the bound wherever it stands, and no other")
  func firstValue() {
    let execution = Execution(threadCount: 2)
    for (value, isWithin) in Self.values {
      for value in [value, -value] {
        for place in 0..<12 {
          var elements = [Double](repeating: 1000, count: 12)
          elements[place] = value
          for features in Self.storages(elements, rows: 3) {
            let found = features.firstValue(beyond: 1000, execution: execution)
            #expect(found?.row == (isWithin ? nil : place / 4), "\(value) in \(features)")
            #expect(found?.column == (isWithin ? nil : place % 4))
          }
        }
      }
    }
  }

  @Test("firstValue: of several values beyond the bound the first, on any number of threads")
  func firstOfSeveral() {
    let columns = 1 << 17  // two rows a block
    var elements = [Double](repeating: 0, count: 7 * columns)
    for place in [6 * columns, 5 * columns + 3, 5 * columns + 1] { elements[place] = .nan }
    for features in Self.storages(elements, rows: 7) {
      for threads in 1...4 {
        let found = features.firstValue(
          beyond: 1, execution: Execution(threadCount: threads))
        #expect(found?.row == 5 && found?.column == 1)
      }
    }
  }

  @Test("firstValue: a bound beyond half precision lets its largest number pass, and no infinity")
  func unreachableBound() {
    let largest = Double(Float16.greatestFiniteMagnitude)
    let execution = Execution(threadCount: 1)
    for features in Self.storages([largest, -largest], rows: 1) {
      #expect(features.firstValue(beyond: 1e300, execution: execution) == nil)
    }
    for features in Self.storages([largest, -.infinity], rows: 1) {
      #expect(features.firstValue(beyond: 1e300, execution: execution)?.column == 1)
    }
  }
}
