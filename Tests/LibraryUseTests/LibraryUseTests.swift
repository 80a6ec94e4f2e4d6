import BllarseCore
import Testing

@Suite("Library use")
struct LibraryUseTests {
  /// What the README shows.
  @Test("ten lines that import BllarseCore alone fit the default head on arrays and predict")
  func tenLines() throws {
    let features: [[Float]] = [
      [0.9, 0.1, 0.3], [0.8, 0.2, 0.4], [0.1, 0.9, 0.2], [0.2, 0.7, 0.1], [0.3, 0.1, 0.9],
    ]
    let labels = [0, 0, 1, 1, 2]
    let head = try LaplaceHead(fitting: features, labels: labels)
    let probabilities = try head.probabilities([[0.85, 0.15, 0.35], [0.15, 0.8, 0.2]])
    #expect(probabilities.map { $0.firstIndex(of: $0.max()!) } == [0, 1])
    for row in probabilities { #expect(abs(row.reduce(0, +) - 1) < 1e-5) }
  }

  @Test("the default on arrays is the default of a run, and every head predicts arrays")
  func sameFit() throws {
    let labels = (0..<60).map { $0 % 3 }
    var rows: [[Float]] = []
    for row in 0..<60 {
      var values = (0..<4).map { column in Float((37 + 11 * column) * row % 17) / 17 }
      values[row % 3] += 1
      rows.append(values)
    }
    let head = try LaplaceHead(fitting: rows, labels: labels)
    #expect(head.likelihood == .softmax)
    // As on the command line, the data choose the scaling.
    let tried = try #require(head.report).candidates.map(\.scaling)
    #expect(FeatureScaling.allCases.allSatisfy(tried.contains))
    #expect(RunConfiguration().method.head == "softmax")
    let both: [any ClassificationHead] = [head, try IBProbitHead(fitting: rows, labels: labels)]
    for head in both {
      let probabilities = try head.probabilities(rows)
      #expect(probabilities.count == 60 && probabilities.allSatisfy { $0.count == 3 })
      #expect(try head.probabilities([]) == [])
      #expect(throws: DataError.self) { try head.probabilities([[1, 2]]) }
    }
    let two = try LaplaceHead(fitting: rows, labels: labels.map { min($0, 1) })
    #expect(two.likelihood == .softmax)
  }

  @Test("a program can look metrics up, and add one of a new name")
  func metrics() throws {
    let accuracy = try #require(Metric.all.first { $0.name == "acc" })
    #expect(accuracy.direction == .higher && accuracy.unit == "share")
    let own = Metric(
      name: accuracy.name, direction: .lower, unit: "share", meaning: "rows of the rarest class"
    ) { predictions in
      ConfusionMatrix(predictions).counts.map { Double($0.reduce(0, +)) }.min()
    }
    #expect(throws: DataError.self) { try Metric.register(own) }
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
    #expect(throws: DataError.self) { try LaplaceHead(fitting: [], labels: []) }
    #expect(throws: DataError.self) {
      try LaplaceHead(fitting: [[1, 2], [2, 1]], labels: [0, -1])
    }
    #expect(throws: DataError.self) {
      try LaplaceHead(fitting: [[1, 2], [.nan, 1]], labels: [0, 1])
    }
    #expect(throws: DataError.self) {
      try IBProbitHead(fitting: [[1, 2], [2, 1]], labels: [0, -1])
    }
  }
}
