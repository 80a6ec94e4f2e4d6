import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore

@Suite("Evidence")
struct EvidenceTests {
  @Test(
    "weights and evidence of the probit fixture",
    arguments: [
      (0.5, -13.021454550286578, [0.27401374698215214, 0.45014163417228054, 0.2226321252417888]),
      (2.0, -12.105892678787264, [0.20063819394075408, 0.3251535200319108, 0.2180375436932481]),
    ])
  func probitFixture(precision: Double, evidence: Double, weights: [Double]) throws {
    let fit = try EvidenceFixture.probit(
      EvidenceFixture.features, EvidenceFixture.twoClasses, prior: .fixed(precision)
    ).fit(from: 0)
    // The solver stops 1e-5 nats from the optimum.
    #expect(fit.logEvidence.isClose(to: evidence, relative: 1e-4))
    #expect(relativeDifference(fit.weights.elements, weights) < 1e-2)
  }

  /// One feature and the bias: the integral over both weights on a fine grid is the evidence itself.
  @Test("Laplace's evidence against integration in two dimensions", arguments: [0.1, 1, 10])
  func integration(precision: Double) throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 40, columns: 1, classes: 2, strength: 0.8, seed: 3)
    let fit = try EvidenceFixture.probit(features, labels, prior: .fixed(precision)).fit(from: 0)
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

  /// Three rows of one feature under weak priors: Laplace's method is off by tenths of a nat.
  @Test("rows corrected one by one bring the evidence near the integral", arguments: [0.05, 0.3])
  func correction(precision: Double) throws {
    let features = Matrix<Double>(rows: 3, columns: 1, elements: [-1.5, 0.4, 2])
    let labels: [Int32] = [0, 1, 1]
    let fitter = try EvidenceFixture.probit(features, labels, prior: .fixed(precision))
    var solver = CurvatureSolver(
      pass: fitter.pass, gram: fitter.scaled.gram, prior: .columns([precision, 0.01], count: 1))
    solver.tolerance = 1e-9
    let solution = try solver.solve(from: .zeros(2, 1))
    let laplace = try fitter.fit(from: 0).logEvidence
    let corrected = try fitter.correctedEvidence(
      solution, .columns([precision, 0.01], count: 1))
    var terms: [Double] = []
    let step = 0.25
    for i in -100...100 {
      for j in -180...180 {
        let (w, b) = (step * Double(i), step * Double(j))
        var value = 0.5 * log(precision * 0.01) - log(2 * Double.pi)
        value -= 0.5 * (precision * w * w + 0.01 * b * b)
        for row in 0..<3 {
          let f = features[row, 0] * w + b
          value += SpecialFunctions.logNormalCDF(labels[row] == 1 ? f : -f)
        }
        terms.append(value)
      }
    }
    let exact = SpecialFunctions.logSumExp(terms) + 2 * log(step)
    #expect(abs(laplace - exact) > 0.1)
    #expect(
      abs(corrected - exact) < 0.5 * abs(laplace - exact),
      "\(corrected) and \(laplace) against \(exact)")
  }

  @Test("rows with directions of their own have the evidence of chance under a vague prior")
  func orthogonalRows() throws {
    var features = Matrix<Double>.zeros(4, 4)
    for row in 0..<4 { features[row, row] = 100 }
    let prior = Matrix<Double>.columns([1, 1, 1, 1, 1e4], count: 3)
    let fitter = try EvidenceFixture.softmax(
      features, [0, 1, 2, 1], classCount: 3, prior: .fixed(1))
    var solver = CurvatureSolver(pass: fitter.pass, gram: fitter.scaled.gram, prior: prior)
    solver.tolerance = 1e-9
    let solution = try solver.solve(from: .zeros(5, 3))
    let corrected = try fitter.correctedEvidence(solution, prior)
    #expect(abs(corrected + 4 * log(3)) < 0.5, "\(corrected)")
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
    var configuration = EvidenceConfiguration(classCount: 2)
    configuration.prior = .automaticRelevance
    configuration.scaling = .columns
    let recipe = EvidenceRecipe<Float>(
      features: FeatureMatrix(features), labels: labels, configuration: configuration,
      parallelism: Parallelism(threadCount: 2))
    let fit = try recipe.fitRelevances(.columns, from: 1)
    guard case .columns(let scale, _) = fit.transform else {
      Issue.record("a scaling of columns has another transform")
      return
    }
    #expect(scale.enumerated().max { $0.element < $1.element }?.offset == 7)
    #expect(fit.weights.firstNonFinite == nil)
    #expect(fit.covariance.factors.allSatisfy { $0.factor.rowCount <= rows + 1 })
  }

  @Test("the shared evidence of the softmax fixture")
  func softmaxFixture() throws {
    let fitter = try EvidenceFixture.softmax(
      EvidenceFixture.features, EvidenceFixture.threeClasses, classCount: 3, prior: .fixed(0.5))
    let eigenvalues = fitter.scaled.eigenvalues
    #expect(eigenvalues[0].isClose(to: 5.754263549844991, relative: 1e-12))
    #expect(eigenvalues[1].isClose(to: 6.646486826610709, relative: 1e-12))
    let fit = try fitter.fit(from: 0)
    #expect(fit.logEvidence.isClose(to: -12.18908026066874, relative: 1e-4))
  }

  @Test("the precision found is that of a fine grid", arguments: 0..<4)
  func precisionAgainstGrid(seed: Int) throws {
    let strength = [0.1, 0.3, 1, 2][seed]
    let (features, labels) = EvidenceFixture.sample(
      rows: 120, columns: 12, classes: 3, strength: strength, seed: seed)
    let fitter = try EvidenceFixture.softmax(features, labels, classCount: 3, prior: .evidence)
    let found = log10(try fitter.fit(from: 1).priorPrecision)
    func evidence(_ t: Double) throws -> Double {
      let diagonal = [Double](repeating: pow(10, t), count: 12) + [0.01]
      var solver = CurvatureSolver(
        pass: fitter.pass, gram: fitter.scaled.gram, prior: .columns(diagonal, count: 3))
      solver.tolerance = 1e-8
      return try fitter.sharedEvidence(solver.solve(from: .zeros(13, 3)), pow(10, t))
    }
    let grid = try stride(from: -2.0, through: 6.0, by: 0.05).map { ($0, try evidence($0)) }
    let best = try #require(grid.max { $0.1 < $1.1 })
    // What is lost is what counts: the maximum may be flat.
    #expect(best.1 - (try evidence(found)) < 0.05, "\(found) against \(best.0)")
    #expect(abs(found - best.0) < 0.2 || best.0 > 3)
  }

  @Test("a precision for each class or feature raises the evidence of what does not matter")
  func relevance() throws {
    var (features, labels) = EvidenceFixture.sample(
      rows: 300, columns: 6, classes: 3, strength: 1, seed: 2)
    // Columns 4 and 5 are noise that the labels do not depend on.
    var generator = Philox(seed: 9, purpose: .sampling)
    for row in 0..<300 { for j in 4..<6 { features[row, j] = generator.normalPair().0 } }
    let one = try EvidenceFixture.softmax(features, labels, classCount: 3, prior: .evidence)
      .fit(from: 0)
    let ard = try EvidenceFixture.softmax(
      features, labels, classCount: 3, prior: .automaticRelevance
    ).fit(from: 0)
    func size(_ fit: ScalingFit<Double>, _ rows: Range<Int>) -> Double {
      fit.weights.rows(rows).squaredNorm.squareRoot()
    }
    #expect(size(ard, 4..<6) < 0.5 * size(one, 4..<6))
    #expect(size(ard, 0..<4) > 0.9 * size(one, 0..<4))
    let perClass = try EvidenceFixture.softmax(
      features, labels, classCount: 3, prior: .evidencePerClass
    ).fit(from: 0)
    #expect(perClass.gap < 1e-4 && perClass.weights.firstNonFinite == nil)
  }
}
