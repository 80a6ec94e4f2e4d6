import BllarseNumerics
import BllarseTestSupport
import Foundation
import Synchronization
import Testing

@testable import BllarseCore
@testable import BllarseModels

/// Every head that a run fits, by every way of fitting it, with every map to the validation split.
@Suite("Runs with --calibration, for every head")
struct CalibratedRunTests {
  private let directory: TemporaryDirectory
  private let features: String

  init() throws {
    directory = try TemporaryDirectory()
    features = directory.file("features.safetensors")
    var generator = SplitMix64(seed: 5)
    var writer = SafetensorsWriter()
    for (name, rows) in [("train", 60), ("val", 80), ("test", 50)] {
      var elements: [Float] = []
      for row in 0..<rows {
        for column in 0..<5 {
          elements.append(Float(1.5 * generator.normal() + (column == row % 4 ? 2 : 0)))
        }
      }
      writer.add("X_\(name)", Matrix<Float>(rows: rows, columns: 5, elements: elements))
      writer.add("y_\(name)", (0..<rows).map { Int32($0 % 4) })
    }
    try writer.write(to: features)
  }

  enum Fit: String, CaseIterable, Sendable {
    case recipe, probit, parityConverged, parityMerge, merge, cavi, sites
    case crossEntropyNewton, crossEntropyAdam, crossEntropyIVON, squaredErrorNewton,
      squaredErrorLion
    case polyaGamma, polyaGammaMerge, stickBreaking, stickBreakingMerge

    func apply(to configuration: inout RunConfiguration) {
      configuration.epochs = 3
      configuration.method[FitOptions.batchSize] = 16
      configuration.method[FitOptions.updateIterations] = 4
      configuration.method.head = "IBProbit"
      switch self {
      case .recipe: configuration.method.head = HeadRegistry.softmax
      case .probit: break
      case .parityConverged: configuration.method[FitOptions.parity] = true
      case .parityMerge:
        configuration.method[FitOptions.parity] = true
        configuration.method.wayName = "merge"
      case .merge: configuration.method.wayName = "merge"
      case .cavi: configuration.method.wayName = "cavi"
      case .sites: configuration.method.wayName = "sites"
      case .crossEntropyNewton, .crossEntropyAdam, .crossEntropyIVON:
        configuration.method.head = "CrossEntropy"
      case .squaredErrorNewton, .squaredErrorLion: configuration.method.head = "MSE"
      case .polyaGamma, .polyaGammaMerge: configuration.method.head = "IBPolyaGamma"
      case .stickBreaking, .stickBreakingMerge:
        configuration.method.head = "MultinomialPolyaGamma"
      }
      switch self {
      case .crossEntropyAdam: configuration.method.wayName = "adamw"
      case .crossEntropyIVON: configuration.method.wayName = "ivon"
      case .squaredErrorLion: configuration.method.wayName = "lion"
      case .polyaGammaMerge, .stickBreakingMerge: configuration.method.wayName = "merge"
      default: break
      }
    }
  }

  private func configuration(
    _ fit: Fit, _ calibration: RunConfiguration.Calibration, output: String
  ) -> RunConfiguration {
    var configuration = RunConfiguration()
    configuration.data.featuresPath = features
    configuration.output.path = directory.file(output)
    configuration.threadCount = 1
    configuration.output.saveEvery = 1
    fit.apply(to: &configuration)
    configuration.calibration = calibration
    return configuration
  }

  @Test(
    "a map is fitted, never hurts the rows it was fitted to, is stored, and is reported",
    arguments: Fit.allCases)
  func everyHead(fit: Fit) throws {
    let (result, fitted) = try FineTuning(configuration(fit, .validation, output: "out")).run()
    let head = try fitted.classifier()
    let data = try FeatureFile(path: features).dataset()
    let (validation, test) = (try data.split("validation"), try data.split("test"))

    // 1. What is reported is what the head says, with the map and without it.
    #expect(result.calibration?.method == "temperature")
    #expect(result.calibration?.rows == 80 && result.calibration?.split == "validation")
    #expect(try result.test == FineTuning.evaluate(head, on: test))
    let uncalibrated = try #require(result.uncalibrated)
    for (name, split) in [("validation", validation), ("test", test)] {
      #expect(try uncalibrated[name] == FineTuning.evaluate(head.uncalibrated, on: split))
    }

    // 2. Both stored heads have a map, and the last predicts the same bits.
    for name in ["head", "best"] {
      let stored = try HeadCheckpoint(path: directory.file("out/\(name).safetensors")).head
      #expect(try #require(stored as? CalibratedHead).calibration.kind == "temperature")
      guard name == "head" else { continue }
      try expectSame(stored, head, test.features)
    }

    // 3. The same for every kind of map, and for the one that stands.
    let logs = HeldOutCalibration.arguments(
      try head.uncalibrated.logProbabilities(validation.features))
    for method in HeldOutCalibration.Method.allCases {
      let map = try HeldOutCalibration(fitting: method, to: logs, validation.labels)
      try expectSound(CalibratedHead(head, map), method, validation, test)
      let choice = try CalibrationChoice(method, for: head, on: validation)
      let standing: HeldOutCalibration =
        choice.leftOut?.prefersRequested == true
        ? map : try HeldOutCalibration(fitting: .temperature, to: logs, validation.labels)
      #expect(choice.calibration == standing)
      #expect(
        try CalibratedHead(calibrating: head, on: validation, method).calibration == standing)
    }
  }

  private func expectSame(_ stored: any Head, _ head: any Head, _ features: FeatureMatrix) throws {
    let (stored, head) = (try stored.classifier(), try head.classifier())
    #expect(try stored.logProbabilities(features) == head.logProbabilities(features))
    let (a, b) = (try Uncertainty(stored, features), try Uncertainty(head, features))
    #expect(a.scores == b.scores)
    #expect(a.probabilities == b.probabilities && a.predictions == b.predictions)
  }

  private func expectSound(
    _ head: CalibratedHead, _ method: HeldOutCalibration.Method, _ validation: FeatureSplit,
    _ test: FeatureSplit
  ) throws {
    // 1. Distributions, which differ from the head's own.
    let logs = try head.logProbabilities(validation.features)
    for row in 0..<validation.rowCount {
      let sum = logs.row(row).reduce(0.0) { $0 + exp(Double($1)) }
      #expect(sum.isClose(to: 1, relative: 1e-5), "\(method)")
    }
    let own = try head.base.logProbabilities(validation.features)
    #expect(own != logs)

    // 2. The likelihood of the validation rows; isotonic regressions do not maximise it.
    let (before, after) = (
      SplitScores(try Predictions(logProbabilities: own, labels: validation.labels)),
      SplitScores(try Predictions(logProbabilities: logs, labels: validation.labels))
    )
    // Predictions are rounded to single precision.
    if method != .isotonic { #expect(after.nll <= before.nll + 1e-6, "\(method)") }
    if method == .temperature { #expect(after.acc == before.acc) }

    // 3. From a file: the same bits, for rows that were not seen either.
    let path = directory.file("\(method).safetensors")
    try HeadCheckpoint(
      head: head, outputNames: (0..<4).map(String.init), dataset: "", backbone: "", arguments: "{}"
    ).write(to: path)
    try expectSame(try HeadCheckpoint(path: path).head, head, test.features)
  }

  @Test(
    "a resumed run ends with the same calibrated heads",
    arguments: [Fit.recipe, .merge, .sites, .crossEntropyAdam, .stickBreakingMerge])
  func resume(fit: Fit) throws {
    let counter = Atomic<Int>(0)
    _ = try FineTuning(
      configuration(fit, .validation, output: "whole"),
      shouldStop: {
        counter.add(1, ordering: .relaxed)
        return false
      }
    ).run()
    let half = counter.load(ordering: .relaxed) / 2
    var parts = configuration(fit, .validation, output: "parts")
    counter.store(0, ordering: .relaxed)
    #expect(throws: RunInterrupted.self) {
      try FineTuning(
        parts, shouldStop: { counter.add(1, ordering: .relaxed).newValue > half }
      ).run()
    }
    parts.output.resumes = true
    _ = try FineTuning(parts).run()
    // Once more: a run that was over.
    _ = try FineTuning(parts).run()
    for name in ["head", "best"] {
      #expect(
        try Data(contentsOf: URL(fileURLWithPath: directory.file("whole/\(name).safetensors")))
          == Data(contentsOf: URL(fileURLWithPath: directory.file("parts/\(name).safetensors"))),
        "\(name)")
    }
  }

  @Test("parity's likelihood stays that of the mixture, of mapped CBM and CBC")
  func mixture() throws {
    let (_, calibrated) = try FineTuning(
      configuration(.parityMerge, .validation, output: "parity")
    ).run()
    let head = try #require(calibrated as? CalibratedHead)
    guard case .temperature(let beta) = head.calibration else {
      Issue.record("\(head.calibration)")
      return
    }
    let test = try FeatureFile(path: features).dataset().split("test")
    // The original's own way: logits times beta.
    var reference = try #require(head.base as? IBProbitReferenceHead)
    reference.probit.inverseTemperature = beta
    let (own, expected) = (
      try FineTuning.evaluate(head, on: test), try FineTuning.evaluate(reference, on: test)
    )
    #expect(own.nll.isClose(to: expected.nll, relative: 1e-5))
    #expect(own.brier.isClose(to: expected.brier, relative: 1e-5))
    #expect(own.acc == expected.acc)
  }

  @Test("temperatures on parts of the test split: other rows each time, the same for each run")
  func temperatureScaling() throws {
    var configuration = configuration(.crossEntropyAdam, .none, output: "scaling")
    let plain = try FineTuning(configuration).run().result
    #expect(plain.temperatureScaling == nil)
    configuration.temperatureScaling = TemperatureScaling(fractions: [0.2, 0.5])
    // Another run than the plain one, so another directory.
    configuration.output.path = configuration.output.path.map { $0 + "-fractions" }
    let first = try FineTuning(configuration).run().result
    let second = try FineTuning(configuration).run().result
    #expect(first.temperatureScaling == second.temperatureScaling)
    #expect(first.test == plain.test)
    let rows = try #require(first.temperatureScaling)
    #expect(rows.count == 2 * TemperatureScaling.repeatCount)
    #expect(rows.allSatisfy { $0.source == "head" && $0.temperature > 0 })
    #expect(Set(rows.map(\.temperature)).count > rows.count / 2)
    #expect(Set(rows.map(\.testFraction)) == [0.2, 0.5])
    let summaries = TemperatureScalingSummary.summaries(rows)
    #expect(summaries.map(\.testFraction) == [0.2, 0.5])
    let half = rows.filter { $0.testFraction == 0.5 }.map(\.nll)
    let nll = try #require(summaries[1].spreads.first { $0.name == "nll" })
    #expect(nll.mean.isClose(to: half.reduce(0, +) / 25, relative: 1e-14))
    // No rows to fit to, or none to score. These write nothing: the directory is that of the runs above.
    configuration.output.path = nil
    for fraction in [0.001, 0.999] {
      configuration.temperatureScaling = TemperatureScaling(fractions: [fraction])
      let error = #expect(throws: DataError.self) { try FineTuning(configuration).run() }
      #expect(error?.description.contains("\(fraction) of 50 rows") == true)
    }
  }

  @Test("predictions that are not numbers cannot be calibrated, and the message says so")
  func divergence() throws {
    var configuration = configuration(.squaredErrorLion, .validation, output: "diverged")
    configuration.method[FitOptions.learningRate] = 1e38
    let error = #expect(throws: DataError.self) { try FineTuning(configuration).run() }
    #expect(error?.description.contains("lower the learning rate") == true)
    // What was fitted is kept, and the result says why it is no success.
    let output = directory.file("diverged")
    let stored = #expect(throws: DataError.self) {
      try HeadCheckpoint(path: output + "/head.safetensors")
    }
    #expect(stored?.description.contains("its fit diverged") == true)
    let result = try String(contentsOfFile: output + "/result.json", encoding: .utf8)
    #expect(result.contains("\"failure\"") && result.contains("lower the learning rate"))
  }
}
