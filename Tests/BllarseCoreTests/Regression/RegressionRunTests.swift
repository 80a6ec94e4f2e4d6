import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore

@Suite("Runs that predict target values")
struct RegressionRunTests {
  private let directory: TemporaryDirectory
  private let features: String

  init() throws {
    directory = try TemporaryDirectory()
    features = directory.file("rows.safetensors")
    try Self.write(to: features)
  }

  /// Rows of five features with one target value, and the same with two under another name.
  private static func write(
    to path: String, _ change: (inout SafetensorsWriter) -> Void = { _ in }
  ) throws {
    var generator = SplitMix64(seed: 5)
    var writer = SafetensorsWriter()
    for (name, count) in [("train", 80), ("val", 40), ("test", 60)] {
      let rows = (0..<count).map { _ in (0..<5).map { _ in Float(generator.normal()) } }
      let first = rows.map { Double($0[0] - 2 * $0[1]) + 0.5 * generator.normal() }
      let second = rows.map { Double(100 * $0[2]) + 1000 + 30 * generator.normal() }
      writer.add(
        "X_\(name)", Matrix<Float>(rows: count, columns: 5, elements: rows.flatMap { $0 }))
      writer.add("y_\(name)", first.map { Float($0) })
      writer.add(
        "both_\(name)",
        Matrix<Double>(rows: count, columns: 2, elements: zip(first, second).flatMap { [$0, $1] }))
    }
    writer.add("times_train", (0..<Int32(80)).map { 1 + $0 % 3 })
    writer.add("family_train", (0..<Int32(80)).map { $0 / 4 })
    change(&writer)
    try writer.write(to: path)
  }

  private func configuration(
    _ given: [String: String] = [:]
  ) throws(OptionFault) -> RunConfiguration {
    var options = GivenOptions()
    options["task"] = "regression"
    options["features"] = features
    for (name, value) in given { options[name] = value }
    return try RunConfiguration(options)
  }

  @Test("a run has the scores of its head, intervals, a histogram and what to expect on new rows")
  func run() throws {
    let output = directory.file("out")
    let (result, head) = try FineTuning(configuration(["output": output])).run()
    let regressor = try head.regressor()
    #expect(throws: DataError.self) { try head.classifier() }
    let test = try FeatureFile(path: features)
      .dataset(targets: TargetArrays(.regression)).split("test")

    // 1. The scores, by hand.
    let predicted = try regressor.predict(test.features)
    let errors = (0..<60).map { test.values[$0, 0] - predicted.locations[$0, 0] }
    let rmse = (errors.reduce(0) { $0 + $1 * $1 } / 60).squareRoot()
    #expect(result.test["rmse"].isClose(to: rmse, relative: 1e-12))
    #expect(result.test["mae"].isClose(to: errors.reduce(0) { $0 + abs($1) } / 60, relative: 1e-12))
    #expect(rmse < 0.7 && result.test["r2"] > 0.9)
    #expect(result.splits.map(\.split) == ["train", "validation", "test"])
    #expect(result.arguments["task"] == .text("regression"))
    #expect(result.best?.validation["nll"] == result.splits[1].scores["nll"])

    // 2. Intervals: those of the distributions, and those of validation rows.
    let metrics = try #require(result.metrics)
    let intervals = try #require(metrics.intervals)
    #expect(intervals.map(\.method).filter { $0 == "conformal" }.count == 5)
    let conformal = try #require(
      intervals.first { $0.method == "conformal" && $0.level == 0.9 })
    #expect(conformal.calibratedOn == "validation" && conformal.guarantee != nil)
    // 40 rows are too few for 0.99, whose intervals are infinite.
    #expect(intervals.last?.scores["mean_width"] == nil)
    let central = try #require(intervals.first { $0.method == "predictive" && $0.level == 0.9 })
    let (lower, upper) = try predicted.centralIntervals(0.9)
    let inside = (0..<60).count { (lower[$0, 0]...upper[$0, 0]).contains(test.values[$0, 0]) }
    #expect(central.scores["coverage"] == Double(inside) / 60)
    #expect(metrics.pit?["y"]?.count == 20 && metrics.reliability == nil)
    #expect(metrics.bootstrap["rmse"]?.value == result.test["rmse"])

    // 3. What to expect on new rows: the log score of left-out rows.
    let estimate = try #require(result.leftOut)
    #expect(estimate["rows"] == 80)
    let (nll, error) = (try #require(estimate["nll"]), try #require(estimate["nll_se"]))
    #expect(abs(nll - result.test.nll) < 4 * error && error > 0)

    // 4. What is stored predicts and scores the same.
    let stored = try HeadCheckpoint(path: output + "/head.safetensors")
    #expect(stored.outputNames == ["y"] && stored.outputs.task == .regression)
    #expect(try stored.head.regressor().predict(test.features) == predicted)
    var data = RunConfiguration()
    data.data.featuresPath = features
    let scores = try HeadEvaluation(checkpoint: output + "/head.safetensors", data).run()
    #expect(scores.map(\.split) == ["train", "validation", "test"])
    #expect(scores.last?.scores == result.test)
    let json = try JSON(file: output + "/result.json", advice: "")
    #expect(json["estimate"]?["rows"] == .double(80) || json["estimate"]?["rows"] == .int(80))
    #expect(json["metrics_info"]?["rmse"]?["direction"] == .string("lower"))
    #expect(result.trackedMetrics["intervals.predictive.0.9.coverage"] == Double(inside) / 60)
  }

  @Test("several targets, by the name of their array, have scores of their own and together")
  func severalTargets() throws {
    let output = directory.file("both")
    let (result, head) = try FineTuning(
      configuration(["target": "both", "output": output, "validation-split": "val"])
    ).run()
    #expect(head.outputCount == 2)
    let targets = try #require(result.metrics?.targets)
    #expect(Set(targets.keys) == ["both_0", "both_1"])
    let rmse = targets.values.compactMap { $0["rmse"] }.reduce(0, +) / 2
    #expect(result.test["rmse"].isClose(to: rmse, relative: 1e-12))
    #expect(try #require(targets["both_1"]?["rmse"]) > 20)
    // The targets do not know of one another.
    let (alone, _) = try FineTuning(configuration()).run()
    let first = try #require(targets["both_0"]?["rmse"])
    #expect(alone.test["rmse"].isClose(to: first, relative: 1e-4))
    // The head remembers which targets it was fitted to.
    var data = RunConfiguration()
    data.data.featuresPath = features
    let scores = try HeadEvaluation(checkpoint: output + "/head.safetensors", data).run()
    #expect(scores.last?.scores == result.test)
  }

  @Test("predictions are written as a table and as tensors, with intervals of the level asked for")
  func predictions() throws {
    let output = directory.file("out")
    _ = try FineTuning(configuration(["target": "both", "output": output])).run()
    let head = output + "/head.safetensors"
    func prediction(_ level: Double?) -> HeadPrediction {
      HeadPrediction(
        checkpoint: head, featuresPath: features, split: nil, level: level, threadCount: 1)
    }
    let path = directory.file("p.safetensors")
    #expect(try prediction(0.5).write(to: path) == 60)
    let file = try SafetensorsFile(path: path)
    #expect(file.metadata["target_names"] == #"["both_0","both_1"]"#)
    let lower: Matrix<Double> = try file.matrix("lower", rows: 60, columns: 2)
    let upper: Matrix<Double> = try file.matrix("upper", rows: 60, columns: 2)
    let truth: Matrix<Double> = try SafetensorsFile(path: features)
      .matrix("both_test", rows: 60, columns: 2)
    let inside = (0..<60).count { lower[$0, 1] <= truth[$0, 1] && truth[$0, 1] <= upper[$0, 1] }
    #expect(abs(inside - 30) < 14)
    let table = directory.file("p.csv")
    #expect(try prediction(nil).write(to: table) == 60)
    let lines = String(decoding: try directory.read("p.csv"), as: UTF8.self).split(separator: "\n")
    #expect(
      lines[0]
        == "row,predicted_both_0,predicted_both_1,sd_both_0,sd_both_1,lower_0.9_both_0,lower_0.9_both_1,"
        + "upper_0.9_both_0,upper_0.9_both_1")
    #expect(lines.count == 61 && lines[1].split(separator: ",").count == 9)
    // Predictions take the place of predictions, and of nothing else.
    #expect(try prediction(nil).write(to: table) == 60)
    #expect(throws: DataError.self) { try prediction(nil).write(to: features) }
  }

  @Test("weights count rows, and groups are left out together")
  func weightsAndGroups() throws {
    let (plain, _) = try FineTuning(configuration()).run()
    let (weighted, _) = try FineTuning(configuration(["sample-weight": "times"])).run()
    let (grouped, _) = try FineTuning(configuration(["group": "family"])).run()
    #expect(plain.test != weighted.test && plain.test == grouped.test)
    #expect(plain.leftOut?["nll"] != grouped.leftOut?["nll"])
  }

  @Test("rows of equal features are left out one by one, copies of a row together")
  func repeatedRows() throws {
    let path = directory.file("repeated.safetensors")
    var generator = SplitMix64(seed: 3)
    func rows(_ count: Int) -> (x: [Float], y: [Double]) {
      let x = (0..<count).map { Float($0 % 2) }
      return (x, x.map { 10 * Double($0) + generator.normal() })
    }
    let (train, test) = (rows(100), rows(200))
    for copies in [1, 2] {
      var writer = SafetensorsWriter()
      let x = (0..<copies).flatMap { _ in train.x }
      writer.add("X_train", Matrix<Float>(rows: x.count, columns: 1, elements: x))
      writer.add("y_train", (0..<copies).flatMap { _ in train.y })
      writer.add("X_test", Matrix<Float>(rows: 200, columns: 1, elements: test.x))
      writer.add("y_test", test.y)
      try writer.write(to: path)
      let (result, _) = try FineTuning(configuration(["features": path])).run()
      let rmse = try #require(result.leftOut?["rmse"])
      #expect(abs(rmse - result.test["rmse"]) < 0.25, "\(copies) copies: \(rmse)")
      let conformal = result.metrics?.intervals?.first {
        $0.method == "conformal" && $0.level == 0.9
      }
      // 200 rows: three standard deviations.
      #expect(abs(try #require(conformal?.scores["coverage"]) - 0.9) < 0.07)
    }
  }

  @Test("rows of no weight set no interval and are not counted")
  func weightless() throws {
    let path = directory.file("weightless.safetensors")
    let data = try FeatureFile(path: features).dataset(targets: TargetArrays(.regression))
    var writer = SafetensorsWriter()
    for name in ["train", "test"] {
      let split = try data.split(name)
      writer.add("X_\(name)", split.features)
      writer.add(
        "far_\(name)",
        split.values.elements.enumerated().map { $1 + (name == "train" && $0 < 20 ? 1000 : 0) })
    }
    writer.add("counts_train", (0..<Int32(80)).map { $0 < 20 ? 0 : 1 })
    try writer.write(to: path)
    let (result, _) = try FineTuning(
      configuration(["features": path, "target": "far", "sample-weight": "counts"])
    ).run()
    #expect(result.leftOut?["rows"] == 60 && result.test["rmse"] < 0.8)
    let conformal = result.metrics?.intervals?.first { $0.method == "conformal" && $0.level == 0.9 }
    #expect(conformal?.calibratedOn == ConformalIntervals.Source.leftOut.rawValue)
    #expect(try #require(conformal?.scores["mean_width"]) < 5)
  }

  @Test("names of targets that are not of their own are refused")
  func twoOfAName() throws {
    let path = directory.file("names.safetensors")
    var writer = SafetensorsWriter(metadata: ["target_names": #"["a", "a"]"#])
    for name in ["train", "test"] {
      writer.add("X_\(name)", Matrix<Float>(rows: 3, columns: 1, elements: [1, 2, 3]))
      writer.add("y_\(name)", Matrix<Double>(rows: 3, columns: 2, elements: [1, 2, 3, 4, 5, 7]))
    }
    try writer.write(to: path)
    let error = #expect(throws: DataError.self) {
      try FineTuning(configuration(["features": path])).run()
    }
    #expect(error?.description.contains("none of them twice") == true)
  }

  @Test(
    "what cannot be is refused with its place",
    arguments: [
      ("y_train", "80 rows of features and 3 targets"),
      ("nan", "row 7 (from 0): the target is nan"),
      ("large", "at most 1e100"), ("constant", "all 80 rows have the target 2.0"),
      ("cube", "one target a row (rows), or several (rows, targets)"),
    ])
  func badTargets(fault: String, message: String) throws {
    let path = directory.file("bad.safetensors")
    try Self.write(to: path) { writer in
      var values = (0..<80).map { Double($0) }
      if fault == "nan" { values[7] = .nan }
      if fault == "large" { values[7] = 1e200 }
      if fault == "constant" { values = values.map { _ in 2 } }
      if fault == "y_train" { values = [1, 2, 3] }
      if fault == "cube" {
        writer.add("bad_train", values, shape: [20, 2, 2])
      } else {
        writer.add("bad_train", values)
      }
      writer.add("bad_test", (0..<60).map { Double($0) })
    }
    let error = #expect(throws: DataError.self) {
      try FineTuning(configuration(["features": path, "target": "bad"])).run()
    }
    #expect(error?.description.contains(message) == true, "\(error?.description ?? "")")
    // A check says the same before anything is read.
    let checked = #expect(throws: DataError.self) {
      try RunPlan(configuration(["features": path, "target": "bad"]))
    }
    #expect(checked == error)
  }

  @Test("a target that is not there, and targets that are no classes")
  func missingTargets() throws {
    let missing = #expect(throws: DataError.self) {
      try FineTuning(configuration(["target": "neither"])).run()
    }
    #expect(missing?.description.contains("neither_train") == true)
    let classes = #expect(throws: DataError.self) {
      try FineTuning(configuration(["task": "classification"])).run()
    }
    #expect(classes?.description.contains("give --task regression") == true)
  }

  @Test(
    "options for classes are refused",
    arguments: [
      (["calibration": "validation"], "--calibration"), (["epochs": "0"], "--epochs 0"),
      (["temperature-scaling": ""], "--temperature-scaling"),
      (["head": "softmax"], "--head softmax"),
      (["posterior": "diag"], "--posterior"), (["class-weight": "balanced"], "--class-weight"),
      (["prior": "folds"], "--prior"), (["task": "ranking"], "--task is 'ranking'"),
    ])
  func options(given: [String: String], named: String) throws {
    let error = #expect(throws: OptionFault.self) { try configuration(given) }
    #expect(error?.description.contains(named) == true, "\(error?.description ?? "")")
    // Images have classes.
    var images = GivenOptions()
    images["task"] = "regression"
    #expect(throws: OptionFault.self) { try RunConfiguration(images) }
  }

  @Test("rows that belong elsewhere are told apart by the predicted scales")
  func outOfDistribution() throws {
    let path = directory.file("far.safetensors")
    var writer = SafetensorsWriter()
    var generator = SplitMix64(seed: 9)
    writer.add(
      "X_test",
      Matrix<Float>(
        rows: 30, columns: 5, elements: (0..<150).map { _ in Float(20 * generator.normal()) }))
    try writer.write(to: path)
    let (result, _) = try FineTuning(configuration(["ood": path])).run()
    #expect(try #require(result.metrics?.outOfDistribution?["scale"]?["auroc"]) > 0.95)
  }

  @Test("a head of target values from outside is run, stored and compared like the own one")
  func registered() async {
    await #expect(processExitsWith: .success) {
      HeadRegistry.register(
        HeadMethod(
          MeanHead.kind,
          ways: [FittingWay { request in MeanHead(request.values, request.features.columnCount) }],
          kinds: [MeanHead.self]))
      let directory = try TemporaryDirectory()
      let path = directory.file("rows.safetensors")
      try RegressionRunTests.write(to: path)
      var given = GivenOptions()
      given["features"] = path
      given["head"] = MeanHead.kind
      given["output"] = directory.file("out")
      let (result, head) = try FineTuning(try RunConfiguration(given)).run()
      precondition(abs(result.test["r2"]) < 0.2 && result.leftOut == nil)
      let stored = try HeadCheckpoint(path: directory.file("out/head.safetensors")).head
      let rows = try FeatureFile(path: path).features("test")
      let same = try stored.regressor().predict(rows) == head.regressor().predict(rows)
      precondition(same)
    }
  }
}

/// Predicts the mean of the training rows' targets.
private struct MeanHead: RegressionHead {
  static let kind = "Mean"
  let mean, deviation: Double
  let featureCount: Int
  var targetCount: Int { 1 }

  init(_ values: Matrix<Double>, _ featureCount: Int) {
    let mean = values.elements.reduce(0, +) / Double(values.rowCount)
    let square = values.elements.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
    (self.mean, self.featureCount) = (mean, featureCount)
    deviation = (square / Double(values.rowCount)).squareRoot()
  }

  func predict(
    _ features: FeatureMatrix, execution: Execution
  ) throws(NumericsError) -> TargetDistributions {
    try TrainingRows.checkFeatureCount(features, featureCount)
    let rows = features.rowCount
    return try TargetDistributions(
      locations: Matrix(rows: rows, columns: 1, repeating: mean),
      scales: Matrix(rows: rows, columns: 1, repeating: deviation), degreesOfFreedom: [.infinity])
  }

  func encode(into writer: inout SafetensorsWriter) {
    writer.add("moments", [mean, deviation])
  }

  init(decoding file: SafetensorsFile) throws(DataError) {
    featureCount = try file.integer("feature_count", atLeast: 1)
    let moments = try file.vector("moments", count: 2)
    (mean, deviation) = (moments[0], moments[1])
  }
}
