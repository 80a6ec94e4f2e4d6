import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

/// Against laplace-torch at the same weights and precision, in double precision there.
@Suite("Laplace at given weights: the numbers of laplace-torch")
struct LaplaceReferenceTests {
  private static let cases = LaplaceFixture.names.flatMap { name in
    LaplaceFixture.structures.map { (name, $0) }
  }

  @Test("log evidence", arguments: cases)
  func evidence(name: String, structure: CovarianceStructure) throws {
    let fixture = try LaplaceFixture(name)
    let given = try fixture.given(structure)
    let spectrum = try given.spectrum()
    let expected = try fixture.found(structure, "evidence")
    for (precision, value) in zip(fixture.precisions, expected) {
      // Eigenvalues of a singular matrix are exact to its largest.
      #expect(given.logEvidence(precision, spectrum).isClose(to: value, relative: 1e-10))
      // The factorisation says the same as the eigenvalues.
      let ratio = try #require(try given.covariance(precision).logDeterminantRatio)
      #expect(
        ratio.isClose(
          to: spectrum.reduce(0) { $0 + $1.count * log1p($1.value / precision) }, relative: 1e-10))
    }
    let head = try fixture.head(structure)
    #expect(try #require(head.report?.logEvidence).isClose(to: expected[0], relative: 1e-10))
  }

  @Test("covariances of the logits of new rows", arguments: cases)
  func covariances(name: String, structure: CovarianceStructure) throws {
    let fixture = try LaplaceFixture(name)
    let covariance = try fixture.given(structure).covariance(fixture.precisions[0])
    let rows = fixture.newRows
    let found = covariance.logitCovariance(rows)
    let expected = try fixture.found(structure, "covariance")
    #expect(relativeDifference(found.matrices(rows.rowCount), expected) < 1e-12)
    let classes = fixture.biases.count
    let diagonal = (0..<rows.rowCount).flatMap { row in
      (0..<classes).map { expected[row * classes * classes + $0 * (classes + 1)] }
    }
    #expect(relativeDifference(found.variances.elements, diagonal) < 1e-12)
  }

  @Test("predictions by every link", arguments: cases)
  func links(name: String, structure: CovarianceStructure) throws {
    let fixture = try LaplaceFixture(name)
    for link in [LinkApproximation.probit, .bridge, .bridgeNorm] {
      let expected = try fixture.found(structure, link.rawValue.replacing("-", with: "_"))
      let found = try fixture.head(structure, Link(link)).logProbabilities(fixture.new)
      let difference = zip(found.elements, expected).map { abs(exp(Double($0)) - $1) }.max() ?? 1
      // Heads predict in single precision.
      #expect(difference < 2e-6, "\(name) \(structure) \(link)")
    }
    // Four standard errors of the difference of two means, of ours and of their draws.
    let count = 20_000
    let expected = try fixture.found(structure, "mc")
    let found = try fixture.head(structure, Link(.monteCarlo, sampleCount: count, seed: 3))
      .logProbabilities(fixture.new)
    for (log, mean) in zip(found.elements, expected) {
      let error = (mean * (1 - mean) * (1 / Double(count) + 1 / 200_000)).squareRoot()
      #expect(abs(exp(Double(log)) - mean) < 4.5 * error + 1e-6)
    }
  }
}

@Suite("Laplace at given weights")
struct GivenWeightsTests {
  @Test(
    "the precision that is found has the best evidence", arguments: CovarianceStructure.allCases)
  func bestPrecision(structure: CovarianceStructure) throws {
    let given = try LaplaceFixture("four").given(structure)
    let spectrum = try given.spectrum()
    let best = given.bestPrecision(spectrum)
    #expect(!best.isAtBound)
    let value = given.logEvidence(best.precision, spectrum)
    for step in stride(from: -6.0, through: 6, by: 0.05) where abs(step) > 0.01 {
      #expect(given.logEvidence(best.precision * exp(step), spectrum) < value)
    }
    // MacKay's fixed point.
    let count = given.effectiveParameterCount(best.precision, spectrum)
    let fixture = try LaplaceFixture("four")
    let square = fixture.weights.squaredNorm + fixture.biases.reduce(0) { $0 + $1 * $1 }
    #expect(best.precision.isClose(to: count / square, relative: 1e-9))
  }

  @Test("weights of zero have no best precision but the largest, and that is said")
  func zeros() throws {
    let fixture = try LaplaceFixture("four")
    let head = try LaplaceHead(
      weights: .zeros(3, 4), biases: [0, 0, 0, 0], features: fixture.features,
      labels: fixture.labels)
    let report = try #require(head.report)
    #expect(report.priorPrecisionAtBound)
    #expect(report.reasons.contains { $0.contains("at an end of the range") })
  }

  @Test("the distance to the optimum: none there, and the gain of a Newton step elsewhere")
  func distance() throws {
    let (features, labels) = EvidenceFixture.sample(
      rows: 200, columns: 5, classes: 3, strength: 1, seed: 12)
    var problem = EvidenceFixture.softmax(features, labels, classCount: 3)
    problem.biasPrecision = 2
    let optimum = try problem.solve(
      problem.prior(2), from: .zeros(6, 3), within: 1e-12)
    func report(
      _ weights: Matrix<Double>, _ structure: CovarianceStructure = .full
    ) throws -> LaplaceReport {
      var configuration = GivenWeightsConfiguration()
      (configuration.posterior, configuration.priorPrecision) = (structure, 2)
      let head = try LaplaceHead(
        weights: weights.rows(0..<5).compact(), biases: weights.row(5),
        features: FeatureMatrix(features), labels: labels, configuration)
      return try #require(head.report)
    }
    for structure in CovarianceStructure.allCases {
      let there = try #require(try report(optimum.weights, structure).distance)
      #expect(there.newtonDecrement < 1e-8 && there.isNear)
    }
    // A small step away the quadratic model is exact.
    var generator = Philox(seed: 3, purpose: .sampling)
    let step = Matrix<Double>(rows: 6, columns: 3, elements: generator.normals(count: 18))
    for (size, tolerance) in [(1e-3, 1e-2), (0.05, 0.2)] {
      var weights = optimum.weights
      weights.add(step, times: size)
      let found = try #require(try report(weights).distance)
      var logits = Matrix<Double>.zeros(200, 3)
      let there = problem.pass.restart(at: weights, logits: &logits)
      let objective = there.logLikelihoods.reduce(0, +) - weights.squaredNorm
      #expect(
        found.newtonDecrement.isClose(to: optimum.objective - objective, relative: tolerance),
        "\(found.newtonDecrement) against \(optimum.objective - objective)")
    }
    var far = optimum.weights
    far.add(step, times: 3)
    let away = try report(far)
    #expect(try !#require(away.distance).isNear)
    #expect(away.reasons.contains { $0.contains("further from the optimum") })
    // Rounds of the bound.
    #expect(try report(optimum.weights).gapBound < 1e-6)
  }

  @Test("a weight of two is a row that is there twice", arguments: CovarianceStructure.allCases)
  func rowWeights(structure: CovarianceStructure) throws {
    let fixture = try LaplaceFixture("four")
    var configuration = GivenWeightsConfiguration()
    configuration.posterior = structure
    let weights = fixture.labels.indices.map { Double($0 % 3) }
    let order = fixture.labels.indices.flatMap { [Int](repeating: $0, count: $0 % 3) }
    let weighted = try LaplaceHead(
      weights: fixture.weights, biases: fixture.biases, features: fixture.features,
      labels: fixture.labels, rowWeights: weights, configuration)
    let repeated = try LaplaceHead(
      weights: fixture.weights, biases: fixture.biases,
      features: fixture.features.gatheringRows(order), labels: order.map { fixture.labels[$0] },
      configuration)
    let (first, second) = (try #require(weighted.report), try #require(repeated.report))
    #expect(
      try #require(first.logEvidence).isClose(to: #require(second.logEvidence), relative: 1e-10))
    #expect(first.priorPrecision.isClose(to: second.priorPrecision, relative: 1e-9))
  }

  @Test("what cannot be is an error")
  func errors() throws {
    let fixture = try LaplaceFixture("four")
    func head(
      _ weights: Matrix<Double>, _ biases: [Double], _ precision: Double? = nil
    ) throws {
      var configuration = GivenWeightsConfiguration()
      configuration.priorPrecision = precision
      _ = try LaplaceHead(
        weights: weights, biases: biases, features: fixture.features, labels: fixture.labels,
        configuration)
    }
    #expect(throws: NumericsError.self) { try head(.zeros(2, 4), fixture.biases) }
    #expect(throws: NumericsError.self) { try head(fixture.weights, [1, 2]) }
    #expect(throws: NumericsError.self) { try head(fixture.weights, fixture.biases, -1) }
    #expect(throws: NumericsError.self) { try head(fixture.weights, [.nan, 0, 0, 0]) }
    // Labels of a class that the layer does not have.
    #expect(throws: NumericsError.self) {
      try head(fixture.weights.columns(0..<2).compact(), [0, 0])
    }
  }
}
