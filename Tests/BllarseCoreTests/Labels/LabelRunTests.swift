import BllarseNumerics
import BllarseTestSupport
import Foundation
import Synchronization
import Testing

@testable import BllarseCore

@Suite("Runs that predict sets of labels")
struct LabelRunTests {
  private let directory: TemporaryDirectory
  private let features: String

  init() throws {
    directory = try TemporaryDirectory()
    features = directory.file("rows.safetensors")
    try Self.write(to: features)
  }

  private static let names = ["left", "up", "always", "rare"]

  /// Rows of five features with four labels: of two the features tell, one all training rows have, one few have; and
  /// each label by itself, as classes.
  static func write(
    to path: String, _ change: (inout SafetensorsWriter) -> Void = { _ in }
  ) throws {
    var generator = SplitMix64(seed: 6)
    var writer = SafetensorsWriter(metadata: ["label_names": ClassNames.format(names)])
    for (name, count) in [("train", 90), ("val", 40), ("test", 70)] {
      let rows = (0..<count).map { _ in (0..<5).map { _ in Float(generator.normal()) } }
      let sets = rows.enumerated().map { index, row -> [Int32] in
        let noise = (0..<3).map { _ in generator.normal() }
        return [
          Double(row[0] - row[1]) + noise[0] > 0 ? 1 : 0,
          Double(2 * row[2]) + noise[1] > 1 ? 1 : 0,
          name == "train" || index % 2 == 0 ? 1 : 0, Double(row[3]) + noise[2] > 2 ? 1 : 0,
        ]
      }
      writer.add(
        "X_\(name)", Matrix<Float>(rows: count, columns: 5, elements: rows.flatMap { $0 }))
      writer.add("y_\(name)", sets.flatMap { $0 }, shape: [count, 4])
      for (label, name_) in names.enumerated() {
        writer.add("\(name_)_\(name)", sets.map { $0[label] })
      }
    }
    writer.add("times_train", (0..<Int32(90)).map { 1 + $0 % 3 })
    writer.add("family_train", (0..<Int32(90)).map { $0 / 3 })
    change(&writer)
    try writer.write(to: path)
  }

  private func configuration(
    _ given: [String: String] = [:]
  ) throws(OptionFault) -> RunConfiguration {
    var options = GivenOptions()
    options["task"] = "multilabel"
    options["features"] = features
    for (name, value) in given { options[name] = value }
    return try RunConfiguration(options)
  }

  /// The head that a run fits to one label as classes.
  private func alone(
    _ label: Int, _ given: [String: String] = [:]
  ) throws -> (result: RunResult, head: any Head) {
    try FineTuning(
      configuration(
        given.merging(["task": "classification", "target": Self.names[label]]) { $1 })
    ).run()
  }

  @Test("each label is predicted as by the head that is fitted to it alone")
  func independent() throws {
    let output = directory.file("out")
    let (result, head) = try FineTuning(configuration(["output": output])).run()
    let labels = try head.multiLabel()
    #expect(throws: DataError.self) { try head.classifier() }
    let test = try FeatureFile(path: features)
      .dataset(targets: TargetArrays(.multilabel)).split("test")
    let odds = try labels.logOdds(test.features)
    var (losses, estimates) = ([Double](), [Double]())
    for label in [0, 1, 3] {
      let (single, other) = try alone(label)
      let logs = try other.classifier().logProbabilities(test.features)
      #expect((0..<70).allSatisfy { odds[$0, label] == logs[$0, 1] - logs[$0, 0] })
      losses.append(single.test.nll)
      estimates.append(try #require(single.recipe?.estimate?.nll))
      let own = try #require(result.metrics?.labels?[Self.names[label]]?["nll"])
      #expect(own.isClose(to: single.test.nll, relative: 1e-5))
    }
    // The label that does not vary: (90 + 1/2) / (90 + 1).
    let always = log(90.5 / 0.5)
    #expect((0..<70).allSatisfy { Double(odds[$0, 2]).isClose(to: always, relative: 1e-6) })
    losses.append((log(91 / 90.5) + log(91 / 0.5)) / 2)
    estimates.append(log(90 / 89.5))
    #expect(result.test.nll.isClose(to: losses.reduce(0, +) / 4, relative: 1e-5))
    let estimate = try #require(result.leftOut)
    #expect(estimate["rows"] == 90)
    #expect(try #require(estimate["nll"]).isClose(to: estimates.reduce(0, +) / 4, relative: 1e-9))
    #expect(
      result.notes.contains {
        $0.contains("1 of 4 labels is the same in all training rows") && $0.contains("'always'")
      }, "\(result.notes)")

    // What is stored predicts and scores the same.
    let stored = try HeadCheckpoint(path: output + "/head.safetensors")
    #expect(stored.outputNames == Self.names && stored.outputs.task == .multilabel)
    #expect(try stored.head.multiLabel().logOdds(test.features).elements == odds.elements)
    var data = RunConfiguration()
    data.data.featuresPath = features
    let scores = try HeadEvaluation(checkpoint: output + "/head.safetensors", data).run()
    #expect(scores.map(\.split) == ["train", "validation", "test"])
    #expect(scores.last?.scores == result.test)
    let json = try JSON(file: output + "/result.json", advice: "")
    #expect(json["metrics"]?["labels"]?["rare"]?["average_precision"] != nil)
    #expect(json["metrics_info"]?["hamming_loss"]?["direction"] == .string("lower"))
    #expect(json["arguments"]?["task"] == .string("multilabel"))
    #expect(result.trackedMetrics["labels.left.nll"] != nil)
    #expect(result.best?.validation["nll"] == result.splits[1].scores["nll"])
  }

  @Test(
    "any head of classes is fitted to each label, with weights and groups",
    arguments: [
      ["head": "IBProbit", "sample-weight": "times"], ["head": "IBPolyaGamma"],
      ["head": "VBLL", "sample-weight": "times"],
      ["head": "CrossEntropy", "optimizer": "newton"],
      ["head": "CrossEntropy", "optimizer": "adamw", "epochs": "3", "batch-size": "16"],
      ["prior": "evidence", "sample-weight": "times"], ["group": "family"],
      ["class-weight": "balanced", "prior": "1"], ["calibration": "none"],
    ])
  func heads(given: [String: String]) throws {
    let (result, head) = try FineTuning(configuration(given)).run()
    let (single, other) = try alone(1, given)
    let test = try FeatureFile(path: features)
      .dataset(targets: TargetArrays(.multilabel)).split("test")
    let (odds, logs) = (
      try head.multiLabel().logOdds(test.features),
      try other.classifier().logProbabilities(test.features)
    )
    #expect((0..<70).allSatisfy { odds[$0, 1] == logs[$0, 1] - logs[$0, 0] })
    let singles = try [0, 3].map { try alone($0, given).result.iterations }
    #expect(result.iterations == singles.reduce(single.iterations, +))
    let reported = try #require(result.metrics?.labels?["up"]?["nll"])
    #expect(reported.isClose(to: single.test.nll, relative: 1e-5))
  }

  @Test(
    "wherever a run stops, between labels, in a fit or between batches, it goes on to the same bits",
    arguments: [
      ["prior": "1", "scaling": "global"], ["prior": "evidence", "scaling": "global"],
      ["head": "CrossEntropy", "optimizer": "newton"],
      ["head": "CrossEntropy", "optimizer": "adamw", "epochs": "2", "batch-size": "16"],
      [
        "head": "IBProbit", "update": "merge", "epochs": "2", "batch-size": "16",
        "eval-every-batches": "3",
      ],
    ])
  func resumes(given: [String: String]) throws {
    func run(_ output: String, limit: Int = .max, resumes: Bool = false) throws -> Int {
      var configuration = try configuration(given.merging(["threads": "1"]) { $1 })
      configuration.output.path = directory.file(output)
      configuration.output.resumes = resumes
      let counter = Atomic<Int>(0)
      do {
        _ = try FineTuning(
          configuration,
          shouldStop: { counter.add(1, ordering: .relaxed).newValue > limit }
        ).run()
      } catch is RunInterrupted {}
      return counter.load(ordering: .relaxed)
    }
    func files(_ output: String) throws -> [[UInt8]] {
      let head = try directory.read("\(output)/head.safetensors")
      let records = try String(
        contentsOfFile: directory.file("\(output)/metrics.jsonl"), encoding: .utf8
      ).split(separator: "\n").map { line in
        // All but the time.
        let json = try JSON.parse(String(line))
        guard case .object(let members) = json else { return "" }
        return members.filter { $0.key != "seconds" }
          .map { "\($0.key) \($0.value.compact)" }.joined(separator: ",")
      }
      // What the fits said of themselves before the stop is not lost.
      let result = try JSON(file: directory.file("\(output)/result.json"), advice: "")
      let parts = ["estimate", "iterations", "elbo", "notes", "test", "metrics"].map { key in
        "\(key) \(result[key]?.compact ?? "")"
      }
      return [head, Array(records.joined(separator: "\n").utf8), Array(parts.joined().utf8)]
    }
    let count = try run("whole")
    let whole = try files("whole")
    #expect(count > 8)
    for limit in (1..<5).map({ $0 * count / 5 }) {
      let output = "part\(limit)"
      _ = try run(output, limit: limit)
      _ = try run(output, limit: count / 3 + 1, resumes: true)
      _ = try run(output, resumes: true)
      #expect(try files(output) == whole, "stopped after \(limit) of \(count)")
    }
  }

  @Test("predictions are written as a table and as tensors")
  func predictions() throws {
    let output = directory.file("out")
    _ = try FineTuning(configuration(["prior": "1", "output": output])).run()
    let prediction = HeadPrediction(
      checkpoint: output + "/head.safetensors", featuresPath: features, split: nil, threadCount: 1)
    let (path, table) = (directory.file("p.safetensors"), directory.file("p.csv"))
    #expect(try prediction.write(to: path) == 70)
    let file = try SafetensorsFile(path: path)
    #expect(file.metadata["label_names"] == ClassNames.format(Self.names))
    let p: Matrix<Float> = try file.matrix("probabilities", rows: 70, columns: 4)
    let odds: Matrix<Float> = try file.matrix("logits", rows: 70, columns: 4)
    let predicted: Matrix<Float> = try file.matrix("predicted", rows: 70, columns: 4)
    let entropy: [Double] = try file.array("entropy")
    for row in 0..<70 {
      var sum = 0.0
      for label in 0..<4 {
        let q = 1 / (1 + exp(-Double(odds[row, label])))
        #expect(Double(p[row, label]).isClose(to: q, relative: 1e-6))
        #expect(predicted[row, label] == (q > 0.5 ? 1 : 0))
        sum -= q * log(q) + (1 - q) * log1p(-q)
      }
      #expect(entropy[row].isClose(to: sum, relative: 1e-6))
    }
    #expect(try prediction.write(to: table) == 70)
    let lines = String(decoding: try directory.read("p.csv"), as: UTF8.self).split(separator: "\n")
    #expect(lines[0].hasPrefix("row,predicted,p_left,p_up,p_always,p_rare,logit_left"))
    let first = zip(Self.names, predicted.row(0)).filter { $0.1 > 0 }.map(\.0)
    #expect(lines[1].split(separator: ",")[1] == first.joined(separator: ";"))
    #expect(try prediction.write(to: table) == 70)
  }

  @Test("rows that belong elsewhere have other entropies, and heads are compared row by row")
  func elsewhere() throws {
    let (far, output) = (directory.file("far.safetensors"), directory.file("out"))
    var writer = SafetensorsWriter()
    // In the middle, where each answer is open.
    writer.add("X_test", Matrix<Float>(rows: 30, columns: 5, repeating: 0))
    try writer.write(to: far)
    let (result, head) = try FineTuning(
      configuration(["prior": "1", "calibration": "none", "ood": far, "output": output])
    ).run()
    let auroc = try #require(result.metrics?.outOfDistribution?["entropy"]?["auroc"])
    #expect(auroc > 0.6)
    // Losses of rows are means over labels, by the definition.
    let test = try FeatureFile(path: features)
      .dataset(targets: TargetArrays(.multilabel)).split("test")
    let odds = try head.multiLabel().logOdds(test.features)
    let losses = try head.losses(of: test)
    for row in 0..<70 {
      let loss = (0..<4).reduce(0.0) { sum, label in
        let p = 1 / (1 + exp(-Double(odds[row, label])))
        return sum - log(test.labelSets[row, label] ? p : 1 - p) / 4
      }
      #expect(losses[row].isClose(to: loss, relative: 1e-9))
    }
    let other = directory.file("other")
    let (worse, _) = try FineTuning(configuration(["prior": "1000", "output": other])).run()
    let comparison = try HeadComparison(
      checkpoints: [output, other].map { $0 + "/head.safetensors" }, configuration())
    let excess = comparison.excesses[1 - comparison.best].mean
    #expect(excess.isClose(to: abs(worse.test.nll - result.test.nll), relative: 1e-9))
  }

  @Test("a label of which no row can be left out is named, and the estimate is of the others")
  func rareLabel() throws {
    let path = directory.file("rare.safetensors")
    try Self.write(to: path) { writer in
      for (name, count) in [("train", 90), ("val", 40), ("test", 70)] {
        writer.add(
          "two_\(name)", (0..<Int32(2 * count)).map { $0 % 2 == 0 ? $0 / 2 % 2 : $0 == 1 ? 1 : 0 },
          shape: [count, 2])
      }
    }
    let (result, _) = try FineTuning(configuration(["features": path, "target": "two"])).run()
    let estimate = try #require(result.leftOut)
    #expect(estimate["labels"] == 1 && estimate["rows"] == 90)
    let first = try #require(result.metrics?.labels?["0"])
    #expect(first["estimated_nll"] == estimate["nll"] && first["prior_precision"] != nil)
    #expect(result.metrics?.labels?["1"]?["estimated_nll"] == nil)
    let note = "the estimate is of 1 of 2 labels: no row can be left out for label '1'"
    #expect(result.notes.contains { $0.contains(note) }, "\(result.notes)")
  }

  @Test("what a label that does not vary loses on new rows is that of each row under the others")
  func constantLabel() throws {
    let features = FeatureMatrix(Matrix<Float>(rows: 4, columns: 1, elements: [1, 2, 3, 4]))
    func label(_ weights: [Double]?) throws -> ConstantLabel {
      let split = try FeatureSplit(features: features, labels: [1, 1, 1, 1], weights: weights)
      return try #require(ConstantLabel(split))
    }
    let plain = try #require(try label(nil).estimate)
    #expect(plain.rows == 4 && plain.nll.isClose(to: log(4 / 3.5), relative: 1e-14))
    let weighted = try #require(try label([2, 1, 0, 1]).estimate)
    #expect(weighted.rows == 3)
    #expect(
      weighted.nll.isClose(to: (2 * log(3 / 2.5) + 2 * log(4 / 3.5)) / 4, relative: 1e-14))
    #expect(ConstantLabel(try FeatureSplit(features: features, labels: [1, 1, 0, 1])) == nil)
  }

  @Test("names of labels that trackers do not take are changed, each to one of its own")
  func trackedNames() {
    let names = RunResult.trackedNames(of: ["a/b", "a:b", "plain one", "ü;q"])
    #expect(names == ["a/b": "a_b", "a:b": "a_b_2", "plain one": "plain one", "ü;q": "ü_q"])
    // A letter and a mark that is none.
    #expect(RunResult.trackedNames(of: ["e\u{301}x"]) == ["e\u{301}x": "e_x"])
  }

  @Test("a head of other labels in other places is not scored")
  func otherNames() throws {
    let output = directory.file("out")
    _ = try FineTuning(configuration(["prior": "1", "output": output])).run()
    let path = directory.file("other.safetensors")
    let data = try FeatureFile(path: features).dataset(targets: TargetArrays(.multilabel))
    var writer = SafetensorsWriter(metadata: [
      "label_names": ClassNames.format(["up", "left", "always", "rare"])
    ])
    let test = try data.split("test")
    writer.add("X_test", test.features)
    writer.add(
      "y_test",
      (0..<70).flatMap { row in [1, 0, 2, 3].map { test.labelSets[row, $0] ? Int32(1) : 0 } },
      shape: [70, 4])
    try writer.write(to: path)
    var other = RunConfiguration()
    other.data.featuresPath = path
    let error = #expect(throws: DataError.self) {
      try HeadEvaluation(checkpoint: output + "/head.safetensors", other).run()
    }
    #expect(error?.description.contains("number 0 is 'up', expected 'left'") == true)
  }

  @Test(
    "what cannot be is refused with its place",
    arguments: [
      ("list", "a column of zeros and ones for each label (rows, labels)"),
      ("two", "row 7, column 1 (from 0): the value is 2.0"), ("rows", "3 label sets"),
      ("same", "all 90 rows have the same labels"), ("narrow", "there are 1 labels"),
    ])
  func badLabels(fault: String, message: String) throws {
    let path = directory.file("bad.safetensors")
    try Self.write(to: path) { writer in
      var values = (0..<Int32(180)).map { $0 % 4 == 0 ? Int32(1) : 0 }
      if fault == "two" { values[15] = 2 }
      if fault == "same" { values = values.map { _ in 1 } }
      switch fault {
      case "list": writer.add("bad_train", Array(values.prefix(90)))
      case "rows": writer.add("bad_train", [Int32](repeating: 1, count: 6), shape: [3, 2])
      default: writer.add("bad_train", values, shape: [90, 2])
      }
      let width = fault == "narrow" ? 1 : 2
      writer.add(
        "bad_test", (0..<Int32(70 * width)).map { $0 % 2 }, shape: [70, width])
    }
    let error = #expect(throws: DataError.self) {
      try FineTuning(configuration(["features": path, "target": "bad"])).run()
    }
    #expect(error?.description.contains(message) == true, "\(error?.description ?? "")")
    let checked = #expect(throws: DataError.self) {
      try RunPlan(configuration(["features": path, "target": "bad"]))
    }
    #expect(checked == error)
  }

  @Test(
    "options that are not for sets of labels are refused",
    arguments: [
      (["calibration": "validation"], "--calibration validation"), (["epochs": "0"], "--epochs 0"),
      (["temperature-scaling": ""], "--temperature-scaling"),
      (["head": "gaussian"], "--head gaussian"),
      (["head": "laplace", "weights": "w.npz"], "--head laplace"),
    ])
  func options(given: [String: String], named: String) throws {
    let error = #expect(throws: OptionFault.self) { try configuration(given) }
    #expect(error?.description.contains(named) == true, "\(error?.description ?? "")")
    var images = GivenOptions()
    images["task"] = "multilabel"
    #expect(throws: OptionFault.self) { try RunConfiguration(images) }
  }

  @Test("a full covariance is one of two classes, however many labels there are")
  func fullCovariance() throws {
    let path = directory.file("many.safetensors")
    var writer = SafetensorsWriter()
    for (name, count) in [("train", 300), ("test", 10)] {
      writer.add("X_\(name)", Matrix<Float>(rows: count, columns: 200, repeating: 1))
      writer.add("y_\(name)", (0..<Int32(300 * count)).map { $0 / 7 % 2 }, shape: [count, 300])
    }
    try writer.write(to: path)
    let plan = try RunPlan(
      configuration(["features": path, "posterior": "full", "prior": "1"]))
    #expect(plan.outputs.count == 300 && plan.memoryBytes < 1 << 30)
  }

  @Test("a head with a label of a kind that there is not, or of other features, is refused")
  func damaged() throws {
    let output = directory.file("out")
    _ = try FineTuning(configuration(["prior": "1", "output": output])).run()
    let path = output + "/head.safetensors"
    for (old, new, message) in [
      (#""label3.head":"Laplace""#, #""label3.head":"Leplace""#, "the kind of head is 'Leplace'"),
      (#""label_count":"4""#, #""label_count":"5""#, "label4.*"),
    ] {
      let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
      let text = String(decoding: bytes, as: Unicode.ASCII.self)
      guard let range = text.range(of: old) else {
        Issue.record("no \(old)")
        continue
      }
      var changed = bytes
      let start = text.distance(from: text.startIndex, to: range.lowerBound)
      changed.replaceSubrange(start..<start + old.utf8.count, with: Array(new.utf8))
      let bad = directory.file("bad.safetensors")
      try changed.write(to: URL(fileURLWithPath: bad))
      let error = #expect(throws: DataError.self) { try HeadCheckpoint(path: bad) }
      #expect(error?.description.contains(message) == true, "\(error?.description ?? "")")
    }
  }
}
