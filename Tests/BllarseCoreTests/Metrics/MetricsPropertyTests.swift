import BllarseNumerics
import BllarseTestSupport
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Metrics: values by hand and properties")
struct MetricsPropertyTests {
  /// Random predictions with labels drawn from them, so that they are calibrated.
  static func predictions(
    _ rows: Int, _ classes: Int, seed: Int, sharpness: Double = 2
  ) -> (logProbabilities: Matrix<Double>, labels: [Int32]) {
    var generator = SplitMix64(seed: seed)
    var logits = Matrix<Double>(
      rows: rows, columns: classes,
      elements: (0..<rows * classes).map { _ in sharpness * generator.normal() })
    logits.formLogSoftmaxRows()
    let p = logits.exponentials()
    let labels = (0..<rows).map { row -> Int32 in
      var rest = generator.uniform()
      for k in 0..<classes {
        rest -= p[row, k]
        if rest < 0 { return Int32(k) }
      }
      return Int32(classes - 1)
    }
    return (logits, labels)
  }

  @Test("three rows by hand")
  func byHand() throws {
    // Confidences 0.5 (right), 0.75 (wrong), 1 (right).
    let p = Matrix<Double>(rows: 3, columns: 2, elements: [0.5, 0.5, 0.25, 0.75, 0, 1])
    let summary = try Predictions(probabilities: p, labels: [0, 0, 1])
    #expect(summary.rows.map(\.confidence) == [0.5, 0.75, 1])
    #expect(summary.rows.map(\.predicted) == [0, 1, 1])
    #expect(summary.rows.map(\.isCorrect) == [true, false, true])
    #expect(summary.rows.map(\.brier) == [0.5, 1.125, 0])
    #expect(summary.rows.map(\.labelRank) == [0, 1, 0])
    // Two bins: 0.5 is on the edge and goes up, so all three are in the second.
    let error = Metrics.calibrationError(summary, binCount: 2)
    #expect(Metrics.reliability(summary, binCount: 2).map(\.count) == [0, 3])
    #expect(Metrics.reliability(summary, binCount: 2)[0].accuracy == nil)
    #expect(error.expected.isClose(to: 2.25 / 3 - 2.0 / 3, relative: 1e-14))
    // One row in each bin: |1 - 0.5|, |0 - 0.75|, |1 - 1|.
    #expect(Metrics.calibrationError(summary, binCount: 4).expected == (0.5 + 0.75 - 1 + 1) / 3)
    // Most confident first: no error, one of two, one of three.
    let risk = Metrics.selectiveRisk(summary)
    #expect(risk.areaUnderRiskCoverage.isClose(to: (0 + 0.5 + 1.0 / 3) / 3, relative: 1e-14))
    // Sums of confidence - correct: -0.5, 0.25, 0.25.
    #expect(Metrics.kolmogorovSmirnovCalibrationError(summary) == 0.5 / 3)
  }

  @Test("log-probabilities keep tails that underflow as probabilities")
  func tails() throws {
    let logP = Matrix<Float>(rows: 1, columns: 3, elements: [0, -200, -300])
    let logs = try Predictions(logProbabilities: logP, labels: [1])
    #expect(SplitScores(logs).nll == 200)
    #expect(logs.rows.map(\.labelRank) == [1])
    let underflown = try Predictions(probabilities: logP.exponentials(), labels: [1])
    #expect(SplitScores(underflown).nll == .infinity)
  }

  @Test("a NaN makes the scores NaN and nothing traps")
  func notANumber() throws {
    let p = Matrix<Double>(rows: 2, columns: 2, elements: [.nan, .nan, 0.25, 0.75])
    let summary = try Predictions(probabilities: p, labels: [0, 1])
    #expect(Metrics.accuracy(summary) == 0.5)
    #expect(Metrics.negativeLogLikelihood(summary).isNaN)
    #expect(Metrics.calibrationError(summary).expected.isNaN)
    #expect(Metrics.calibrationError(summary).maximum.isNaN)
    #expect(Metrics.equalMassCalibrationError(summary).expected.isNaN)
    #expect(Metrics.kolmogorovSmirnovCalibrationError(summary).isNaN)
    _ = Metrics.selectiveRisk(summary)
    _ = Metrics.bootstrapIntervals(summary, replicateCount: 10)
  }

  @Test("no rows give NaN")
  func empty() throws {
    let summary = try Predictions(
      probabilities: Matrix<Float>(rows: 0, columns: 3, repeating: 0), labels: [])
    let scores = SplitScores(summary)
    #expect(summary.count == 0)
    #expect(scores.acc.isNaN && scores.nll.isNaN && scores.ece.isNaN)
    #expect(Metrics.calibrationError(summary).maximum.isNaN)
    #expect(Metrics.kolmogorovSmirnovCalibrationError(summary).isNaN)
    #expect(Metrics.selectiveRisk(summary).areaUnderRiskCoverage.isNaN)
    #expect(Metrics.bootstrapIntervals(summary, replicateCount: 10)["nll"]?.lower.isNaN == true)
    #expect(
      Metrics.outOfDistributionDetection(inDistribution: [], outOfDistribution: [1]).auroc.isNaN)
  }

  @Test("permuting rows changes no score, even when confidences are tied", arguments: 0..<10)
  func permutation(seed: Int) throws {
    var (logP, labels) = Self.predictions(200, 3, seed: seed)
    // Coarse confidences: many ties.
    logP = logP.map { ($0 * 2).rounded() / 2 }
    logP.formLogSoftmaxRows()
    var generator = SplitMix64(seed: seed)
    let order = Array(0..<200).shuffled(using: &generator)
    let first = try Predictions(logProbabilities: logP, labels: labels)
    let second = try Predictions(
      logProbabilities: logP.gatheringRows(order), labels: order.map { labels[$0] })
    #expect(
      Metrics.equalMassCalibrationError(first).expected.isClose(
        to: Metrics.equalMassCalibrationError(second).expected, relative: 1e-10))
    #expect(
      Metrics.selectiveRisk(first).areaUnderRiskCoverage.isClose(
        to: Metrics.selectiveRisk(second).areaUnderRiskCoverage, relative: 1e-10))
    #expect(
      Metrics.kolmogorovSmirnovCalibrationError(first).isClose(
        to: Metrics.kolmogorovSmirnovCalibrationError(second), relative: 1e-10))
    #expect(SplitScores(first).nll.isClose(to: SplitScores(second).nll, relative: 1e-10))
  }

  @Test("thread counts change no bit")
  func threads() throws {
    let (logP, labels) = Self.predictions(10_000, 4, seed: 1)
    let one = try Predictions(
      logProbabilities: logP, labels: labels, execution: Execution(threadCount: 1))
    let two = try Predictions(
      logProbabilities: logP, labels: labels, execution: Execution(threadCount: 2))
    #expect(one.rows == two.rows)
    let intervals = [1, 2].map {
      Metrics.bootstrapIntervals(
        one, replicateCount: 20, execution: Execution(threadCount: $0))
    }
    #expect(intervals[0] == intervals[1])
  }

  @Test("single precision agrees with double", arguments: 0..<5)
  func precision(seed: Int) throws {
    let (logP, labels) = Self.predictions(500, 6, seed: seed)
    let double = SplitScores(try Predictions(logProbabilities: logP, labels: labels))
    let single = SplitScores(
      try Predictions(logProbabilities: Matrix<Float>(logP), labels: labels))
    #expect(single.nll.isClose(to: double.nll, relative: 1e-6))
    #expect(single.brier.isClose(to: double.brier, relative: 1e-6))
    #expect(single.acc == double.acc)
  }

  @Test("views of wider matrices are read by their rows")
  func views() throws {
    let (logP, labels) = Self.predictions(50, 3, seed: 2)
    var wide = Matrix<Double>(rows: 50, columns: 7, repeating: 9)
    wide.replaceBlock(row: 0, column: 2, with: logP)
    let view = wide.columns(2..<5)
    #expect(
      try Predictions(logProbabilities: view, labels: labels).rows
        == Predictions(logProbabilities: logP, labels: labels).rows)
  }

  @Test("calibrated predictions have small calibration errors, sharpened ones large ones")
  func calibration() throws {
    let (logP, labels) = Self.predictions(20_000, 4, seed: 8)
    let calibrated = try Predictions(logProbabilities: logP, labels: labels)
    var sharp = logP.map { 3 * $0 }
    sharp.formLogSoftmaxRows()
    let overconfident = try Predictions(logProbabilities: sharp, labels: labels)
    #expect(Metrics.calibrationError(calibrated).expected < 0.02)
    #expect(Metrics.calibrationError(overconfident).expected > 0.08)
    #expect(Metrics.kolmogorovSmirnovCalibrationError(calibrated) < 0.02)
    #expect(Metrics.kolmogorovSmirnovCalibrationError(overconfident) > 0.08)
    // The gap of the means is a lower bound of the bin-free error.
    let confidence = Metrics.mean(overconfident.rows.map(\.confidence))
    #expect(
      Metrics.kolmogorovSmirnovCalibrationError(overconfident)
        >= (Metrics.accuracy(overconfident) - confidence).magnitude - 1e-12)
  }
}

@Suite("Bootstrap intervals")
struct BootstrapTests {
  @Test("the interval of an accuracy has the width that the binomial distribution gives")
  func width() throws {
    // 400 rows, 300 right: standard error sqrt(0.75 · 0.25 / 400) = 0.02165.
    let p = Matrix<Double>(
      rows: 400, columns: 2, elements: (0..<400).flatMap { _ in [0.8, 0.2] })
    let labels = (0..<400).map { Int32($0 < 300 ? 0 : 1) }
    let summary = try Predictions(probabilities: p, labels: labels)
    let intervals = Metrics.bootstrapIntervals(summary, replicateCount: 4000, seed: 11)
    let (accuracy, nll) = (try #require(intervals["acc"]), try #require(intervals["nll"]))
    #expect(accuracy.value == 0.75)
    #expect(
      accuracy.lower.isClose(to: 0.75 - 1.96 * 0.02165, relative: 0, absolute: 0.005))
    #expect(
      accuracy.upper.isClose(to: 0.75 + 1.96 * 0.02165, relative: 0, absolute: 0.005))
    #expect(nll.lower < nll.value)
    #expect(nll.upper > nll.value)
    #expect(intervals.replicateCount == 4000)
  }

  @Test("a seed gives the same interval again, another seed another one")
  func seeds() throws {
    let (logP, labels) = MetricsPropertyTests.predictions(100, 3, seed: 4)
    let summary = try Predictions(logProbabilities: logP, labels: labels)
    let first = Metrics.bootstrapIntervals(summary, replicateCount: 50, seed: 1)
    #expect(first == Metrics.bootstrapIntervals(summary, replicateCount: 50, seed: 1))
    #expect(first != Metrics.bootstrapIntervals(summary, replicateCount: 50, seed: 2))
  }
}

@Suite("Conformal sets")
struct ConformalTests {
  @Test(
    "coverage holds on fresh rows, and the randomised sets do not over-cover",
    arguments: [0.8, 0.9, 0.95])
  func coverage(level: Double) throws {
    let (logP, labels) = MetricsPropertyTests.predictions(20_000, 5, seed: 3)
    let p = logP.map { 2 * $0 }
    var wrong = p
    wrong.formLogSoftmaxRows()  // over-confident, so the guarantee is not the model's doing
    let probabilities = wrong.exponentials()
    for method in [ConformalSets.Method.lac, .aps(), .aps(seed: 5)] {
      let sets = try ConformalSets(
        method, level: level, probabilities: probabilities.rows(0..<10_000),
        labels: Array(labels[..<10_000]))
      let report = try sets.evaluate(
        probabilities: probabilities.rows(10_000..<20_000), labels: Array(labels[10_000...]))
      // Both halves vary by about sqrt(0.16 / 10,000) = 0.004 each.
      #expect(report.coverage > level - 0.02, "\(method)")
      if method != .aps() { #expect(report.coverage < level + 0.02, "\(method)") }
      #expect(report.meanSize >= 0.8 && report.meanSize <= 5)
    }
  }

  @Test("too few calibration rows give sets of all classes")
  func tooFew() throws {
    let p = Matrix<Double>(rows: 3, columns: 2, repeating: 0.5)
    let sets = try ConformalSets(.lac, level: 0.9, probabilities: p, labels: [0, 1, 0])
    #expect(sets.threshold == .infinity)
    #expect(sets.sets(for: p) == [[0, 1], [0, 1], [0, 1]])
    for source in ConformalSets.Source.allCases {
      #expect(source.guarantee(level: 0.9, rowCount: 3).contains("3 calibration rows are too few"))
    }
    // The first number of rows with which a level sets a bound.
    for (level, needed) in [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)] {
      #expect(ConformalSets.rowCountNeeded(level: level) == needed)
      for count in [needed - 1, needed] where count > 0 {
        let p = Matrix<Double>(rows: count, columns: 2, repeating: 0.5)
        let sets = try ConformalSets(
          .lac, level: level, probabilities: p, labels: [Int32](repeating: 0, count: count))
        #expect(sets.threshold.isFinite == (count == needed), "\(level), \(count) rows")
      }
    }
  }

  @Test(
    "ties and probabilities of 0: a label that was given none is covered as often as it should be")
  func ties() throws {
    // Every fourth label has probability 0, as all but the first class have.
    let p = Matrix<Float>(
      rows: 400, columns: 4, elements: (0..<1600).map { $0 % 4 == 0 ? 1 : 0 })
    let labels = (0..<400).map { Int32($0 % 4 == 3 ? 2 : 0) }
    for method in [ConformalSets.Method.lac, .aps(), .aps(seed: 3)] {
      for level in [0.5, 0.7, 0.8, 0.95] {
        let sets = try ConformalSets(
          method, level: level, probabilities: p.rows(0..<200), labels: Array(labels[..<200]))
        let report = try sets.evaluate(
          probabilities: p.rows(200..<400), labels: Array(labels[200...]))
        #expect(report.coverage >= level - 0.1, "\(method) \(level): \(report)")
        if level > 0.75, method != .aps(seed: 3) { #expect(report.meanSize == 4) }
      }
    }
  }

  @Test("the threshold is the ⌈(n+1)·level⌉-th score")
  func threshold() throws {
    // Nine rows with scores 0.1 … 0.9: level 0.9 takes the ninth, 0.8 the eighth.
    let p = Matrix<Double>(
      rows: 9, columns: 2, elements: (1...9).flatMap { [1 - Double($0) / 10, Double($0) / 10] })
    let labels = [Int32](repeating: 0, count: 9)
    for (level, score) in [(0.9, 0.9), (0.8, 0.8), (0.75, 0.8), (0.1, 0.1)] {
      let sets = try ConformalSets(.lac, level: level, probabilities: p, labels: labels)
      #expect(sets.threshold.isClose(to: score, relative: 1e-12))
    }
  }
}

@Suite("Detection of out-of-distribution rows")
struct OutOfDistributionTests {
  @Test("perfect, useless and inverted scores")
  func extremes() {
    let perfect = Metrics.outOfDistributionDetection(
      inDistribution: [1, 2, 3], outOfDistribution: [4, 5])
    #expect(perfect.auroc == 1 && perfect.falsePositiveRateAt95 == 0)
    #expect(perfect.auprIn == 1 && perfect.auprOut == 1)
    let useless = Metrics.outOfDistributionDetection(
      inDistribution: [1, 1, 1], outOfDistribution: [1, 1])
    #expect(useless.auroc == 0.5 && useless.falsePositiveRateAt95 == 1)
    #expect(useless.auprOut == 0.4 && useless.auprIn == 0.6)
    let inverted = Metrics.outOfDistributionDetection(
      inDistribution: [4, 5], outOfDistribution: [1, 2, 3])
    #expect(inverted.auroc == 0)
  }
}
