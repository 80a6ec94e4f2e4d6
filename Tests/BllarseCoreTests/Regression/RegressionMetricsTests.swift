import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@Suite("Regression metrics")
struct RegressionMetricsTests {
  /// Predictions, and targets that are drawn from them with a scale that is a multiple of theirs.
  private static func drawn(
    _ count: Int, targets: Int = 1, freedom: Double = .infinity, factor: Double = 1, seed: UInt64
  ) throws -> (predictions: TargetDistributions, targets: Matrix<Double>) {
    var generator = Philox(seed: seed, purpose: .subset)
    let size = count * targets
    let locations = Matrix<Double>(
      rows: count, columns: targets, elements: generator.normals(count: size).map { 5 * $0 })
    let scales = Matrix<Double>(
      rows: count, columns: targets, elements: generator.normals(count: size).map { exp(0.3 * $0) })
    let freedoms = [Double](repeating: freedom, count: targets)
    let wide = try TargetDistributions(
      locations: locations, scales: scales.map { $0 * factor }, degreesOfFreedom: freedoms)
    return (
      try TargetDistributions(
        locations: locations, scales: scales, degreesOfFreedom: freedoms),
      wide.samples(1, seed: seed)[0]
    )
  }

  @Test("scores are what plain loops over rows give")
  func loops() throws {
    let (predictions, targets) = try Self.drawn(40, targets: 2, freedom: 4, seed: 1)
    let metrics = try RegressionMetrics(predictions, targets: targets)
    for t in 0..<2 {
      let scores = metrics.targets[t]
      var (square, absolute, nll, crps, total) = (0.0, 0.0, 0.0, 0.0, 0.0)
      let mean = targets.column(t).reduce(0, +) / 40
      let standard = StudentDistribution(degreesOfFreedom: 4)
      var (inside, width, score) = (0.0, 0.0, 0.0)
      let half = standard.quantile(0.95)
      for row in 0..<40 {
        let (y, m, s) = (
          targets[row, t], predictions.locations[row, t], predictions.scales[row, t]
        )
        square += (y - m) * (y - m)
        absolute += (y - m).magnitude
        total += (y - mean) * (y - mean)
        nll -= log(standard.density((y - m) / s) / s)
        crps += s * standard.crps((y - m) / s)
        let (low, high) = (m - half * s, m + half * s)
        inside += y >= low && y <= high ? 1 : 0
        width += high - low
        score += high - low + (y < low ? 20 * (low - y) : y > high ? 20 * (y - high) : 0)
      }
      #expect(scores.rmse.isClose(to: (square / 40).squareRoot(), relative: 1e-13))
      #expect(scores.mae.isClose(to: absolute / 40, relative: 1e-13))
      #expect(scores.r2.isClose(to: 1 - square / total, relative: 1e-12))
      #expect(scores.nll.isClose(to: nll / 40, relative: 1e-12))
      #expect(scores.crps.isClose(to: crps / 40, relative: 1e-13))
      let at90 = try #require(scores.intervals.first { $0.level == 0.9 })
      #expect(at90.coverage == inside / 40)
      #expect(at90.width.isClose(to: width / 40, relative: 1e-12))
      #expect(at90.score.isClose(to: score / 40, relative: 1e-10))
    }
    let (one, other) = (metrics.targets[0], metrics.targets[1])
    #expect(metrics.average.nll.isClose(to: (one.nll + other.nll) / 2, relative: 1e-14))
    #expect(metrics.average.rmse.isClose(to: (one.rmse + other.rmse) / 2, relative: 1e-14))
  }

  @Test(
    "calibrated predictions are recognised, and those that are too narrow or too wide",
    arguments: [2.5, .infinity])
  func calibration(freedom: Double) throws {
    let count = 20_000
    for (factor, seed) in [(1.0, 2), (1.6, 3), (0.6, 4)] as [(Double, UInt64)] {
      let (predictions, targets) = try Self.drawn(
        count, freedom: freedom, factor: factor, seed: seed)
      let scores = try RegressionMetrics(predictions, targets: targets).targets[0]
      // Kolmogorov's bound at 1e-5.
      #expect((scores.pitDistance < 2.47 / Double(count).squareRoot()) == (factor == 1))
      #expect((scores.pitError < 0.06) == (factor == 1))
      #expect(scores.pitHistogram.reduce(0, +).isClose(to: 1, relative: 1e-12))
      for interval in scores.intervals {
        let p = interval.level
        let deviation = (p * (1 - p) / Double(count)).squareRoot()
        let z = (interval.coverage - p) / deviation
        #expect(factor == 1 ? z.magnitude < 4.5 : factor > 1 ? z < -4.5 : z > 4.5)
      }
      let middle = scores.pitHistogram[9] + scores.pitHistogram[10]
      let ends = scores.pitHistogram[0] + scores.pitHistogram[19]
      if factor != 1 { #expect((ends > middle) == (factor > 1)) }
    }
  }

  @Test("bootstrap intervals hold the truth as often as they say")
  func bootstrap() throws {
    // The mean absolute error of a standard normal number is √(2/π), its squared error 1.
    var (holdsMAE, holdsRMSE, holdsNLL) = (0, 0, 0)
    let (trials, count) = (200, 200)
    for trial in 0..<trials {
      let locations = Matrix<Double>.zeros(count, 1)
      let predictions = try TargetDistributions(
        locations: locations, scales: locations.map { $0 + 1 }, degreesOfFreedom: [.infinity])
      let targets = predictions.samples(1, seed: UInt64(trial))[0]
      let intervals = try RegressionMetrics.bootstrapIntervals(
        predictions, targets: targets, replicateCount: 200, level: 0.9, seed: UInt64(trial))
      let metrics = try RegressionMetrics(predictions, targets: targets)
      let (nll, mae) = (try #require(intervals["nll"]), try #require(intervals["mae"]))
      let (rmse, crps) = (try #require(intervals["rmse"]), try #require(intervals["crps"]))
      #expect(nll.value.isClose(to: metrics.average.nll, relative: 1e-12))
      #expect(rmse.value.isClose(to: metrics.average.rmse, relative: 1e-12))
      #expect(crps.value.isClose(to: metrics.average.crps, relative: 1e-12))
      #expect(mae.lower <= mae.value)
      let holds = { (interval: BootstrapInterval, truth: Double) in
        interval.lower <= truth && truth <= interval.upper ? 1 : 0
      }
      holdsMAE += holds(mae, (2 / Double.pi).squareRoot())
      holdsRMSE += holds(rmse, 1)
      holdsNLL += holds(nll, 0.5 * log(2 * Double.pi) + 0.5)
    }
    // Percentiles of 200 rows fall a little short of 0.9, by the skewness of squares; the bounds are some 3.5 standard
    // deviations of 200 trials from 0.88 and 0.91.
    for holds in [holdsMAE, holdsRMSE, holdsNLL] {
      #expect(Double(holds) / Double(trials) > 0.8)
      #expect(Double(holds) / Double(trials) < 0.98)
    }
  }

  @Test("bootstrap intervals do not depend on the number of threads")
  func threads() throws {
    let (predictions, targets) = try Self.drawn(60, targets: 2, seed: 5)
    let one = try RegressionMetrics.bootstrapIntervals(
      predictions, targets: targets, execution: Execution(threadCount: 1))
    let two = try RegressionMetrics.bootstrapIntervals(
      predictions, targets: targets, execution: Execution(threadCount: 2))
    #expect(one == two)
    #expect(one.replicateCount == 1000)
  }

  @Test("targets that do not vary, and bad input")
  func errors() throws {
    let one = Matrix<Double>(rows: 2, columns: 1, repeating: 3)
    let predictions = try TargetDistributions(
      locations: one, scales: one, degreesOfFreedom: [5])
    let exact = try RegressionMetrics(predictions, targets: one)
    #expect(exact.average.r2 == 1)
    #expect(exact.average.rmse == 0)
    let other = try RegressionMetrics(predictions, targets: one.map { $0 + 1 })
    #expect(other.average.r2 == 0)
    #expect(throws: NumericsError.self) {
      try RegressionMetrics(predictions, targets: Matrix(rows: 1, columns: 1, repeating: 1))
    }
    #expect(throws: NumericsError.notFinite(row: 0, column: 0)) {
      try RegressionMetrics(predictions, targets: one.map { _ in .infinity })
    }
    #expect(throws: NumericsError.self) {
      try RegressionMetrics(predictions, targets: one, levels: [1])
    }
    let none = predictions.gatheringRows([])
    #expect(throws: NumericsError.noRows("rows to score")) {
      try RegressionMetrics(none, targets: Matrix(rows: 0, columns: 1, repeating: 0))
    }
    #expect(throws: NumericsError.self) {
      try RegressionMetrics.bootstrapIntervals(predictions, targets: one, replicateCount: 1)
    }
  }
}

@Suite("Conformal intervals")
struct ConformalIntervalsTests {
  @Test("thresholds are the order statistics that finite samples need")
  func ranks() throws {
    let residuals = Matrix<Double>(
      rows: 9, columns: 1, elements: [-9, 1, 2, -3, 4, 5, -6, 7, 8])
    #expect(try ConformalIntervals(level: 0.9, normalizedResiduals: residuals).thresholds == [9])
    #expect(try ConformalIntervals(level: 0.8, normalizedResiduals: residuals).thresholds == [8])
    #expect(try ConformalIntervals(level: 0.5, normalizedResiduals: residuals).thresholds == [5])
    let few = try ConformalIntervals(level: 0.91, normalizedResiduals: residuals)
    #expect(few.thresholds == [.infinity])
    #expect(
      ConformalIntervals.Source.validation.guarantee(level: 0.91, rowCount: 9)
        == "intervals are infinite: 9 calibration rows are too few for a level of 0.91, which takes 11"
    )
    #expect(throws: NumericsError.self) {
      try ConformalIntervals(level: 1, normalizedResiduals: residuals)
    }
    #expect(throws: NumericsError.notFinite(row: 0, column: 0)) {
      try ConformalIntervals(level: 0.5, normalizedResiduals: residuals.map { _ in .nan })
    }
  }

  @Test("intervals of a wrong model hold their targets as often as they promise")
  func synthetic() throws {
    // Over trials of 39 calibration rows and one new row: at least 0.9, and at most 0.9 + 1/40.
    let trials = 4000
    var held = 0
    for trial in 0..<trials {
      var generator = Philox(seed: 9, purpose: .subset, index: UInt64(trial))
      // Skewed errors, and a scale that is of no relation to them.
      let targets = Matrix<Double>(
        rows: 40, columns: 1, elements: (0..<40).map { _ in exp(generator.normalPair().0) })
      let predictions = try TargetDistributions(
        locations: .zeros(40, 1),
        scales: Matrix(
          rows: 40, columns: 1, elements: (0..<40).map { _ in 0.1 + generator.uniform() }),
        degreesOfFreedom: [3])
      let rows = Array(0..<39)
      let conformal = try ConformalIntervals(
        level: 0.9, predictions.gatheringRows(rows), targets: targets.rows(0..<39))
      let report = try conformal.evaluate(
        predictions.gatheringRows([39]), targets: targets.rows(39..<40))
      held += report[0].coverage == 1 ? 1 : 0
    }
    let share = Double(held) / Double(trials)
    let error = 3.3 * (0.9 * 0.1 / Double(trials)).squareRoot()
    #expect(share > 0.9 - error)
    #expect(share < 0.925 + error)
  }

  @Test("on the diabetes table: held-out rows, and rows that were left out", arguments: [0.8, 0.9])
  func diabetes(level: Double) throws {
    let fixture = try RegressionFixture()
    var (held, heldLeftOut, count) = (0.0, 0.0, 0.0)
    for seed in 0..<8 as Range<UInt64> {
      var generator = Philox(seed: seed, purpose: .subset)
      let order = generator.permutation(count: 442)
      let (train, calibration, test) = (
        Array(order[..<200]), Array(order[200..<320]), Array(order[320...])
      )
      let rows = { (indices: [Int]) in
        (fixture.features.gatheringRows(indices), fixture.targets.gatheringRows(indices))
      }
      let (features, targets) = rows(train)
      let model = try LinearRegressionPosterior(fitting: features, targets: targets)
      let (others, theirs) = rows(calibration)
      let split = try ConformalIntervals(
        level: level, try model.predict(others), targets: theirs)
      let leftOut = try ConformalIntervals(
        level: level,
        normalizedResiduals: try model.leavingOut(features, targets: targets)
          .normalizedResiduals(targets))
      let (new, truth) = rows(test)
      let predictions = try model.predict(new)
      for t in 0..<2 {
        held += Double(test.count) * (try split.evaluate(predictions, targets: truth))[t].coverage
        heldLeftOut +=
          Double(test.count) * (try leftOut.evaluate(predictions, targets: truth))[t].coverage
        count += Double(test.count)
      }
    }
    // Rows are the same in all splits: the error is that of the 442 rows, and of 120 that calibrate.
    let error = 3.3 * (level * (1 - level) * (1 / 442.0 + 1 / 960.0)).squareRoot()
    #expect((held / count - level).magnitude < error)
    #expect((heldLeftOut / count - level).magnitude < error)
  }
}
