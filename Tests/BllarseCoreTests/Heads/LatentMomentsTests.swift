import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Testing

@Suite("Moments of logits")
struct LatentMomentsTests {
  private static let problem = ProbitProblem.random(
    "latent", rows: 60, columns: 4, classes: 3, seed: 8)
  private static var features: FeatureMatrix { FeatureMatrix(problem.features) }

  /// `xᵀP⁻¹x` of a row with a 1 at its end, by Gaussian elimination.
  private static func quadraticForm(_ precision: Matrix<Double>, _ row: Int) -> Double {
    let x = problem.features.row(row).map { Double($0) } + [1]
    var table = x.indices.map { precision.row($0) + [x[$0]] }
    for pivot in x.indices {
      for other in x.indices where other != pivot {
        let factor = table[other][pivot] / table[pivot][pivot]
        for k in pivot...x.count { table[other][k] -= factor * table[pivot][k] }
      }
    }
    return x.indices.reduce(0) { $0 + x[$1] * table[$1][x.count] / table[$1][$1] }
  }

  @Test("the probit head's variance is that of its posterior, for all classes")
  func probit() throws {
    var head = IBProbitHead<Double>(.init(featureCount: 4, classCount: 3, transform: .identity))
    try head.fit(features: Self.features, labels: Self.problem.labels)
    let moments = try head.latent(Self.features, execution: .available)
    for row in 0..<60 {
      let expected = Self.quadraticForm(head.posterior.precision, row)
      for k in 0..<3 { #expect(moments.variances[row, k].isClose(to: expected, relative: 1e-9)) }
    }
    #expect(try moments.means == Matrix<Double>(head.arguments(Self.features)))
  }

  @Test("a Polya-Gamma head's variances are those of its questions")
  func polyaGamma() throws {
    var head = MultinomialPolyaGammaHead<Double>(
      .init(featureCount: 4, classCount: 3, transform: .identity))
    try head.fit(features: Self.features, labels: Self.problem.labels)
    let moments = try head.latent(Self.features, execution: .available)
    #expect(moments.means.columnCount == 2)
    for row in 0..<60 {
      for k in 0..<2 {
        let expected = Self.quadraticForm(head.precisions[k], row)
        #expect(moments.variances[row, k].isClose(to: expected, relative: 1e-9))
      }
    }
  }

  @Test("the default recipe's probabilities follow from its moments: Φ(m/√(1 + v)) for probit")
  func laplace() throws {
    var configuration = LaplaceConfiguration(classCount: 2)
    (configuration.likelihood, configuration.calibratesOnLeftOut) = (.probit, false)
    let labels = Self.problem.labels.map { min($0, 1) }
    let head = try LaplaceHead(fitting: Self.features, labels: labels, configuration)
    let moments = try head.latent(Self.features, execution: .available)
    let logs = try head.logProbabilities(Self.features)
    #expect(moments.means.columnCount == 1)
    for row in 0..<60 {
      let argument = moments.means[row, 0] / (1 + moments.variances[row, 0]).squareRoot()
      #expect(
        abs(Double(logs[row, 1]) - SpecialFunctions.logNormalCDF(argument)) < 1e-6, "row \(row)")
    }
  }

  @Test("draws have the moments, and a seed gives the same ones")
  func samples() {
    let moments = LatentMoments(
      means: Matrix(rows: 1, columns: 2, elements: [-1, 3]),
      variances: Matrix(rows: 1, columns: 2, elements: [4, 0]))
    let draws = moments.samples(4000, seed: 3)
    let first = draws.map { $0[0, 0] }
    let mean = first.reduce(0, +) / 4000
    let variance = first.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 4000
    // 4 standard errors: 2/√4000, and 4·√(2/4000).
    #expect(abs(mean + 1) < 0.127 && abs(variance - 4) < 0.36, "\(mean) \(variance)")
    #expect(draws.allSatisfy { $0[0, 1] == 3 } && draws == moments.samples(4000, seed: 3))
  }
}
