import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Evidence")
struct EvidenceTests {
  private static func fit<Pass: LaplacePass>(
    _ problem: LaplaceProblem<Pass>, _ precision: Double
  ) throws -> (weights: Matrix<Double>, logEvidence: Double) {
    let solution = try problem.solve(
      problem.prior(precision), from: .zeros(problem.columnCount, problem.pass.classCount),
      isFinal: true)
    let covariance = try problem.kronecker(solution.logits, precision: precision)
    return (solution.weights, problem.logEvidence(solution, covariance))
  }

  private static func recipe(
    _ features: FeatureMatrix, _ labels: [Int32], classCount: Int, prior: LaplacePrior
  ) -> LaplaceRecipe<SoftmaxPass<Float>> {
    var configuration = LaplaceConfiguration(classCount: classCount)
    configuration.prior = prior
    configuration.scaling = .columns
    return LaplaceRecipe(
      features: features, labels: labels, weights: nil,
      division: RowFolds(features, seed: 1), configuration: configuration,
      execution: Execution(threadCount: 2))
  }

  @Test(
    "weights and evidence of the probit fixture",
    arguments: [
      (0.5, -13.021454550286578, [0.27401374698215214, 0.45014163417228054, 0.2226321252417888]),
      (2.0, -12.105892678787264, [0.20063819394075408, 0.3251535200319108, 0.2180375436932481]),
    ])
  func probitFixture(precision: Double, evidence: Double, weights: [Double]) throws {
    let fit = try Self.fit(
      EvidenceFixture.probit(EvidenceFixture.features, EvidenceFixture.twoClasses), precision)
    // The solver stops 1e-5 nats from the optimum. The bias is taken to have no covariance with the
    // other weights at the mean of the rows: right to its prior precision over the rows' curvature.
    #expect(fit.logEvidence.isClose(to: evidence, relative: 1e-3))
    #expect(relativeDifference(fit.weights.elements, weights) < 1e-2)
  }

  /// One feature and the bias: the integral over both weights on a fine grid is the evidence itself.
  @Test("Laplace's evidence against integration in two dimensions", arguments: [0.1, 1, 10])
  func integration(precision: Double) throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 40, columns: 1, classes: 2, strength: 0.8, seed: 3)
    let fit = try Self.fit(EvidenceFixture.probit(features, labels), precision)
    let bias = 0.01
    var terms: [Double] = []
    let step = 0.08
    for i in -75...75 {
      for j in -75...75 {
        let (w, b) = (
          fit.weights[0, 0] + step * Double(i), fit.weights[1, 0] + step * Double(j)
        )
        var value = 0.5 * log(precision * bias) - log(2 * Double.pi)
        value -= 0.5 * (precision * w * w + bias * b * b)
        for row in 0..<40 {
          let f = features[row, 0] * w + b
          value += SpecialFunctions.logNormalCDF(labels[row] == 1 ? f : -f)
        }
        terms.append(value)
      }
    }
    let exact = SpecialFunctions.logSumExp(terms) + 2 * log(step)
    #expect(abs(fit.logEvidence - exact) < 0.1, "\(fit.logEvidence) against \(exact)")
  }

  @Test(
    "relevance where features outnumber rows: noise is switched off, and nothing is D x D",
    arguments: [5, 6, 7, 8] as [UInt64])
  func relevanceOfManyFeatures(seed: UInt64) throws {
    let (rows, columns) = (60, 3000)
    var generator = Philox(seed: seed, purpose: .sampling)
    var features = Matrix<Float>(
      rows: rows, columns: columns,
      elements: generator.normals(count: rows * columns).map(Float.init))
    let labels = (0..<rows).map { Int32($0 % 2) }
    for row in 0..<rows { features[row, 7] += labels[row] == 1 ? 3 : -3 }
    let found = try RelevanceChoice(
      recipe: Self.recipe(
        FeatureMatrix(features), labels, classCount: 2, prior: .automaticRelevance)
    ).choose(.columns)
    guard case .columns(let scale, _) = found.scaled.transform.features else {
      Issue.record("a scaling of columns has another transform")
      return
    }
    #expect(scale.enumerated().max { $0.element < $1.element }?.offset == 7)
    #expect(found.scaled.columnCount <= rows + 1)
    #expect(found.precision > 0 && found.precision.isFinite)
  }

  @Test("the precision found is that of a fine grid", arguments: 0..<4)
  func precisionAgainstGrid(seed: Int) throws {
    let strength = [0.1, 0.3, 1, 2][seed]
    let (features, labels) = EvidenceFixture.sample(
      rows: 120, columns: 12, classes: 3, strength: strength, seed: seed)
    let problem = EvidenceFixture.softmax(features, labels, classCount: 3)
    let found = log10(try EvidenceChoice(problem: problem).precision().precision)
    func evidence(_ t: Double) throws -> Double { try Self.fit(problem, pow(10, t)).logEvidence }
    let grid = try stride(from: -2.0, through: 6.0, by: 0.1).map { ($0, try evidence($0)) }
    let best = try #require(grid.max { $0.1 < $1.1 })
    // What is lost is what counts: the maximum may be flat.
    #expect(best.1 - (try evidence(found)) < 0.05, "\(found) against \(best.0)")
    #expect(abs(found - best.0) < 0.25 || best.0 > 3)
  }

  @Test("--prior evidence: the head's precision has a higher evidence than its neighbours")
  func headAgainstNeighbours() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 150, columns: 6, classes: 3, strength: 1, seed: 4)
    func head(_ prior: LaplacePrior) throws -> LaplaceHead {
      var configuration = LaplaceConfiguration(classCount: 3)
      configuration.prior = prior
      configuration.scaling = .columns
      return try LaplaceHead(fitting: FeatureMatrix(features), labels: labels, configuration)
    }
    let found = try head(.evidence)
    let best = try #require(found.report?.logEvidence)
    for factor in [0.4, 0.7, 1.4, 2.5] {
      let other = try head(.fixed(found.priorPrecision * factor))
      // An optimum is exact to a few thousandths of a nat.
      #expect(try #require(other.report?.logEvidence) < best + 0.01, "\(factor)")
    }
    for factor in [0.05, 20] {
      let other = try head(.fixed(found.priorPrecision * factor))
      #expect(try #require(other.report?.logEvidence) < best - 0.5, "\(factor)")
    }
  }

  @Test("a precision for each feature or class tells what matters from what does not")
  func relevance() throws {
    var (features, labels) = EvidenceFixture.sample(
      rows: 300, columns: 6, classes: 3, strength: 1, seed: 2)
    // Columns 4 and 5 are noise that the labels do not depend on.
    var generator = Philox(seed: 9, purpose: .sampling)
    for row in 0..<300 { for j in 4..<6 { features[row, j] = generator.normalPair().0 } }
    let found = try RelevanceChoice(
      recipe: Self.recipe(
        FeatureMatrix(features), labels, classCount: 3, prior: .automaticRelevance)
    ).choose(.columns)
    guard case .columns(let scale, _) = found.scaled.transform.features else {
      Issue.record("a scaling of columns has another transform")
      return
    }
    #expect(scale[4..<6].allSatisfy { noise in scale[0..<4].allSatisfy { noise < 0.5 * $0 } })
    let prior = try EvidenceChoice(
      problem: EvidenceFixture.softmax(features, labels, classCount: 3)
    ).precisionsOfClasses().prior
    #expect(prior.rowCount == 7 && prior.columnCount == 3)
    for k in 0..<3 {
      let own = prior.column(k)
      #expect(own[0] > 0 && own[0].isFinite && own[0..<6].allSatisfy { $0 == own[0] })
      #expect(own[6] == RecipeConstants.biasPrecision)
    }
  }
}
