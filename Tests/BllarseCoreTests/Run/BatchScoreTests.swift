import BllarseNumerics
import BllarseTestSupport
import Foundation
import Synchronization
import Testing

@testable import BllarseCore
@testable import BllarseModels

@Suite("Scores within an epoch")
struct BatchScoreTests {
  private let directory: TemporaryDirectory
  private let features: String

  init() throws {
    directory = try TemporaryDirectory()
    features = directory.file("features.safetensors")
    var generator = SplitMix64(seed: 31)
    var writer = SafetensorsWriter()
    for (name, rows) in [("train", 90), ("val_m", 40), ("val_mm", 41)] {
      var elements: [Float] = []
      for row in 0..<rows {
        for column in 0..<6 {
          elements.append(Float(generator.normal() + (column == row % 3 ? 1.5 : 0)))
        }
      }
      writer.add("X_\(name)", Matrix<Float>(rows: rows, columns: 6, elements: elements))
      writer.add("y_\(name)", (0..<rows).map { Int32($0 % 3) })
    }
    try writer.write(to: features)
  }

  /// A fit in batches, of fewer rows than the design has columns or of more.
  enum Method: CaseIterable, Sendable {
    case smallBatches, smallBatchesInPythonForm, largeBatches, sites, adamw, ivon, polyaGamma

    func apply(to configuration: inout RunConfiguration) {
      (configuration.epochs, configuration.method[FitOptions.batchSize]) = (2, 20)
      (
        configuration.method[FitOptions.updateIterations],
        configuration.method[FitOptions.forgettingRate]
      ) = (3, 0.05)
      configuration.method.head = "IBProbit"
      configuration.method.wayName = "merge"
      switch self {
      case .smallBatches: configuration.method[FitOptions.batchSize] = 4
      case .smallBatchesInPythonForm:
        configuration.method[FitOptions.batchSize] = 4
        configuration.method[FitOptions.parity] = true
      case .largeBatches: break
      case .sites: configuration.method.wayName = "sites"
      case .adamw, .ivon:
        configuration.method.head = "CrossEntropy"
        configuration.method.wayName = self == .adamw ? "adamw" : "ivon"
        (
          configuration.method[FitOptions.learningRate],
          configuration.method[FitOptions.sampleCount]
        ) = (0.05, 2)
      case .polyaGamma: configuration.method.head = "IBPolyaGamma"
      }
    }
  }

  private func configuration(_ method: Method, output: String) -> RunConfiguration {
    var configuration = RunConfiguration()
    configuration.data.featuresPath = features
    configuration.output.path = output
    configuration.threadCount = 1
    configuration.evaluationInterval = 2
    method.apply(to: &configuration)
    return configuration
  }

  /// Everything that a run leaves, but times.
  private struct Outcome: Equatable {
    let head: Data
    let best: Data
    let records: [EpochRecord]

    init(_ output: String) throws {
      func data(_ name: String) throws -> Data {
        try Data(contentsOf: URL(fileURLWithPath: "\(output)/\(name)"))
      }
      head = try data("head.safetensors")
      best = try data("best.safetensors")
      records = try String(decoding: data("metrics.jsonl"), as: UTF8.self).split(separator: "\n")
        .map { line in
          var record = try JSONDecoder().decode(EpochRecord.self, from: Data(line.utf8))
          record.seconds = 0
          return record
        }
    }
  }

  @Test(
    "come after every so many batches, at the rows seen, and do not change the fit",
    arguments: Method.allCases)
  func steps(method: Method) throws {
    let scored = configuration(method, output: directory.file("scored"))
    _ = try FineTuning(scored).run()
    var plain = configuration(method, output: directory.file("plain"))
    plain.evaluationInterval = 0
    _ = try FineTuning(plain).run()
    let (with, without) = (
      try Outcome(directory.file("scored")), try Outcome(directory.file("plain"))
    )

    let size = scored.method[FitOptions.batchSize]
    let inside = (1...).lazy.map { 2 * $0 * size }.prefix { $0 < 90 }
    let steps = Array(inside) + [90]
    #expect(with.records.map(\.step) == steps + steps.map { $0 + 90 })
    #expect(with.records.allSatisfy { $0.metrics["seen_examples"] == Double($0.step) })
    #expect(without.records.map(\.step) == [1, 2])
    let ends = with.records.filter { $0.step % 90 == 0 }
    for (end, record) in zip(ends, without.records) {
      #expect(end.epoch == record.epoch)
      #expect(end.metrics == record.metrics)
    }
    // The heads differ in the arguments that they are stored with, not in what they predict.
    let heads = try ["scored", "plain"].map { name in
      try HeadCheckpoint(path: directory.file("\(name)/head.safetensors")).head.classifier()
    }
    let test = try FeatureFile(path: features).features("val_mm")
    #expect(try heads[0].logProbabilities(test) == heads[1].logProbabilities(test))
    // The head learns within the first epoch.
    #expect(Set(with.records.prefix(3).map { $0["nll"] }).count == min(3, steps.count))
  }

  @Test("wherever a run stops, it goes on to the same scores", arguments: Method.allCases)
  func everywhere(method: Method) throws {
    func run(_ output: String, limit: Int = .max, resumes: Bool = false) throws -> Int {
      var configuration = configuration(method, output: directory.file(output))
      configuration.output.resumes = resumes
      let counter = Counter()
      do {
        _ = try FineTuning(configuration, shouldStop: { counter.next() > limit }).run()
      } catch is RunInterrupted {}
      return counter.value
    }
    let count = try run("whole")
    let whole = try Outcome(directory.file("whole"))
    for limit in Set((1..<5).map { $0 * count / 5 }).sorted() {
      let output = "part\(limit)"
      _ = try run(output, limit: limit)
      _ = try run(output, limit: count / 3 + 1, resumes: true)
      _ = try run(output, resumes: true)
      #expect(try Outcome(directory.file(output)) == whole, "stopped after \(limit) of \(count)")
    }
  }

  private final class Counter: Sendable {
    private let count = Atomic<Int>(0)
    var value: Int { count.load(ordering: .relaxed) }
    func next() -> Int { count.add(1, ordering: .relaxed).newValue }
  }

  @Test(
    "the loss of merged batches is the mixture's on each batch, after it", arguments: [4, 20])
  func mergedLoss(batchSize: Int) throws {
    var configuration = configuration(.largeBatches, output: directory.file("out"))
    configuration.method[FitOptions.batchSize] = batchSize
    _ = try FineTuning(configuration).run()
    let records = try Outcome(directory.file("out")).records
    let data = try FeatureFile(path: features).dataset()
    let (train, test) = (try data.split("train"), try data.split("val_m"))

    // Batch after batch, each merged and scored before the next.
    var head = IBProbitHead<Float>(
      .init(featureCount: 6, classCount: 3, transform: .standardLayerNorm))
    var expected: [(step: Int, loss: Double, evaluation: SplitScores)] = []
    for epoch in 1...2 {
      let order = configuration.fitPlan.rowOrder(epoch: epoch, rowCount: 90)
      var losses: [Double] = []
      for (batch, first) in stride(from: 0, to: 90, by: batchSize).enumerated() {
        let rows = order[first..<min(first + batchSize, 90)]
        let (x, y) = (train.features.gatheringRows(rows), rows.map { train.labels[$0] })
        try head.update(
          features: x, labels: y, iterations: 3, forgettingRate: 0.05,
          start: .seeded(configuration.seed, index: UInt64(epoch) << 20 | UInt64(batch)))
        let loss = try head.lossesAndLogits(features: x, labels: y, loss: .mixture).losses
        losses.append(loss.reduce(0, +) / Double(loss.count))
        let count = batch + 1
        guard count % 2 == 0 || rows.endIndex == 90 else { continue }
        expected.append(
          (
            (epoch - 1) * 90 + min(count * batchSize, 90),
            losses.reduce(0, +) / Double(losses.count),
            try head.evaluation(features: test.features, labels: test.labels)
          ))
      }
    }
    #expect(records.map(\.step) == expected.map(\.step))
    for (record, expected) in zip(records, expected) {
      #expect(record["loss"].isClose(to: expected.loss, relative: 1e-5))
      #expect(record["nll"].isClose(to: expected.evaluation.nll, relative: 1e-5))
      let own = try #require(record.metrics["val_m_ece"])
      #expect(own.isClose(to: expected.evaluation.ece, relative: 1e-4))
    }
  }
}
