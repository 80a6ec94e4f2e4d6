import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Class probabilities")
struct SoftTargetsTests {
  private func message(_ rows: [Double], columns: Int) -> String? {
    let error = #expect(throws: DataError.self) {
      try ClassDistributions(
        Matrix<Double>(rows: rows.count / columns, columns: columns, elements: rows))
    }
    return error?.description
  }

  @Test("rows are divided by their sums, and their most probable classes are the first of equals")
  func normalization() throws {
    let found = try ClassDistributions(
      Matrix<Double>(rows: 3, columns: 2, elements: [0.25, 0.7505, 0.5, 0.5, 1, 0]))
    #expect(found.labels == [1, 0, 0])
    #expect(!found.areCertain)
    #expect(Double(found.probabilities[0, 0]).isClose(to: 0.25 / 1.0005, relative: 1e-7))
    let certain = try ClassDistributions(
      Matrix<Float>(rows: 2, columns: 2, elements: [0, 1, 1, 0]))
    #expect(certain.areCertain && certain.labels == [1, 0])
    #expect(Targets.distributions(certain).softDistributions == nil)
    let binary = try ClassDistributions(ofClassOne: [0.25, 1])
    #expect(binary.probabilities.elements == [0.75, 0.25, 0, 1])
  }

  @Test("numbers that are no probabilities are refused by row")
  func faults() throws {
    #expect(
      message([0.5, 0.5, 0.5, 0.502], columns: 2)?.contains("row 1 (from 0): the 2 class") == true)
    #expect(message([0.5, 0.5, 1.5, -0.5], columns: 2)?.contains("row 1, column 1") == true)
    #expect(message([.infinity, 0], columns: 2)?.contains("probability is inf") == true)
    #expect(message([1, 1], columns: 1)?.contains("there is 1 column") == true)
    #expect(throws: DataError.self) { try ClassDistributions(ofClassOne: [0.5, 1.5]) }
    #expect(throws: DataError.self) { try ClassDistributions(ofClassOne: [.nan]) }
    // Rows without any.
    #expect(try ClassDistributions(Matrix<Double>.zeros(0, 3)).labels.isEmpty)
  }

  @Test("intervals of scores are of the probabilities, and a calibration error of parts has none")
  func intervals() throws {
    var generator = SplitMix64(seed: 4)
    let shares = (0..<80).flatMap { _ -> [Double] in
      let p = 1 / (1 + exp(-2 * generator.normal()))
      return [p, 1 - p]
    }
    let targets = try ClassDistributions(Matrix<Double>(rows: 80, columns: 2, elements: shares))
    let noisy = (0..<80).flatMap { row -> [Double] in
      let odds = log(shares[2 * row] / shares[2 * row + 1]) + 0.5 * generator.normal()
      return [-log1p(exp(-odds)), -log1p(exp(odds))]
    }
    let logs = Matrix<Double>(rows: 80, columns: 2, elements: noisy)
    let soft = try Predictions(
      logProbabilities: logs, labels: targets.labels, distributions: targets)
    let intervals = Metrics.bootstrapIntervals(soft, replicateCount: 2000)
    #expect(intervals["ece"] == nil)
    // 1.96 standard errors of the mean on either side.
    for (name, losses) in [
      ("brier", soft.rows.map(\.brier)), ("nll", soft.rows.map { -$0.logLikelihood }),
    ] {
      let mean = losses.reduce(0, +) / 80
      let error = (losses.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 80 / 80).squareRoot()
      let interval = try #require(intervals[name])
      #expect(interval.value.isClose(to: mean, relative: 1e-12))
      #expect((interval.upper - interval.value).isClose(to: 1.96 * error, relative: 0.3), "\(name)")
      #expect((interval.value - interval.lower).isClose(to: 1.96 * error, relative: 0.3), "\(name)")
    }
    let hard = try Predictions(logProbabilities: logs, labels: targets.labels)
    #expect(Metrics.bootstrapIntervals(hard)["ece"] != nil)
  }

  @Test("training rows that are taken must show two classes, and ordered classes keep their scores")
  func runs() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("soft.safetensors")
    var writer = SafetensorsWriter()
    for (name, count) in [("train", 60), ("test", 30)] {
      let x = (0..<count).map { Float($0 % 15) / 5 - 1.4 }
      writer.add("X_\(name)", Matrix<Float>(rows: count, columns: 1, elements: x))
      writer.add(
        "y_\(name)",
        Matrix<Float>(
          rows: count, columns: 3,
          elements: (0..<count).flatMap { row -> [Float] in
            if name == "train", row < 20 { return [1, 0, 0] }
            return x[row] < -0.4
              ? [0.7, 0.2, 0.1] : x[row] < 0.6 ? [0.2, 0.6, 0.2] : [0.1, 0.2, 0.7]
          }))
    }
    try writer.write(to: path)
    func run(_ words: [String: String]) throws -> RunResult {
      var given = GivenOptions()
      given["features"] = path
      for (name, value) in words { given[name] = value }
      return try FineTuning(RunConfiguration(given)).run().result
    }
    let error = #expect(throws: DataError.self) {
      try run(["prior": "1", "max-train-samples": "15"])
    }
    #expect(error?.description.contains("are of one class") == true)
    let ordered = try run(["head": "OrderedProbit"])
    #expect(ordered.test.isOrdered && ordered.test["class_mae"] < 0.7)
    #expect(ordered.metrics?.bootstrap["ece"] == nil)
  }

  @Test("copies have the weights of their classes, and stay together within their groups")
  func copies() throws {
    let targets = try ClassDistributions(
      Matrix<Double>(rows: 3, columns: 3, elements: [0.5, 0.25, 0.25, 0, 1, 0, 0, 0.5, 0.5]))
    let features = FeatureMatrix(Matrix<Float>(rows: 3, columns: 1, elements: [1, 2, 3]))
    let split = try FeatureSplit(
      features: features, targets: .distributions(targets), weights: [2, 1, 4], groups: [7, 7, 3])
    #expect(split.labels == [0, 1, 1])
    let copied = split.copyingRows()
    #expect(copied.labels == [0, 1, 2, 1, 1, 2])
    #expect(copied.weights == [1, 0.5, 0.5, 1, 2, 2])
    #expect(copied.groups == [0, 0, 0, 0, 1, 1])
    #expect(copied.features.converted(to: Float.self).elements == [1, 1, 1, 2, 3, 3])
    #expect(RowCopies.count(targets) == 6)
    let plain = try FeatureSplit(features: features, targets: .distributions(targets))
    #expect(plain.copyingRows().groups == [0, 0, 0, 1, 2, 2])
    // Other probabilities are other rows.
    let hard = try FeatureSplit(features: features, labels: [0, 1, 1])
    #expect(hard.copyingRows().weights == nil)
    #expect(plain.fingerprint != hard.fingerprint)
  }

  @Test("class factors move weight between classes, not what a copy of each class counts")
  func classFactors() throws {
    let targets = try ClassDistributions(
      Matrix<Double>(rows: 2, columns: 2, elements: [0.25, 0.75, 1, 0]))
    let (weighed, weights) = targets.weighingClasses(by: [3, 0.5], weights: [2, 1])
    for row in 0..<2 {
      for k in 0..<2 {
        let expected = [2.0, 1][row] * [3, 0.5][k] * Double(targets.probabilities[row, k])
        #expect(
          (weights[row] * Double(weighed.probabilities[row, k])).isClose(
            to: expected, relative: 1e-6))
      }
    }
  }

  @Test("a plan counts the copies where rows are copied")
  func memory() throws {
    let directory = try TemporaryDirectory()
    var generator = SplitMix64(seed: 3)
    let (rows, classes) = (4000, 10)
    let features = Matrix<Float>(
      rows: rows, columns: 32, elements: (0..<rows * 32).map { _ in Float(generator.normal()) })
    let shares = (0..<rows).flatMap { _ in
      let values = (0..<classes).map { _ in generator.uniform() + 0.01 }
      return values.map { Float($0 / values.reduce(0, +)) }
    }
    for name in ["soft", "hard"] {
      var writer = SafetensorsWriter()
      for split in ["train", "test"] {
        writer.add("X_" + split, features)
        if name == "soft" {
          writer.add("y_" + split, Matrix(rows: rows, columns: classes, elements: shares))
        } else {
          writer.add("y_" + split, (0..<rows).map { Int32($0 % classes) })
        }
      }
      try writer.write(to: directory.file(name))
    }
    func bytes(_ head: String, _ name: String) throws -> Double {
      var configuration = RunConfiguration()
      configuration.method.head = head
      configuration.data.featuresPath = directory.file(name)
      return Double(try RunPlan(configuration).memoryBytes)
    }
    let copies = Double(rows * classes * 4 * 32)
    #expect(try bytes("VBLL", "soft") - bytes("VBLL", "hard") > copies)
    #expect(try bytes("IBProbit", "soft") - bytes("IBProbit", "hard") > copies)
    #expect(try bytes("softmax", "soft") - bytes("softmax", "hard") < copies)
  }
}
