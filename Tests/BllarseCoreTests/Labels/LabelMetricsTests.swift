import BllarseNumerics
import BllarseTestSupport
import Testing

@testable import BllarseCore

@Suite("Scores of sets of labels")
struct LabelMetricsTests {
  private let file: SafetensorsFile
  private let predictions: LabelPredictions

  init() throws {
    file = try SafetensorsFile(path: Fixtures.path("metrics/labels.safetensors"))
    predictions = try LabelPredictions(
      logOdds: try file.matrix("log_odds"), try file.stored("labels").labelSets())
  }

  @Test("they are those of scikit-learn")
  func reference() throws {
    let values = Metric.values(of: predictions, everySplit: true)
      .merging(Metric.values(of: predictions, everySplit: false)) { first, _ in first }
    #expect(values.count == 10)
    for (name, value) in values {
      let expected: [Double] = try file.array(name)
      #expect(value.isClose(to: expected[0], relative: 1e-12), "\(name): \(value), \(expected[0])")
    }
    for (name, score) in [
      ("f1", \LabelPredictions.LabelScores.f1),
      ("average_precision", \.averagePrecision), ("auroc", \.auroc),
    ] as [(String, KeyPath<LabelPredictions.LabelScores, Double?>)] {
      let expected: [Double] = try file.array("label_" + name)
      for (scores, expected) in zip(predictions.labelScores, expected) {
        #expect(scores[keyPath: score]?.isClose(to: expected, relative: 1e-12) == true, "\(name)")
      }
    }
  }

  @Test("answers that are certain cost what they should, not infinity")
  func certain() throws {
    let sets = LabelSets(rowCount: 2, labelCount: 1, [true, false])
    let far = try LabelPredictions(
      logOdds: Matrix(rows: 2, columns: 1, elements: [-800, 800]), sets)
    #expect(far.loss(0, 0) == 800 && far.loss(1, 0) == 800)
    let sure = try LabelPredictions(
      logOdds: Matrix(rows: 2, columns: 1, elements: [40, -40]), sets)
    #expect(sure.loss(0, 0).isClose(to: 4.248354255291589e-18, relative: 1e-12))
  }

  @Test("labels that no row has, or all have, leave out what cannot be said of them")
  func withoutRows() throws {
    let sets = LabelSets(rowCount: 2, labelCount: 2, [false, true, false, true])
    let scores = try LabelPredictions(
      logOdds: Matrix(rows: 2, columns: 2, elements: [-1, 1, -2, -1]), sets)
    let (none, all) = (scores.labelScores[0], scores.labelScores[1])
    #expect(none.averagePrecision == nil && none.auroc == nil && none.f1 == nil)
    #expect(all.averagePrecision == 1 && all.auroc == nil)
    #expect(all.f1?.isClose(to: 2.0 / 3, relative: 1e-15) == true)
    let values = Metric.values(of: scores, everySplit: false)
    #expect(values["map"] == 1 && values["macro_auroc"] == nil && values["lrap"] == 1)
  }

  @Test("intervals hold their values, and shrink with the rows")
  func intervals() throws {
    let intervals = predictions.bootstrapIntervals(seed: 1, execution: .available)
    let one = predictions.bootstrapIntervals(seed: 1, execution: try Execution(threadCount: 1))
    #expect(intervals == one)
    let scores = SplitScores(predictions)
    for name in ["nll", "brier", "hamming_loss", "subset_acc"] {
      let interval = try #require(intervals[name])
      #expect(interval.value.isClose(to: scores[name], relative: 1e-12))
      #expect(interval.lower < interval.value && interval.value < interval.upper)
    }
    // The standard deviation of the mean of 90 rows: 1.96 of them on both sides.
    let losses = predictions.rowScores.map(\.nll)
    let mean = losses.reduce(0, +) / 90
    let deviation = (losses.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 90 / 90).squareRoot()
    let width = try #require(intervals["nll"].map { $0.upper - $0.lower })
    #expect(width.isClose(to: 3.92 * deviation, relative: 0.15))
  }

  @Test("predictions of other rows or labels are refused")
  func shapes() {
    for (rows, columns) in [(0, 1), (2, 2), (3, 1)] {
      #expect(throws: NumericsError.self) {
        try LabelPredictions(
          logOdds: Matrix(rows: rows, columns: columns, repeating: 0),
          LabelSets(rowCount: 2, labelCount: 1, [true, false]))
      }
    }
  }
}
