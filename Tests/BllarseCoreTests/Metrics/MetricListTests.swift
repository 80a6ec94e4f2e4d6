import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore

@Suite("The list of metrics")
struct MetricListTests {
  @Test(
    "every metric has a plain name of its own, a unit and a meaning; those without direction are known"
  )
  func described() throws {
    let metrics = Metric.all
    #expect(Set(metrics.map(\.name)).count == metrics.count)
    for metric in metrics {
      #expect(metric.name.allSatisfy { $0.isLowercase || $0.isNumber || $0 == "_" })
      #expect(!metric.unit.isEmpty && !metric.meaning.isEmpty, "\(metric.name)")
      #expect(!metric.meaning.contains { $0 == "\n" || $0 == "|" }, "\(metric.name)")
    }
    #expect(
      Set(metrics.filter { $0.direction == nil }.map(\.name)) == [
        "mean_confidence", "positives", "coverage", "threshold", "parameters", "prior_precision",
        "l2",
        "temperature", "inverse_temperature", "noise_precision",
      ])
    #expect(Metric.ofSplits().map(\.name) == ["acc", "nll", "ece", "brier"])
    #expect(
      Metric.ofSplits(.multilabel).map(\.name)
        == ["nll", "ece", "brier", "hamming_loss", "subset_acc"])
    #expect(Metric.ofSplits(.regression).map(\.name) == ["nll", "crps", "rmse", "mae", "r2"])
    // Names that carry their bins say what is computed.
    let one = try Predictions(
      probabilities: Matrix<Double>(rows: 4, columns: 2, repeating: 0.5), labels: [0, 1, 1, 1])
    let values = Metric.values(of: one, everySplit: false)
    #expect(values["ece_equal_width_15"] == 0.25 && values["mce_equal_width_20"] == 0.25)
    #expect(values["rmsce_equal_width_20"] == 0.25 && values["ece_equal_mass_20"] == 0.25)
    #expect(values["ece_classwise_20"] == 0.25 && values["balanced_acc"] == 0.5)
  }

  @Test("the table of docs/metrics.md is the list")
  func documentation() throws {
    let rows = Metric.all.map { metric in
      let place =
        switch metric.source {
        case .split: "every split, of classes"
        case .orderedSplit: "every split, of ordered classes"
        case .any(_, let targets, _):
          targets == nil ? "every split, of classes and labels" : "every split"
        case .splitTargets: "every split, of values"
        case .splitLabels: "every split, of labels"
        case .test: "test split"
        case .testTargets: "test split, of values"
        case .testLabels: "test split, of labels"
        case .sets: "conformal sets"
        case .detection: "`--ood`"
        case .fit: "fit, run"
        }
      return
        "| `\(metric.name)` | \(metric.direction?.rawValue ?? "") | \(metric.unit) | \(place) | "
        + "\(metric.meaning) |"
    }
    let text = try String(
      contentsOfFile: Fixtures.packageRoot + "/docs/metrics.md", encoding: .utf8)
    let table = text.split(separator: "\n").filter { $0.hasPrefix("| `") }.map(String.init)
    #expect(table == rows, "the table should be\n\(rows.joined(separator: "\n"))")
  }

  @Test("a metric is better by its direction, and never by a value that is no number")
  func better() throws {
    let (accuracy, loss) = (Metric.ofSplits()[0], Metric.ofSplits()[1])
    #expect(accuracy.isBetter(0.9, than: 0.8) && !accuracy.isBetter(0.8, than: 0.9))
    #expect(loss.isBetter(0.1, than: 0.2) && !loss.isBetter(0.2, than: 0.2))
    #expect(!accuracy.isBetter(.nan, than: 0) && !loss.isBetter(.nan, than: 0))
    let confidence = try #require(Metric.all.first { $0.name == "mean_confidence" })
    #expect(!confidence.isBetter(1, than: 0) && !confidence.isBetter(0, than: 1))
  }

  @Test(
    "names that are taken or that no tracker takes are refused", arguments: ["nll", "", "a.b", "ä"])
  func refused(name: String) {
    let error = #expect(throws: DataError.self) {
      try Metric.register(Metric(name: name, direction: nil, unit: "1", meaning: "m") { _ in 0 })
    }
    #expect(error?.description.contains("'\(name)'") == true)
    #expect(Metric.all.count { $0.name == name } == (name == "nll" ? 1 : 0))
  }

  /// A run on features that are made up, with a validation split and out-of-distribution rows.
  static func run(_ directory: TemporaryDirectory) throws -> (result: RunResult, json: JSON) {
    var configuration = RunConfiguration()
    configuration.data.featuresPath = directory.file("features.safetensors")
    configuration.outOfDistributionPath = directory.file("ood.safetensors")
    configuration.output.path = directory.file("out")
    configuration.threadCount = 1
    var generator = SplitMix64(seed: 5)
    func matrix(_ rows: Int, shift: Double) -> Matrix<Float> {
      Matrix<Float>(
        rows: rows, columns: 5,
        elements: (0..<5 * rows).map {
          Float(shift + 1.5 * generator.normal() + ($0 % 5 == $0 / 5 % 4 ? 2 : 0))
        })
    }
    var writer = SafetensorsWriter()
    for (name, rows) in [("train", 80), ("test", 50)] {
      writer.add("X_\(name)", matrix(rows, shift: 0))
      writer.add("y_\(name)", (0..<rows).map { Int32($0 % 4) })
    }
    try writer.write(to: directory.file("features.safetensors"))
    var other = SafetensorsWriter()
    other.add("X_test", matrix(30, shift: 9))
    try other.write(to: directory.file("ood.safetensors"))
    let result = try FineTuning(configuration).run().result
    let text = try String(contentsOfFile: directory.file("out/result.json"), encoding: .utf8)
    return (result, try JSON.parse(text))
  }

  @Test("a result says of each metric that it holds which values are better, and its unit")
  func information() throws {
    let (result, json) = try Self.run(try TemporaryDirectory())
    guard case .object(let known)? = json["metrics_info"] else {
      Issue.record("there is no metrics_info")
      return
    }
    #expect(json["metrics_info"]?["acc"]?["direction"] == .string("higher"))
    #expect(json["metrics_info"]?["e_aurc"]?["direction"] == .string("lower"))
    #expect(json["metrics_info"]?["nll"]?["unit"] == .string("nats"))
    #expect(json["metrics_info"]?["coverage"]?["direction"] == .null)
    let names = Set(known.map(\.key))
    #expect(names.isSuperset(of: ["auroc", "balanced_acc", "seconds", "elbo", "nll_se"]))
    // Four classes have no fifth, and no calibration was asked for.
    #expect(names.isDisjoint(with: ["top_5_acc", "requested", "loss"]))
    #expect(result.metrics?.test["top_3_acc"] != nil)
    // Nothing that was there is gone.
    guard case .object(let members) = json else { return }
    #expect(
      Set(members.map(\.key)) == [
        "arguments", "baseline", "best", "calibration", "certificate", "chosen", "data", "elbo",
        "estimate", "iterations", "memory", "metrics", "metrics_info", "notes", "recipe", "roles",
        "seconds",
        "splits", "temperature_scaling", "test", "threads", "train", "uncalibrated", "versions",
      ])
    #expect(
      json["baseline"] == .null && json["metrics"]?["bootstrap"]?["replicates"] == .int(1000))
  }

  @Test(
    "a tracker has every score of the test split, of intervals, sets, detection and the estimate")
  func tracked() throws {
    let result = try Self.run(try TemporaryDirectory()).result
    let tracked = result.trackedMetrics
    let metrics = try #require(result.metrics)
    for (name, value) in result.test.values.merging(metrics.test, uniquingKeysWith: { $1 }) {
      #expect(tracked["test.\(name)"] == value, "\(name)")
    }
    for (name, value) in result.train.values { #expect(tracked["train.\(name)"] == value) }
    let conformal = try #require(metrics.conformal)
    #expect(conformal.count == 6)
    for sets in conformal {
      for name in ["coverage", "mean_size", "empty_share", "threshold"] {
        let value = tracked["conformal.\(sets.method).\(sets.level).\(name)"]
        #expect(value == sets.scores[name], "\(name)")
      }
    }
    for (score, detection) in try #require(metrics.outOfDistribution) {
      #expect(Set(detection.keys) == ["auroc", "fpr95", "aupr_out"])
      for (name, value) in detection { #expect(tracked["ood.\(score).\(name)"] == value) }
    }
    let estimate = try #require(result.recipe?.estimate)
    #expect(tracked["estimate.nll"] == estimate.nll && tracked["estimate.acc"] == estimate.acc)
    #expect(tracked["estimate.nll_se"] == estimate.nllError)
    #expect(tracked["estimate.ece"] == estimate.ece && tracked["estimate.brier"] == estimate.brier)
    #expect(tracked["bootstrap.nll.lower"] == metrics.bootstrap["nll"]?.lower)
    #expect(tracked["bootstrap.acc.upper"] == metrics.bootstrap["acc"]?.upper)
    #expect(tracked["seconds.fit"] != nil && tracked["seconds.total"] != nil)
    #expect(tracked["chosen.prior_precision"] == result.chosen?.numbers["prior_precision"])
    // Numbers that are no metrics stay in the file.
    #expect(tracked.keys.allSatisfy { !$0.hasSuffix(".level") && !$0.contains("reliability") })
    #expect(tracked["threads"] == nil && tracked["estimate.rows"] == nil)
  }

  @Test("a metric that a program registers is computed, tracked and described like the others")
  func registered() async {
    // In a process of its own: the list is one for all runs.
    await #expect(processExitsWith: .success) {
      try Metric.register(
        Metric(
          name: "worst_class_acc", direction: .higher, unit: "share",
          meaning: "accuracy of the class that is predicted worst"
        ) { ConfusionMatrix($0).recall.filter { !$0.isNaN }.min() })
      try Metric.register(
        Metric(
          name: "class_0_share", direction: nil, unit: "share", meaning: "rows of the first class",
          everySplit: true
        ) { Double($0.rows.count { $0.label == 0 }) / Double($0.count) })
      let (result, json) = try MetricListTests.run(try TemporaryDirectory())
      let worst = try #require(result.metrics?.test["worst_class_acc"])
      #expect(worst <= result.test.acc)
      #expect(result.trackedMetrics["test.worst_class_acc"] == worst)
      #expect(json["metrics"]?["test"]?["worst_class_acc"] != nil)
      #expect(json["metrics_info"]?["worst_class_acc"]?["direction"] == .string("higher"))
      #expect(result.train["class_0_share"] == 0.25 && result.test["class_0_share"] == 0.26)
      #expect(json["splits"]?["test"]?["class_0_share"] == .number(0.26))
      #expect(result.trackedMetrics["test.class_0_share"] == 0.26)
      #expect(Metric.ofSplits().last?.name == "class_0_share")
    }
  }
}
