import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

private func expectClose(
  _ one: TargetDistributions, _ other: TargetDistributions, _ relative: Double,
  sourceLocation: SourceLocation = #_sourceLocation
) {
  #expect(
    relativeDifference(one.locations.elements, other.locations.elements) < relative,
    sourceLocation: sourceLocation)
  #expect(
    relativeDifference(one.scales.elements, other.scales.elements) < relative,
    sourceLocation: sourceLocation)
  for (a, b) in zip(one.degreesOfFreedom, other.degreesOfFreedom) {
    #expect(a.isClose(to: b, relative: 1e-12), sourceLocation: sourceLocation)
  }
}

@Suite("Linear regression")
struct LinearRegressionTests {
  private static let priors: [LinearRegressionConfiguration.Prior] = [
    .fixed(precision: 3), .evidence, .bayesianRidge(.flat), .relevance(.flat, .accelerated),
    .variational(VariationalRegressionPrior(featureCount: 1, targetCount: 1)),
  ]

  @Test("updating in two batches equals one fit", arguments: [(60, 8), (12, 30)])
  func updates(rows: Int, columns: Int) throws {
    let (features, targets) = RegressionFixture.random(
      rows: rows, columns: columns, targets: 2, seed: 1)
    var generator = SplitMix64(seed: 2)
    let weights = (0..<rows).map { _ in 0.2 + generator.uniform() }
    let cut = rows / 3
    for prior in Self.priors {
      var model = try LinearRegressionPosterior(
        fitting: features.rows(0..<cut), targets: targets.rows(0..<cut),
        weights: Array(weights[..<cut]), .init(prior: prior))
      let start = model
      try model.update(
        features.rows(cut..<rows), targets: targets.rows(cut..<rows),
        weights: Array(weights[cut...]))
      // One fit with what the first batch has chosen.
      let statistics = try RegressionStatistics(
        features, transform: start.transform, targets: start.scaled(targets), weights: weights)
      let noise: RegressionNoise
      switch start.noise {
      case .estimated: noise = start.noise
      case .integrated(let prior, _, _):
        var rates: [Double] = []
        for t in 0..<2 {
          // b₀ + ½ min_w (‖y - Xw‖² + w'Λw), from the update's own weights by plain loops.
          var sum = 0.0
          let w = model.weights.column(t)
          for i in 0..<columns {
            sum += start.precisions[t] * w[i] * w[i] - 2 * w[i] * statistics.crossScatter[i, t]
            for j in 0..<columns { sum += w[i] * statistics.inputScatter[i, j] * w[j] }
          }
          rates.append(prior.rate + 0.5 * (statistics.targetScatter[t] + sum))
        }
        noise = .integrated(
          prior: prior, shape: prior.shape + 0.5 * (statistics.weight - 1), rates: rates)
      }
      let bases = try start.bases.map { basis throws(NumericsError) in
        var scatter = statistics.inputScatter.scalingColumns(by: basis.scales)
        scatter.scaleRows(by: basis.scales)
        return try RegressionBasis(
          scatter: scatter, scales: basis.scales, execution: .available)
      }
      let whole = try LinearRegressionPosterior(
        transform: start.transform, targetScales: start.targetScales, rowCount: rows,
        weight: statistics.weight, inputMeans: statistics.inputMeans,
        targetMeans: statistics.targetMeans, crossScatter: statistics.crossScatter,
        targetScatter: statistics.targetScatter, bases: bases, precisions: start.precisions,
        noise: noise, logEvidence: model.logEvidence)
      let new = RegressionFixture.random(rows: 9, columns: columns, seed: 3).features
      // Where noise is integrated out of next to no residuals, the sums of loops cancel.
      expectClose(try model.predict(new), try whole.predict(new), 1e-8)
      #expect(model.rowCount == rows)
    }
    // The evidence of an update is that of a fit with the same units and precision.
    var configuration = LinearRegressionConfiguration(prior: .fixed(precision: 2))
    configuration.scaling = nil
    configuration.standardizesTargets = false
    var model = try LinearRegressionPosterior(
      fitting: features.rows(0..<cut), targets: targets.rows(0..<cut), configuration)
    try model.update(features.rows(cut..<rows), targets: targets.rows(cut..<rows))
    let whole = try LinearRegressionPosterior(
      fitting: features, targets: targets, configuration)
    #expect(relativeDifference(model.logEvidence, whole.logEvidence) < 1e-10)
    let new = RegressionFixture.random(rows: 9, columns: columns, seed: 3).features
    expectClose(try model.predict(new), try whole.predict(new), 1e-9)
  }

  @Test("statistics add up and are subtracted again")
  func statistics() throws {
    let (features, targets) = RegressionFixture.random(rows: 50, columns: 6, targets: 2, seed: 4)
    let shifted = targets.map { $0 + 1e6 }
    let of = { (range: Range<Int>) in
      try RegressionStatistics(
        features.rows(range), transform: .identity, targets: shifted.rows(range))
    }
    let (first, second, all) = (try of(0..<20), try of(20..<50), try of(0..<50))
    let sum = try first.adding(second)
    let rest = try all.subtracting(second)
    for (one, other) in [(sum, all), (rest, first)] {
      #expect(one.rowCount == other.rowCount)
      #expect(one.weight == other.weight)
      #expect(relativeDifference(one.inputMeans, other.inputMeans) < 1e-13)
      #expect(relativeDifference(one.targetMeans, other.targetMeans) < 1e-15)
      #expect(relativeDifference(one.inputScatter.elements, other.inputScatter.elements) < 1e-13)
      #expect(relativeDifference(one.crossScatter.elements, other.crossScatter.elements) < 1e-9)
      #expect(relativeDifference(one.targetScatter, other.targetScatter) < 1e-9)
    }
    let configuration = LinearRegressionConfiguration(prior: .fixed(precision: 1))
    let left = try LinearRegressionPosterior(
      fitting: rest, transform: .identity, configuration)
    let direct = try LinearRegressionPosterior(
      fitting: first, transform: .identity, configuration)
    #expect(relativeDifference(left.weights.elements, direct.weights.elements) < 1e-8)
    #expect(throws: NumericsError.self) { try first.subtracting(all) }
    #expect(throws: NumericsError.self) { try first.subtracting(first) }
  }

  /// A fit to other rows with the units, transform, precisions and noise of a model.
  private static func refit(
    _ model: LinearRegressionPosterior, without rows: Set<Int>, _ features: FeatureMatrix,
    _ targets: Matrix<Double>, _ weights: [Double]?
  ) throws -> LinearRegressionPosterior {
    let kept = (0..<features.rowCount).filter { !rows.contains($0) }
    let statistics = try RegressionStatistics(
      features.gatheringRows(kept), transform: model.transform,
      targets: model.scaled(targets.gatheringRows(kept)),
      weights: weights.map { w in kept.map { w[$0] } })
    let bases = try model.bases.map { basis throws(NumericsError) in
      var scatter = statistics.inputScatter.scalingColumns(by: basis.scales)
      scatter.scaleRows(by: basis.scales)
      return try RegressionBasis(scatter: scatter, scales: basis.scales, execution: .available)
    }
    var noise = model.noise
    if case .integrated(let prior, _, _) = noise {
      let spectrum = RegressionSpectrum(
        bases[0], cross: statistics.crossScatter, targetScatter: statistics.targetScatter,
        weight: statistics.weight, execution: .available)
      let all = model.precisions.enumerated().map { spectrum.noise($0, $1, prior: prior) }
      noise = .integrated(prior: prior, shape: all[0].shape, rates: all.map(\.rate))
    }
    return try LinearRegressionPosterior(
      transform: model.transform, targetScales: model.targetScales, rowCount: kept.count,
      weight: statistics.weight, inputMeans: statistics.inputMeans,
      targetMeans: statistics.targetMeans, crossScatter: statistics.crossScatter,
      targetScatter: statistics.targetScatter, bases: bases, precisions: model.precisions,
      noise: noise, logEvidence: model.logEvidence)
  }

  @Test("left-out predictions are those of fits without the rows", arguments: [(30, 5), (14, 25)])
  func leavingOut(rows: Int, columns: Int) throws {
    let (features, targets) = RegressionFixture.random(
      rows: rows, columns: columns, targets: 2, seed: 5)
    var generator = SplitMix64(seed: 6)
    let weights = (0..<rows).map { $0 % 7 == 3 ? 0 : 0.3 + 2 * generator.uniform() }
    let groups = (0..<rows).map { $0 < 4 ? $0 : 4 + $0 % 5 }
    // Where features outnumber rows, leverages come close to 1, and 1 - h has lost digits.
    let bound = columns > rows ? 2e-6 : 1e-8
    for prior in Self.priors {
      for own in [nil, weights] {
        let model = try LinearRegressionPosterior(
          fitting: features, targets: targets, weights: own, .init(prior: prior))
        for groups in [nil, groups] {
          let left = try model.leavingOut(
            features, targets: targets, weights: own, groups: groups)
          for row in 0..<rows {
            let without = groups.map { g in Set((0..<rows).filter { g[$0] == g[row] }) } ?? [row]
            let refit = try Self.refit(model, without: without, features, targets, own)
            let expected = try refit.predict(features.gatheringRows([row]))
            #expect(
              left.degreesOfFreedom[row].isClose(
                to: expected.degreesOfFreedom[0], relative: 1e-12))
            let logs = try expected.logDensities(targets.rows(row..<row + 1))
            for t in 0..<2 {
              let scale = expected.scales[0, t]
              #expect((left.locations[row, t] - expected.locations[0, t]).magnitude < bound * scale)
              #expect(left.scales[row, t].isClose(to: scale, relative: bound))
              #expect(left.logDensities[row, t].isClose(to: logs[0, t], relative: 10 * bound))
            }
          }
        }
      }
    }
  }

  @Test("a row that cannot be left out is named")
  func leverageOne() throws {
    let (features, targets) = RegressionFixture.random(rows: 1, columns: 3, seed: 7)
    let model = try LinearRegressionPosterior(fitting: features, targets: targets)
    #expect(throws: NumericsError.self) { try model.leavingOut(features, targets: targets) }
    let (more, theirs) = RegressionFixture.random(rows: 5, columns: 3, seed: 7)
    let other = try LinearRegressionPosterior(fitting: more, targets: theirs)
    #expect(throws: NumericsError.self) {
      try other.leavingOut(more, targets: theirs, groups: [1, 1, 1, 1, 1])
    }
    #expect(throws: NumericsError.self) {
      try other.leavingOut(more.rows(0..<4), targets: theirs.rows(0..<4))
    }
  }

  @Test("a row of weight 2 is two rows, a row of weight 0 none")
  func weights() throws {
    let (features, targets) = RegressionFixture.random(rows: 20, columns: 4, targets: 2, seed: 8)
    let weights = (0..<20).map { Double($0 % 3) }
    let repeated = (0..<20).flatMap { [Int](repeating: $0, count: $0 % 3) }
    for prior in Self.priors {
      let one = try LinearRegressionPosterior(
        fitting: features, targets: targets, weights: weights, .init(prior: prior))
      let two = try LinearRegressionPosterior(
        fitting: features.gatheringRows(repeated), targets: targets.gatheringRows(repeated),
        .init(prior: prior))
      expectClose(try one.predict(features), try two.predict(features), 1e-6)
      #expect(relativeDifference(one.logEvidence, two.logEvidence) < 1e-9)
    }
  }

  @Test("prior precisions of features are a scaling of features")
  func featurePrecisions() throws {
    let (features, targets) = RegressionFixture.random(rows: 25, columns: 3, seed: 9)
    var configuration = LinearRegressionConfiguration(prior: .fixed(precision: 2))
    configuration.scaling = nil
    configuration.standardizesTargets = false
    let factors = [0.5, 1, 4]
    let scaled = FeatureMatrix(features.converted(to: Double.self).scalingColumns(by: factors))
    let one = try LinearRegressionPosterior(fitting: scaled, targets: targets, configuration)
    configuration.featurePrecisions = factors.map { 1 / ($0 * $0) }
    let other = try LinearRegressionPosterior(fitting: features, targets: targets, configuration)
    expectClose(try one.predict(scaled), try other.predict(features), 1e-12)
    #expect(other.relativePrecisions.column(0) == [8, 2, 0.125])
  }

  @Test(
    "relevance determination: the evidence never falls, and is that of the fixed point or above")
  func monotone() throws {
    for seed in 0..<6 {
      let (rows, columns) = seed % 2 == 0 ? (40, 12) : (20, 35)
      var (features, targets) = RegressionFixture.random(
        rows: rows, columns: columns, noise: 0.3, seed: 20 + seed)
      // Two of three inputs do not matter: the targets are those of the others.
      let x = features.converted(to: Double.self)
      targets = Matrix(
        rows: rows, columns: 1,
        elements: (0..<rows).map { row in
          (0..<columns).reduce(targets[row, 0] * 0.01) { $0 + ($1 % 3 == 0 ? x[row, $1] : 0) }
        })
      features = FeatureMatrix(x)
      let fast = try LinearRegressionPosterior(
        fitting: features, targets: targets, .init(prior: .relevance(.flat, .accelerated)))
      let plain = try LinearRegressionPosterior(
        fitting: features, targets: targets, .init(prior: .relevance(.flat, .fixedPoint)))
      let trace = try #require(fast.report?.evidenceTraces[0])
      for (before, after) in zip(trace, trace.dropFirst()) { #expect(after >= before - 1e-11) }
      #expect(fast.report?.hasConverged[0] == true)
      #expect(fast.logEvidence[0] > plain.logEvidence[0] - 1e-6)
    }
  }

  @Test(
    "relevance determination: weights are those where the fixed point ends, in a few iterations")
  func relevanceOptimum() throws {
    let (features, targets) = RegressionFixture.random(
      rows: 300, columns: 60, noise: 3, seed: 31)
    let fast = try LinearRegressionPosterior(
      fitting: features, targets: targets, .init(prior: .relevance(.flat, .accelerated)))
    let plain = try LinearRegressionPosterior(
      fitting: features, targets: targets, .init(prior: .relevance(.flat, .fixedPoint)))
    #expect(relativeDifference(fast.weights.column(0), plain.weights.column(0)) < 1e-9)
    let (few, many) = try (#require(fast.report), #require(plain.report))
    #expect(few.hasConverged[0] && many.hasConverged[0])
    #expect(5 * few.iterationCounts[0] < many.iterationCounts[0])
  }

  @Test("relevance determination: many inputs that resemble one another, and all but no noise")
  func relevanceOfSimilarInputs() throws {
    // 200 bumps on a line, of rank 30 or so: by the fixed point's steps more than ten thousand iterations.
    let places = (0..<150).map { Double($0) / 149 * 20 - 10 }
    let centres = (0..<200).map { Double($0) / 199 * 20 - 10 }
    let bumps = places.flatMap { x in centres.map { exp(-0.5 * (x - $0) * (x - $0)) } }
    let targets = places.map { $0 == 0 ? 1 : sin($0) / $0 }
    for noise in [0.1, 1e-7] {
      var generator = SplitMix64(seed: 5)
      let noisy = targets.map { $0 + noise * (generator.uniform() - 0.5) }
      let model = try LinearRegressionPosterior(
        fitting: FeatureMatrix(Matrix(rows: 150, columns: 200, elements: bumps)),
        targets: Matrix(rows: 150, columns: 1, elements: noisy),
        .init(prior: .relevance(.flat, .accelerated)))
      let report = try #require(model.report)
      #expect(report.hasConverged[0])
      #expect(report.iterationCounts[0] < 1000)
    }
  }

  @Test("columns that are constant or repeat one another, and large offsets")
  func degenerateColumns() throws {
    let (features, targets) = RegressionFixture.random(rows: 30, columns: 3, seed: 10)
    let x = features.converted(to: Double.self)
    var extended = Matrix<Double>.zeros(30, 6)
    for row in 0..<30 {
      for (j, value) in (x.row(row) + [7, x[row, 0], 1e7 + x[row, 1]]).enumerated() {
        extended[row, j] = value
      }
    }
    for prior in Self.priors {
      let model = try LinearRegressionPosterior(
        fitting: FeatureMatrix(extended), targets: targets, .init(prior: prior))
      let predictions = try model.predict(FeatureMatrix(extended))
      #expect(model.weights[3, 0] == 0)
      #expect(model.weights.elements.allSatisfy { $0.isFinite })
      // A constant says nothing, whatever it is in a new row.
      var moved = extended
      for row in 0..<30 { moved[row, 3] = 1e5 }
      if case .relevance = prior {
      } else {
        #expect(model.weights[0, 0].isClose(to: model.weights[4, 0], relative: 1e-7))
      }
      expectClose(try model.predict(FeatureMatrix(moved)), predictions, 1e-12)
      let plain = try LinearRegressionPosterior(
        fitting: features, targets: targets, .init(prior: prior))
      let nrmse =
        predictions.locations.combined(with: try plain.predict(features).locations) {
          ($0 - $1).magnitude
        }.elements.max() ?? 0
      #expect(nrmse < 0.5)
    }
  }

  @Test("targets of a huge offset are as good as without it")
  func offset() throws {
    let (features, targets) = RegressionFixture.random(rows: 40, columns: 4, seed: 11)
    // Multiples of 2⁻²⁰, which a sum with 2³⁰ keeps.
    let coarse = targets.map { ($0 * 0x1p20).rounded() * 0x1p-20 }
    for prior in Self.priors {
      let one = try LinearRegressionPosterior(
        fitting: features, targets: coarse, .init(prior: prior))
      let other = try LinearRegressionPosterior(
        fitting: features, targets: coarse.map { $0 + 0x1p30 }, .init(prior: prior))
      let (a, b) = (try one.predict(features), try other.predict(features))
      #expect(relativeDifference(b.scales.elements, a.scales.elements) < 1e-6)
      for (x, y) in zip(a.locations.elements, b.locations.elements) {
        #expect((y - x - 0x1p30).magnitude < 2e-6)
      }
    }
  }

  @Test("one row, targets that do not vary, and targets that features reproduce")
  func degenerateTargets() throws {
    let (features, targets) = RegressionFixture.random(rows: 1, columns: 3, seed: 12)
    for prior in Self.priors {
      let model = try LinearRegressionPosterior(
        fitting: features, targets: targets, .init(prior: prior))
      let predictions = try model.predict(features)
      #expect(predictions.locations[0, 0].isClose(to: targets[0, 0], relative: 1e-12))
    }
    let (more, noisy) = RegressionFixture.random(rows: 20, columns: 3, noise: 0, seed: 12)
    let constant = Matrix<Double>(rows: 20, columns: 1, repeating: 1e9)
    for prior in Self.priors {
      let flat = try LinearRegressionPosterior(
        fitting: more, targets: constant, .init(prior: prior))
      let predictions = try flat.predict(more)
      #expect(predictions.locations.elements.allSatisfy { $0.isClose(to: 1e9, relative: 1e-12) })
      let exact = try LinearRegressionPosterior(fitting: more, targets: noisy, .init(prior: prior))
      let fitted = try exact.predict(more)
      // A given precision of 3 shrinks the weights of 20 rows by 3/23.
      let bound = prior == .fixed(precision: 3) ? 0.2 : 0.01
      #expect(relativeDifference(fitted.locations.elements, noisy.elements) < bound)
    }
    // Nothing bounds the precision of a noise that is not there.
    let none = GammaParameters(shape: 0, rate: 0)
    var configuration = LinearRegressionConfiguration(prior: .fixed(precision: 1))
    configuration.noisePrior = none
    #expect(throws: NumericsError.self) {
      try LinearRegressionPosterior(fitting: more, targets: constant, configuration)
    }
    #expect(throws: NumericsError.self) {
      try LinearRegressionPosterior(fitting: features, targets: targets, configuration)
    }
    #expect(throws: NumericsError.self) {
      try LinearRegressionPosterior(
        fitting: more, targets: constant,
        .init(prior: .bayesianRidge(RegressionHyperpriors(noise: none, weights: none))))
    }
  }

  @Test("scaling of rows, and float32, float16 and double features")
  func scalings() throws {
    let (features, targets) = RegressionFixture.random(rows: 40, columns: 5, seed: 13)
    for scaling in [nil] + FeatureScaling.allCases {
      var configuration = LinearRegressionConfiguration()
      configuration.scaling = scaling
      let model = try LinearRegressionPosterior(
        fitting: features, targets: targets, configuration)
      let single = FeatureMatrix(features.converted(to: Float.self))
      let other = try LinearRegressionPosterior(fitting: single, targets: targets, configuration)
      expectClose(try other.predict(single), try model.predict(features), 1e-5)
    }
  }

  @Test("two threads give what one gives, to rounding")
  func threads() throws {
    let (features, targets) = RegressionFixture.random(rows: 3000, columns: 5, seed: 14)
    let one = try LinearRegressionPosterior(
      fitting: features, targets: targets, execution: Execution(threadCount: 1))
    let two = try LinearRegressionPosterior(
      fitting: features, targets: targets, execution: Execution(threadCount: 2))
    expectClose(
      try one.predict(features, execution: Execution(threadCount: 1)),
      try two.predict(features, execution: Execution(threadCount: 2)), 1e-9)
  }

  @Test("bad input is refused, and says where")
  func errors() throws {
    let (features, targets) = RegressionFixture.random(rows: 4, columns: 2, seed: 15)
    #expect(throws: NumericsError.noRows("training rows")) {
      try LinearRegressionPosterior(fitting: features.rows(0..<0), targets: targets.rows(0..<0))
    }
    #expect(
      throws: NumericsError.sizeMismatch(
        of: "rows of targets", found: 3, expected: 4, reason: "one for each row of features")
    ) {
      try LinearRegressionPosterior(fitting: features, targets: targets.rows(0..<3))
    }
    var bad = targets
    bad[2, 0] = .nan
    #expect(throws: NumericsError.notFinite(row: 2, column: 0)) {
      try LinearRegressionPosterior(fitting: features, targets: bad)
    }
    bad[2, 0] = 1e200
    #expect(throws: NumericsError.outOfRange(row: 2, column: 0, value: 1e200, bound: 1e140)) {
      try LinearRegressionPosterior(fitting: features, targets: bad)
    }
    #expect(throws: NumericsError.invalidWeight(row: 1, weight: -1)) {
      try LinearRegressionPosterior(
        fitting: features, targets: targets, weights: [1, -1, 1, 1])
    }
    #expect(throws: NumericsError.self) {
      try LinearRegressionPosterior(
        fitting: features, targets: targets, .init(prior: .fixed(precision: 0)))
    }
    let model = try LinearRegressionPosterior(fitting: features, targets: targets)
    let wider = RegressionFixture.random(rows: 2, columns: 3, seed: 15)
    #expect(
      throws: NumericsError.sizeMismatch(
        of: "features a row", found: 3, expected: 2, reason: "as the head has")
    ) { try model.predict(wider.features) }
    var updated = model
    #expect(throws: NumericsError.self) {
      try updated.update(wider.features, targets: wider.targets)
    }
    #expect(updated == model)
  }

  @Test("a model is what its parts are")
  func parts() throws {
    let (features, targets) = RegressionFixture.random(rows: 30, columns: 4, targets: 2, seed: 16)
    for prior in Self.priors {
      let model = try LinearRegressionPosterior(
        fitting: features, targets: targets, .init(prior: prior))
      let copy = try LinearRegressionPosterior(
        transform: model.transform, targetScales: model.targetScales, rowCount: model.rowCount,
        weight: model.weight, inputMeans: model.inputMeans, targetMeans: model.targetMeans,
        crossScatter: model.crossScatter, targetScatter: model.targetScatter, bases: model.bases,
        precisions: model.precisions, noise: model.noise, logEvidence: model.logEvidence)
      let (one, other) = (try copy.predict(features), try model.predict(features))
      #expect(one == other)
    }
  }

  @Test("the evidence's slope is its derivative, and its maximum the best of a fine grid")
  func evidence() throws {
    for seed in 30..<36 {
      let (features, targets) = RegressionFixture.random(
        rows: 15, columns: seed % 2 == 0 ? 6 : 40, noise: 4, seed: seed)
      let model = try LinearRegressionPosterior(fitting: features, targets: targets)
      var best = -Double.infinity
      for k in -200...200 {
        let fixed = try LinearRegressionPosterior(
          fitting: features, targets: targets,
          .init(prior: .fixed(precision: exp(Double(k) * 0.1))))
        best = max(best, fixed.logEvidence[0])
      }
      #expect(model.logEvidence[0] >= best - 1e-9)
    }
  }
}
