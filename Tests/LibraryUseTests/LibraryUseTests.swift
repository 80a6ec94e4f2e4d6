import BllarseCore
import Testing

@Suite("Library use")
struct LibraryUseTests {
  @Test("ten lines that import BllarseCore alone fit a head on arrays and predict")
  func tenLines() throws {
    let features: [[Float]] = [
      [0.9, 0.1, 0.3], [0.8, 0.2, 0.4], [0.1, 0.9, 0.2], [0.2, 0.7, 0.1], [0.3, 0.1, 0.9],
    ]
    let labels = [0, 0, 1, 1, 2]
    let head = try IBProbitHead(fitting: features, labels: labels)
    let probabilities = try head.probabilities([[0.85, 0.15, 0.35], [0.15, 0.8, 0.2]])
    #expect(probabilities.map { $0.firstIndex(of: $0.max()!) } == [0, 1])
    for row in probabilities { #expect(abs(row.reduce(0, +) - 1) < 1e-5) }
  }

  @Test("what cannot be used is an error that names its place")
  func errors() {
    #expect(throws: DataError.self) {
      try IBProbitHead(fitting: [[1, .nan], [2, 1]], labels: [0, 1])
    }
    #expect(throws: DataError.self) { try IBProbitHead(fitting: [[1, 2], [2]], labels: [0, 1]) }
    #expect(throws: DataError.self) {
      try IBProbitHead(fitting: [[1, 2], [2, 1]], labels: [0, 0])
    }
    #expect(throws: DataError.self) { try IBProbitHead(fitting: [], labels: []) }
    #expect(throws: DataError.self) {
      try IBProbitHead(fitting: [[1, 2], [2, 1]], labels: [0, -1])
    }
  }
}
