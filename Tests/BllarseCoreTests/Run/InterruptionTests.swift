import BllarseCore
import BllarseNumerics
import BllarseTestSupport
import Foundation
import Synchronization
import Testing

@Suite("Runs that are asked to stop")
struct InterruptionTests {
  private let directory: TemporaryDirectory
  private let features: String

  init() throws {
    directory = try TemporaryDirectory()
    features = directory.file("features.safetensors")
    var generator = SplitMix64(seed: 8)
    var writer = SafetensorsWriter()
    for (name, rows) in [("train", 90), ("test", 30)] {
      var elements: [Float] = []
      for row in 0..<rows {
        for column in 0..<6 {
          elements.append(Float(generator.normal() + (column == row % 3 ? 2 : 0)))
        }
      }
      writer.add("X_\(name)", Matrix<Float>(rows: rows, columns: 6, elements: elements))
      writer.add("y_\(name)", (0..<rows).map { Int32($0 % 3) })
    }
    try writer.write(to: features)
  }

  enum Method: String, CaseIterable, Sendable {
    case evidence, evidencePerClass, converged, cavi, merge, mergeLargeBatches, sites, adamw, ivon
    case newton, meanSquaredError, polyaGamma, polyaGammaBatches, stickBreaking

    func apply(to configuration: inout RunConfiguration) {
      configuration.epochs = 2
      configuration.method[FitOptions.batchSize] = 20
      configuration.method[FitOptions.updateIterations] = 3
      switch self {
      case .converged, .cavi, .merge, .mergeLargeBatches, .sites:
        configuration.method.head = "IBProbit"
      default: break
      }
      switch self {
      case .evidence: break
      case .evidencePerClass: configuration.method[FitOptions.prior] = .evidencePerClass
      case .converged: configuration.method[FitOptions.parity] = true
      case .cavi: configuration.method.wayName = "cavi"
      case .merge:
        configuration.method.wayName = "merge"
        configuration.method[FitOptions.batchSize] = 4
      case .mergeLargeBatches: configuration.method.wayName = "merge"
      case .sites: configuration.method.wayName = "sites"
      case .adamw, .ivon, .newton:
        configuration.method.head = "CrossEntropy"
        configuration.method.wayName = rawValue
        configuration.method[FitOptions.dropout] = 0.1
      case .meanSquaredError: configuration.method.head = "MSE"
      case .polyaGamma: configuration.method.head = "IBPolyaGamma"
      case .polyaGammaBatches:
        configuration.method.head = "IBPolyaGamma"
        configuration.method.wayName = "merge"
      case .stickBreaking:
        configuration.method.head = "MultinomialPolyaGamma"
        configuration.method.wayName = "cavi"
      }
    }
  }

  /// Runs until it has been asked `limit` times whether to stop.
  ///
  /// - Returns: how often it was asked, and the interruption.
  private func run(
    _ method: Method, output: String, stopAfter limit: Int = .max, resumes: Bool = false
  ) throws -> (asked: Int, interruption: RunInterrupted?) {
    var configuration = RunConfiguration()
    configuration.data.featuresPath = features
    configuration.output.path = output
    configuration.threadCount = 1
    configuration.output.saveEvery = 1
    configuration.output.resumes = resumes
    method.apply(to: &configuration)
    let counter = Counter()
    do {
      _ = try FineTuning(configuration, shouldStop: { counter.next() > limit }).run()
      return (counter.value, nil)
    } catch let interruption as RunInterrupted {
      return (counter.value, interruption)
    }
  }

  private func head(_ output: String) throws -> Data {
    try Data(contentsOf: URL(fileURLWithPath: output + "/head.safetensors"))
  }

  @Test("wherever a run stops, it goes on to the same bits", arguments: Method.allCases)
  func everywhere(method: Method) throws {
    let reference = directory.file("reference")
    let (asked, _) = try run(method, output: reference)
    #expect(asked >= 2)
    var places: [RunInterrupted.Place] = []
    for limit in Set((0..<8).map { $0 * asked / 8 }).sorted() {
      let output = directory.file("output\(limit)")
      let interruption = try #require(
        try run(method, output: output, stopAfter: limit).interruption)
      places.append(interruption.place)
      // It is interrupted once more before it may finish.
      _ = try run(method, output: output, stopAfter: asked / 3 + 1, resumes: true)
      #expect(try run(method, output: output, resumes: true).interruption == nil)
      #expect(try head(output) == head(reference), "stopped after \(limit) of \(asked)")
    }
    #expect(places.contains { $0 != .data })
  }

  @Test("an interruption says where it was and what happens next")
  func descriptions() {
    let fit = RunInterrupted(directory: "out", epoch: 2, place: .fit)
    #expect("\(fit)" == "interrupted in epoch 2 during its fit to all rows, which will start anew")
    let steps = RunInterrupted(directory: "out", epoch: 1, place: .steps(taken: 3, of: 9))
    #expect("\(steps)" == "interrupted in epoch 1 after step 3 of 9")
  }
}

private final class Counter: Sendable {
  private let count = Atomic<Int>(0)
  var value: Int { count.load(ordering: .relaxed) }
  func next() -> Int { count.add(1, ordering: .relaxed).newValue }
}
