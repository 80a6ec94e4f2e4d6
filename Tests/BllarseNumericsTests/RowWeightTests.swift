import BllarseModels
import BllarseNumerics
import BllarseTestSupport
import Testing

/// Rows with whole weights, and the same rows repeated so often.
private struct WeightedRows<Scalar: BLASScalar> {
  let features: Matrix<Double>
  let labels: [Int32]
  let weights: [Double]
  let repeats: [Int]

  init(rows: Int, columns: Int, classes: Int, seed: Int) {
    var generator = SplitMix64(seed: seed)
    features = Matrix(
      rows: rows, columns: columns,
      elements: (0..<rows * columns).map { _ in generator.normal() })
    labels = (0..<rows).map { row in Int32((row * 7 + row / 3) % classes) }
    // Runs of equal weights and single ones, 0 among both.
    weights = (0..<rows).map { row -> Double in
      let weight: Int = row % 40 < 12 ? row / 40 % 3 : (row * row + row / 5) % 4
      return Double(weight)
    }
    repeats = weights.enumerated().flatMap { row, weight in
      [Int](repeating: row, count: Int(weight))
    }
  }

  func design(_ rows: [Int]? = nil) -> DesignMatrix<Scalar> {
    let features = FeatureMatrix(rows.map(features.gatheringRows) ?? features)
    return DesignMatrix(features, transform: .identity, hasBias: true)
  }
  var repeatedLabels: [Int32] { repeats.map { labels[$0] } }

  func coefficients(_ classes: Int, seed: Int) -> Matrix<Double> {
    var generator = SplitMix64(seed: seed)
    let count = features.columnCount + 1
    return Matrix(
      rows: count, columns: classes,
      elements: (0..<count * classes).map { _ in 0.5 * generator.normal() })
  }
}

@Suite("Row weights")
struct RowWeightTests {
  private static let execution = Execution(threadCount: 2)

  /// Walks through all readings of a pass, beside those of the repeated rows.
  private func check<Pass: LikelihoodPass>(
    _ weighted: Pass, _ repeated: Pass, _ rows: WeightedRows<Pass.Scalar>, bound: Double
  ) {
    let classes = weighted.classCount
    func compare(_ a: LikelihoodSums, _ b: LikelihoodSums) {
      #expect(relativeDifference(a.products.elements, b.products.elements) < bound)
      #expect(relativeDifference(a.logLikelihoods, b.logLikelihoods) < bound)
    }
    func compare(_ a: LikelihoodLine, _ b: LikelihoodLine) {
      #expect(relativeDifference(a.slopes, b.slopes) < bound)
      #expect(relativeDifference(a.curvatures, b.curvatures) < bound)
    }
    func zeros(_ pass: Pass) -> Matrix<Pass.Scalar> { .zeros(pass.design.rowCount, classes) }
    var (logits, others) = (zeros(weighted), zeros(repeated))
    let start = rows.coefficients(classes, seed: 1)
    compare(
      weighted.restart(at: start, logits: &logits), repeated.restart(at: start, logits: &others))

    let vector = rows.coefficients(classes, seed: 2)
    let steps = (0..<weighted.stepCount).map { 0.3 + 0.1 * Double($0) }
    var (direction, otherDirection) = (zeros(weighted), zeros(repeated))
    compare(
      weighted.direction(of: vector, into: &direction, logits: logits, steps: steps),
      repeated.direction(of: vector, into: &otherDirection, logits: others, steps: steps))
    let more = steps.map { 2 * $0 }
    compare(
      weighted.line(logits: logits, direction: direction, steps: more),
      repeated.line(logits: others, direction: otherDirection, steps: more))
    compare(
      weighted.advance(logits: &logits, direction: direction, steps: steps),
      repeated.advance(logits: &others, direction: otherDirection, steps: steps))
    // Rows of weight 0 are predicted all the same.
    #expect(relativeDifference(logits.gatheringRows(rows.repeats).elements, others.elements) < 1e-5)

    // As sums over rows, which is how they are used.
    let design = Matrix<Double>(weighted.design.matrix(rows: 0..<rows.weights.count))
    let otherDesign = Matrix<Double>(repeated.design.matrix(rows: 0..<rows.repeats.count))
    let (a, b) = (
      weighted.residualsAndCurvatures(logits), repeated.residualsAndCurvatures(others)
    )
    for (left, right) in [(a.residuals, b.residuals), (a.curvatures, b.curvatures)] {
      #expect(
        relativeDifference(
          design.multiplied(by: Matrix<Double>(left), transposing: true).elements,
          otherDesign.multiplied(by: Matrix<Double>(right), transposing: true).elements)
          < bound)
    }
    for index in 0..<classes {
      let gram = weighted.design.gram(
        rowWeights: a.curvatures.column(index).map { Double($0) }, execution: Self.execution)
      let other = repeated.design.gram(
        rowWeights: b.curvatures.column(index).map { Double($0) }, execution: Self.execution)
      #expect(relativeDifference(gram.elements, other.elements) < bound)
    }
  }

  private func checkBoth<Scalar: BLASScalar>(_: Scalar.Type, classes: Int, bound: Double) {
    let rows = WeightedRows<Scalar>(rows: 700, columns: 6, classes: classes, seed: 3)
    check(
      SoftmaxPass(
        design: rows.design(), labels: rows.labels, classCount: classes, weights: rows.weights,
        execution: Self.execution),
      SoftmaxPass(
        design: rows.design(rows.repeats), labels: rows.repeatedLabels, classCount: classes,
        execution: Self.execution), rows, bound: bound)
    check(
      ProbitPass(
        design: rows.design(), labels: rows.labels, classCount: classes, weights: rows.weights,
        execution: Self.execution),
      ProbitPass(
        design: rows.design(rows.repeats), labels: rows.repeatedLabels, classCount: classes,
        execution: Self.execution), rows, bound: bound)
  }

  @Test("SoftmaxPass, ProbitPass: whole weights are repeated rows", arguments: [2, 5, 19])
  func passes(classes: Int) {
    checkBoth(Double.self, classes: classes, bound: 1e-9)
    checkBoth(Float.self, classes: classes, bound: 1e-5)
  }

  @Test("ProbitPass: the sums of the curvatures are those of repeated rows")
  func columnCurvatures() {
    let rows = WeightedRows<Double>(rows: 700, columns: 6, classes: 3, seed: 4)
    let weighted = ProbitPass(
      design: rows.design(), labels: rows.labels, classCount: 3, weights: rows.weights,
      execution: Self.execution)
    let repeated = ProbitPass(
      design: rows.design(rows.repeats), labels: rows.repeatedLabels, classCount: 3,
      execution: Self.execution)
    let mean = rows.coefficients(3, seed: 5)
    func sums(_ pass: ProbitPass<Double>) -> [Double] {
      let logits = pass.design.multiplied(by: mean, execution: Self.execution)
      return pass.columnCurvatures(logits).map { $0 * Double(pass.design.rowCount) }
    }
    #expect(relativeDifference(sums(weighted), sums(repeated)) < 1e-12)
    // The fixed-point iteration reads the same sums.
    let (found, others) = (weighted.sums(at: mean), repeated.sums(at: mean))
    #expect(relativeDifference(found.products.elements, others.products.elements) < 1e-9)
    #expect(relativeDifference(found.logLikelihoods, others.logLikelihoods) < 1e-9)
  }

  @Test("SoftmaxPass, ProbitPass: a row of weight 0 counts for nothing, whatever its logits are")
  func weightZero() {
    let far = Matrix<Double>(rows: 3, columns: 1, elements: [0.5, 1e200, -0.25])
    let design = DesignMatrix<Double>(FeatureMatrix(far), transform: .identity, hasBias: true)
    let weights = [2, 0, 1.5]
    let coefficients = Matrix<Double>(rows: 2, columns: 2, elements: [1e200, -1e200, 0.1, 0.2])
    var logits = Matrix<Double>.zeros(3, 2)
    let softmax = SoftmaxPass(
      design: design, labels: [0, 0, 1], classCount: 2, weights: weights,
      execution: Self.execution)
    let probit = ProbitPass(
      design: design, labels: [0, 0, 1], classCount: 2, weights: weights,
      execution: Self.execution)
    for sums in [
      softmax.restart(at: coefficients, logits: &logits),
      probit.restart(at: coefficients, logits: &logits),
    ] {
      #expect(sums.products.elements.allSatisfy { $0.isFinite })
      #expect(sums.logLikelihoods.allSatisfy { $0.isFinite })
    }
  }

  @Test("ColumnStatistics: whole weights are repeated rows, and weight 0 is not looked at")
  func statistics() {
    let rows = WeightedRows<Double>(rows: 700, columns: 6, classes: 2, seed: 6)
    var features = rows.features
    // Rows that count for nothing, the first among them, must not set a magnitude or the origin.
    for (row, weight) in rows.weights.enumerated() {
      for column in 0..<6 {
        features[row, column] = weight == 0 ? 1e12 : 1e4 + features[row, column]
      }
    }
    #expect(rows.weights[0] == 0)
    for transform: FeatureTransform in [.identity, .standardLayerNorm] {
      let found = ColumnStatistics(
        FeatureMatrix(features), transform: transform, weights: rows.weights,
        execution: Self.execution)
      let expected = ColumnStatistics(
        FeatureMatrix(features.gatheringRows(rows.repeats)), transform: transform,
        execution: Self.execution)
      #expect(found.magnitudes == expected.magnitudes)
      #expect(relativeDifference(found.means, expected.means) < 1e-12)
      #expect(relativeDifference(found.deviations, expected.deviations) < 1e-9)
    }
  }
}
