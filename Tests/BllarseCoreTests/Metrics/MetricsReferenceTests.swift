import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Testing

@Suite("Metrics against scikit-learn and plain loops")
struct MetricsReferenceTests {
  let file: SafetensorsFile
  let logProbabilities: Matrix<Double>
  let probabilities: Matrix<Double>
  let labels: [Int32]
  let summary: Predictions

  init() throws {
    file = try SafetensorsFile(path: Fixtures.path("metrics/reference.safetensors"))
    logProbabilities = try file.matrix("log_probabilities")
    labels = try file.labels("labels")
    probabilities = logProbabilities.exponentials()
    summary = try Predictions(logProbabilities: logProbabilities, labels: labels)
  }

  func expect(_ name: String, _ values: [Double], relative: Double = 1e-12) throws {
    let expected: [Double] = try file.array(name)
    #expect(expected.count == values.count)
    for (value, expected) in zip(values, expected) {
      #expect(
        value.isClose(to: expected, relative: relative, absolute: 1e-14),
        "\(name): \(value), expected \(expected)")
    }
  }

  @Test("accuracy, top-k accuracy, likelihood and Brier score")
  func scores() throws {
    try expect("accuracy", [Metrics.accuracy(summary)])
    try expect("top_k", (1...5).map { Metrics.topKAccuracy(summary, k: $0) })
    try expect("nll", [Metrics.negativeLogLikelihood(summary)])
    try expect("brier", [Metrics.brierScore(summary)])
  }

  @Test("the confusion matrix, recall, precision and balanced accuracy")
  func confusion() throws {
    let matrix = ConfusionMatrix(summary)
    try expect(
      "confusion",
      (0..<25).map { Double(matrix.counts[$0 / 5][$0 % 5]) })
    try expect("recall", matrix.recall)
    try expect("precision", matrix.precision)
    try expect("balanced_accuracy", [matrix.balancedAccuracy])
  }

  @Test("calibration errors over bins of equal width, equal mass and each class")
  func binned() throws {
    for binCount in [15, 20] {
      let error = Metrics.calibrationError(summary, binCount: binCount)
      try expect("ece_\(binCount)", [error.expected, error.maximum, error.rootMeanSquare])
      #expect(
        Metrics.reliability(summary, binCount: binCount).reduce(0) { $0 + $1.count }
          == summary.count)
    }
    for binCount in [7, 20] {
      let error = Metrics.equalMassCalibrationError(summary, binCount: binCount)
      try expect("equal_mass_\(binCount)", [error.expected])
    }
    let error = try Metrics.classwiseCalibrationError(probabilities: probabilities, labels: labels)
    try expect("classwise_20", [error.expected, error.maximum])
  }

  @Test("the calibration error without bins, and selective risk")
  func ordered() throws {
    try expect("kolmogorov_smirnov", [Metrics.kolmogorovSmirnovCalibrationError(summary)])
    let risk = Metrics.selectiveRisk(summary)
    try expect("selective_risk", [risk.areaUnderRiskCoverage, risk.excess])
  }

  @Test("detection of out-of-distribution rows, with ties between them and others")
  func outOfDistribution() throws {
    let detection = Metrics.outOfDistributionDetection(
      inDistribution: summary.rows.map { 1 - $0.confidence },
      outOfDistribution: try file.array("ood_scores"))
    try expect(
      "ood",
      [
        detection.auroc, detection.falsePositiveRateAt95, detection.auprOut, detection.auprIn,
      ])
  }

  @Test("conformal sets: threshold, coverage, size", arguments: [80, 90, 95])
  func conformal(percent: Int) throws {
    let half = labels.count / 2
    for (name, method) in [("lac", ConformalSets.Method.lac), ("aps", .aps())] {
      let sets = try ConformalSets(
        method, level: Double(percent) / 100, probabilities: probabilities.rows(0..<half),
        labels: Array(labels[..<half]))
      let report = try sets.evaluate(
        probabilities: probabilities.rows(half..<labels.count), labels: Array(labels[half...]))
      try expect(
        "\(name)_\(percent)",
        [sets.threshold, report.coverage, report.meanSize, report.emptyShare])
    }
  }

  @Test("the scores of a split are the main ones")
  func splitScores() throws {
    let scores = SplitScores(summary)
    try expect("accuracy", [scores.acc])
    try expect("nll", [scores.nll])
    try expect("brier", [scores.brier])
    #expect(scores.ece == Metrics.calibrationError(summary).expected)
    #expect(summary.count == labels.count)
    let same = try Predictions(probabilities: probabilities, labels: labels)
    #expect(SplitScores(same).nll.isClose(to: scores.nll, relative: 1e-13))
  }
}
