import BllarseNumerics
import BllarseTestSupport
import Foundation
import Testing

@testable import BllarseCore

@Suite("Runs of heads with ordered classes")
struct OrderedProbitRunTests {
  private let directory: TemporaryDirectory
  private let features: String

  init() throws {
    directory = try TemporaryDirectory()
    features = directory.file("ratings.safetensors")
    var writer = SafetensorsWriter()
    for (name, count, seed) in [("train", 200, 1), ("val", 80, 2), ("test", 100, 3)] {
      let (rows, labels) = OrdinalFixture.random(
        rows: count, weights: [1, -0.7, 0.2], cutpoints: [-1, 0, 1.2], seed: seed)
      writer.add("X_\(name)", rows)
      writer.add("y_\(name)", labels)
    }
    writer.add("times_train", (0..<Int32(200)).map { $0 % 3 })
    try writer.write(to: features)
  }

  private func run(_ given: [String: String]) throws -> (result: RunResult, head: any Head) {
    var options = GivenOptions()
    options["features"] = features
    for (name, value) in given { options[name] = value }
    let (result, head) = try FineTuning(try RunConfiguration(options)).run()
    return (result, head)
  }

  @Test("a run has the scores of ordered classes, and a head without an order has not")
  func scores() throws {
    let output = directory.file("out")
    let (result, head) = try run(["head": "OrderedProbit", "output": output])
    #expect(
      Set(result.test.values.keys) == ["acc", "nll", "ece", "brier", "rps", "class_mae"])
    #expect(result.elbo == (head as? OrderedProbitHead)?.logEvidence)
    let stored = try HeadCheckpoint(path: output + "/head.safetensors").head
    let test = try FeatureFile(path: features).dataset(targets: TargetArrays(.classification))
      .split("test")
    #expect(try stored.scores(of: test, execution: .available) == result.test)
    let (other, _) = try run(["head": "softmax", "prior": "1"])
    #expect(Set(other.test.values.keys) == ["acc", "nll", "ece", "brier"])
  }

  @Test("a calibrated head has ordered classes, too")
  func calibrated() throws {
    let (result, head) = try run(["head": "OrderedProbit", "calibration": "validation"])
    #expect(head is CalibratedHead)
    #expect(result.test.isOrdered)
  }

  @Test("options have their effect, or are refused")
  func options() throws {
    func elbo(_ given: [String: String]) throws -> Double {
      try #require(try run(given.merging(["head": "OrderedProbit"]) { $1 }).result.elbo)
    }
    let standard = try elbo([:])
    #expect(try elbo(["prior": "evidence"]) == standard)
    for (name, value) in [
      ("prior", "50"), ("scaling", "rows"), ("scaling", "global"), ("sample-weight", "times"),
      ("class-weight", "balanced"),
    ] { #expect(try elbo([name: value]) != standard, "\(name)") }
    for (name, value) in [("prior", "folds"), ("prior", "-1"), ("scaling", "none"), ("l2", "1")] {
      #expect(throws: OptionFault.self) { try run(["head": "OrderedProbit", name: value]) }
    }
    #expect(throws: OptionFault.self) {
      try run(["head": "OrderedProbit", "calibration": "folds"])
    }
  }

  @Test("a stored head that is damaged is refused with its place")
  func damaged() throws {
    let (_, head) = try run(["head": "OrderedProbit"])
    var whole = SafetensorsWriter()
    whole.metadata["feature_count"] = "3"
    whole.metadata["class_count"] = "4"
    head.encode(into: &whole)
    try whole.write(to: directory.file("whole.safetensors"))
    let file = try SafetensorsFile(path: directory.file("whole.safetensors"))
    let names = ["column_scale", "column_shift", "weights", "cutpoints", "factor"]
    for (name, values) in [
      ("cutpoints", [0, -1, 1]), ("factor", [Double](repeating: 0, count: 21)), ("weights", [1.0]),
    ] as [(String, [Double])] {
      var other = SafetensorsWriter()
      other.metadata = file.metadata
      for part in names {
        other.add(part, part == name ? values : try file.array(part, as: Double.self))
      }
      let path = directory.file("damaged-\(name).safetensors")
      try other.write(to: path)
      let error = #expect(throws: DataError.self) {
        try OrderedProbitHead(decoding: SafetensorsFile(path: path))
      }
      #expect("\(error as Any)".contains(name), "\(error as Any)")
    }
  }

  @Test("the scores of ordered classes by hand")
  func metrics() throws {
    let p = Matrix<Double>(
      rows: 3, columns: 3, elements: [1, 0, 0, 0.2, 0.5, 0.3, 0, 0, 1])
    let predictions = try Predictions(probabilities: p, labels: [0, 2, 0])
    // 0; (0.2² + 0.7²)/2; (1 + 1)/2.
    let expected = (0 + 0.5 * (0.04 + 0.49) + 1) / 3
    let score = try #require(Metrics.rankedProbabilityScore(predictions))
    #expect(score.isClose(to: expected, relative: 1e-7))
    #expect(Metrics.medianClassError(predictions) == 1)
    // A median at exactly a half is the lower class.
    let even = try Predictions(
      probabilities: Matrix<Double>(rows: 1, columns: 2, repeating: 0.5), labels: [1])
    #expect(Metrics.medianClassError(even) == 1)
    #expect(Metrics.rankedProbabilityScore(even) == 0.25)
  }
}
