import BllarseNumerics
import BllarseTestSupport
import Testing

@testable import BllarseCore
@testable import BllarseModels

/// A fit that leaves rows out must know nothing of their labels, however it got there.
@Suite("Fits without a fold")
struct FoldedFitsTests {
  @Test(
    "labels that are noise are not predicted, where features outnumber the rows",
    arguments: FeatureScaling.allCases)
  func noise(scaling: FeatureScaling) throws {
    let (features, _) = EvidenceFixture.sample(
      rows: 150, columns: 500, classes: 2, strength: 1, seed: 4)
    var generator = SplitMix64(seed: 9)
    let labels = (0..<150).map { _ in Int32(generator.uniform() < 0.5 ? 0 : 1) }
    var configuration = LaplaceConfiguration(classCount: 2)
    configuration.scaling = scaling
    let head = try LaplaceHead(
      fitting: FeatureMatrix(features), labels: labels, configuration)
    let estimate = try #require(head.report?.estimate)
    // Nobody knows more than the classes' frequencies: log 2.
    #expect(estimate.nll > 0.65, "\(estimate.nll)")
    for candidate in head.report?.candidates ?? [] {
      #expect(
        candidate.score / 150 > 0.65, "λ \(candidate.priorPrecision): \(candidate.score / 150)")
    }
  }

  @Test(
    "a search scores a prior as fits from scratch do, down to weak ones",
    arguments: [2, 6])
  func scratch(classes: Int) throws {
    // Rows that are nearly separable, so that weak priors are visited.
    let (features, labels) = EvidenceFixture.sample(
      rows: 240, columns: 40, classes: classes, strength: 3, seed: 12)
    let problem = EvidenceFixture.softmax(features, labels, classCount: classes)
    let leftOut = LeftOutRows(
      RowFolds(FeatureMatrix(features), seed: 1), labels: labels, weights: nil, classCount: classes)
    func folds() throws -> FoldedFits<SoftmaxPass<Double>> {
      try FoldedFits(
        problem, leftOut: leftOut.folds, posterior: .kronecker, classCount: classes
      ) { design, order, held, inner in
        var kept = [Double](repeating: 1, count: order.count)
        for place in held { kept[place] = 0 }
        return SoftmaxPass(
          design: design, labels: order.map { labels[$0] }, classCount: classes, weights: kept,
          execution: inner)
      }
    }
    func loss(_ logits: Matrix<Double>) -> Double {
      TemperedLogits(leftOut.restricted(logits), 1).losses(leftOut.labels).reduce(0, +)
        / Double(leftOut.labels.count)
    }
    let path = try folds()
    for exponent in [2.0, 1, 0, -1, -2] {
      let prior = problem.prior(pow10(exponent))
      let onPath = loss(try path.logits(prior, isExact: true))
      let alone = loss(try folds().logits(prior, isExact: true))
      #expect(onPath.isClose(to: alone, relative: 0.01), "λ 1e\(exponent): \(onPath), \(alone)")
    }
  }

  private func pow10(_ exponent: Double) -> Double {
    (0..<Int(exponent.magnitude)).reduce(1) { value, _ in exponent < 0 ? value / 10 : value * 10 }
  }
}
