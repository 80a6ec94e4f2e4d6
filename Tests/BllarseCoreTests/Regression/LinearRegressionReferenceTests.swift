import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@Suite("Linear regression against scikit-learn and scipy")
struct LinearRegressionReferenceTests {
  let fixture: RegressionFixture

  init() throws { fixture = try RegressionFixture() }

  private func check(
    _ model: LinearRegressionPosterior, ridge name: String, _ features: FeatureMatrix,
    target: Int = 0
  ) throws {
    let coefficients: [Double] = try fixture.file.array("\(name).coef")
    let numbers: [Double] = try fixture.file.array("\(name).numbers")
    let mean = try #require(model.featureMean).column(target)
    #expect(relativeDifference(mean.dropLast(), coefficients) < 1e-6)
    #expect(mean[mean.count - 1].isClose(to: numbers[0], relative: 1e-6))
    #expect(model.noisePrecisions[target].isClose(to: numbers[1], relative: 1e-6))
    let precision = model.precisions[target] * model.noisePrecisions[target]
    #expect(precision.isClose(to: numbers[2], relative: 1e-6))
    #expect(model.logEvidence[target].isClose(to: numbers[3], relative: 1e-9))
    // Theirs have no uncertainty of the intercept: 1/(αW).
    let std: [Double] = try fixture.file.array("\(name).std")
    let predictions = try model.predict(features.rows(0..<5))
    for (row, expected) in std.enumerated() {
      let own = predictions.scales[row, target]
      let variance = own * own - 1 / (model.noisePrecisions[target] * model.weight)
      #expect(variance.squareRoot().isClose(to: expected, relative: 1e-6))
    }
    #expect(predictions.degreesOfFreedom[target] == .infinity)
    #expect(model.report?.hasConverged[target] == true)
  }

  @Test("BayesianRidge: weights, precisions, score and deviations of both targets")
  func bayesianRidge() throws {
    let model = try LinearRegressionPosterior(
      fitting: fixture.features, targets: fixture.targets, fixture.plain(.bayesianRidge(.flat)))
    for t in 0..<2 { try check(model, ridge: "ridge\(t)", fixture.features, target: t) }
  }

  @Test("BayesianRidge with row weights")
  func weightedRidge() throws {
    let weights: [Double] = try fixture.file.array("row_weights")
    let model = try LinearRegressionPosterior(
      fitting: fixture.features, targets: fixture.target(0), weights: weights,
      fixture.plain(.bayesianRidge(.flat)))
    try check(model, ridge: "weighted", fixture.features)
  }

  @Test("BayesianRidge with more features than rows")
  func wideRidge() throws {
    let model = try LinearRegressionPosterior(
      fitting: fixture.wide, targets: fixture.target(0).rows(0..<25).compact(),
      fixture.plain(.bayesianRidge(.flat)))
    try check(model, ridge: "wide", fixture.wide)
  }

  @Test(
    "ARDRegression: weights, precisions, score and deviations of both targets",
    arguments: LinearRegressionConfiguration.RelevanceIteration.allCases)
  func relevance(iteration: LinearRegressionConfiguration.RelevanceIteration) throws {
    var configuration = fixture.plain(.relevance(.flat, iteration))
    configuration.iterationLimit = 100_000
    let model = try LinearRegressionPosterior(
      fitting: fixture.features, targets: fixture.targets, configuration)
    for t in 0..<2 {
      let coefficients: [Double] = try fixture.file.array("relevance\(t).coef")
      let lambda: [Double] = try fixture.file.array("relevance\(t).lambda")
      let numbers: [Double] = try fixture.file.array("relevance\(t).numbers")
      let mean = try #require(model.featureMean).column(t)
      #expect(relativeDifference(mean.dropLast(), coefficients) < 1e-6)
      #expect(mean[mean.count - 1].isClose(to: numbers[0], relative: 1e-6))
      #expect(model.noisePrecisions[t].isClose(to: numbers[1], relative: 1e-6))
      #expect(model.logEvidence[t].isClose(to: numbers[2], relative: 1e-9))
      // Prior variances: the precision of a weight that has next to no effect converges last.
      let variances = model.relativePrecisions.column(t).map { 1 / ($0 * model.noisePrecisions[t]) }
      #expect(relativeDifference(variances, lambda.map { 1 / $0 }) < 1e-6)
      if iteration == .fixedPoint {
        for (own, expected) in zip(variances, lambda) {
          #expect(own.isClose(to: 1 / expected, relative: 1e-6))
        }
      }
      let std: [Double] = try fixture.file.array("relevance\(t).std")
      let predictions = try model.predict(fixture.features.rows(0..<5))
      for (row, expected) in std.enumerated() {
        let own = predictions.scales[row, t]
        let variance = own * own - 1 / (model.noisePrecisions[t] * model.weight)
        #expect(variance.squareRoot().isClose(to: expected, relative: 1e-6))
      }
      #expect(model.report?.hasConverged[t] == true)
    }
  }

  @Test(
    "normal-gamma: evidence is the multivariate t density, predictions are those of the normal equations"
  )
  func conjugate() throws {
    let model = try LinearRegressionPosterior(
      fitting: fixture.features, targets: fixture.targets,
      fixture.plain(.fixed(precision: fixture.precision)))
    let new: Matrix<Double> = try fixture.file.matrix("conjugate.new")
    let predictions = try model.predict(FeatureMatrix(new))
    for t in 0..<2 {
      let numbers: [Double] = try fixture.file.array("conjugate\(t).numbers")
      let mean: [Double] = try fixture.file.array("conjugate\(t).mean")
      let own = try #require(model.featureMean).column(t)
      #expect(relativeDifference(own.dropLast() + [], mean.dropFirst() + []) < 1e-10)
      #expect(own[own.count - 1].isClose(to: mean[0], relative: 1e-10))
      #expect(predictions.degreesOfFreedom[t] == numbers[0])
      #expect(model.logEvidence[t].isClose(to: numbers[1], relative: 1e-11))
      let location: [Double] = try fixture.file.array("conjugate\(t).location")
      let scale: [Double] = try fixture.file.array("conjugate\(t).scale")
      #expect(relativeDifference(predictions.locations.column(t), location) < 1e-10)
      #expect(relativeDifference(predictions.scales.column(t), scale) < 1e-10)
    }
  }

  @Test("normal-gamma: the same with more features than rows")
  func wideConjugate() throws {
    let targets = fixture.target(0).rows(0..<25).compact()
    let model = try LinearRegressionPosterior(
      fitting: fixture.wide, targets: targets, fixture.plain(.fixed(precision: fixture.precision)))
    let numbers: [Double] = try fixture.file.array("wide.conjugate")
    #expect(model.logEvidence[0].isClose(to: numbers[0], relative: 1e-10))
    let new = fixture.wide.rows(0..<3).converted(to: Double.self).map { 2 * $0 }
    let predictions = try model.predict(FeatureMatrix(new))
    #expect(predictions.degreesOfFreedom[0] == numbers[1])
    #expect(relativeDifference(predictions.locations.column(0), numbers[2..<5]) < 1e-9)
    #expect(relativeDifference(predictions.scales.column(0), numbers[5..<8]) < 1e-9)
  }

  @Test("the largest evidence is where scipy finds it, and is the same in standardised units")
  func evidence() throws {
    let model = try LinearRegressionPosterior(
      fitting: fixture.features, targets: fixture.targets, fixture.plain(.evidence))
    for t in 0..<2 {
      let numbers: [Double] = try fixture.file.array("conjugate\(t).numbers")
      // A minimum is found by its values to the root of their precision only.
      #expect(model.precisions[t].isClose(to: numbers[2], relative: 1e-5))
      #expect(model.logEvidence[t].isClose(to: numbers[3], relative: 1e-11))
      #expect(model.report?.isAtBound[t] == false)
    }
    var configuration = fixture.plain(.evidence)
    configuration.standardizesTargets = true
    configuration.noisePrior = GammaParameters(shape: 0, rate: 0)
    let standardized = try LinearRegressionPosterior(
      fitting: fixture.features, targets: fixture.targets, configuration)
    configuration.standardizesTargets = false
    let plain = try LinearRegressionPosterior(
      fitting: fixture.features, targets: fixture.targets, configuration)
    for t in 0..<2 {
      #expect(standardized.logEvidence[t].isClose(to: plain.logEvidence[t], relative: 1e-12))
      #expect(standardized.precisions[t].isClose(to: plain.precisions[t], relative: 1e-9))
    }
  }

  @Test("the variational fit is the optimum that vbll is trained to, and its bound never falls")
  func variational() throws {
    let expected: [Double] = try fixture.file.array("variational")
    let prior = VariationalRegressionPrior(featureCount: 10, targetCount: 1)
    let model = try LinearRegressionPosterior(
      fitting: fixture.features, targets: fixture.target(0),
      LinearRegressionConfiguration(prior: .variational(prior)))
    let trace = try #require(model.report?.evidenceTraces[0])
    for (before, after) in zip(trace, trace.dropFirst()) {
      #expect(after >= before - 1e-12 * before.magnitude)
    }
    #expect(trace.count > 3)
    // Its loss leaves out the constant D/2 of the divergence.
    #expect((trace[trace.count - 1] - 5).isClose(to: expected[0], relative: 1e-10))
    // L-BFGS finds the place of the optimum to the root of the precision of its value.
    #expect(relativeDifference(model.weights.column(0), expected[1..<11] + []) < 1e-6)
    guard case .estimated(let precisions, _) = model.noise else {
      Issue.record("\(model.noise)")
      return
    }
    #expect((1 / precisions[0].squareRoot()).isClose(to: expected[11], relative: 1e-6))
  }
}
